"""One test a rule of the table in wdstream/pixels/pillow.py, each with literal pixels."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.header import image_header

Maker = Callable[..., bytes]
SAMPLE_FORMAT, EXTRA_SAMPLES, COLOR_MAP = 339, 338, 320


def rows_of(data: bytes) -> list[Any]:
    """The decoded pixels as nested lists; grey images as one number per pixel."""
    pixels = decode_image(data, max_pixels=10**8)
    rows: list[Any] = (pixels[..., 0] if pixels.strides[2] == 0 else pixels).tolist()
    return rows


def stored(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **settings)
    return stream.getvalue()


def shorts(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def test_one_bit(make_png: Maker) -> None:
    assert rows_of(make_png((4, 1), 1, 0, [b"\xa0"])) == [[255, 0, 255, 0]]
    transparent_white = make_png((4, 1), 1, 0, [b"\x50"], chunks=[(b"tRNS", b"\x00\x00")])
    assert rows_of(transparent_white) == [[[255] * 3] * 4]  # black is transparent, so paper shows: all white


def test_one_bit_fax() -> None:
    ink = Image.new("1", (16, 2), 1)
    ink.putpixel((3, 1), 0)
    data = stored(ink, "TIFF", compression="group4")
    assert rows_of(data) == [[255] * 16, [255] * 3 + [0] + [255] * 12]
    page = decode_image((DATA / "pages/images/leptonlib-harmoniam-11.tif").read_bytes(), max_pixels=10**8)
    assert page.strides[2] == 0
    assert np.unique(page).tolist() == [0, 255]
    assert 0.05 < float((page[..., 0] == 0).mean()) < 0.2  # ink on paper, not paper on ink


def test_one_bit_tiff_where_white_is_zero(make_tiff: Maker) -> None:
    assert rows_of(make_tiff((8, 1), [1], 0, b"\x80")) == [[0] + [255] * 7]
    assert rows_of(make_tiff((8, 1), [1], 1, b"\x80")) == [[255] + [0] * 7]


def test_two_and_four_bit_grey(make_png: Maker, make_tiff: Maker) -> None:
    assert rows_of(make_png((4, 1), 2, 0, [b"\x1b"])) == [[0, 85, 170, 255]]
    assert rows_of(make_png((2, 1), 4, 0, [b"\x3f"])) == [[51, 255]]
    assert rows_of(make_tiff((2, 1), [4], 1, b"\x3f")) == [[51, 255]]
    real = decode_image((DATA / "bad/pillow-hopper_gray_4bpp.tif").read_bytes(), max_pixels=10**8)
    assert set(np.unique(real).tolist()) <= {17 * value for value in range(16)}


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette(make_png: Maker, depth: int) -> None:
    palette = (b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    first_one = bytes([0, 1]) if depth == 8 else bytes([1 << (8 - 2 * depth)])
    assert rows_of(make_png((2, 1), depth, 3, [first_one], chunks=[palette])) == [[[10, 20, 30], [200, 100, 50]]]


def test_a_palette_of_greys_gives_one_plane(make_png: Maker) -> None:
    """Colours that no pixel has do not count."""
    palette = (b"PLTE", bytes([10, 10, 10, 200, 200, 200, 1, 2, 3]))
    grey = make_png((3, 1), 8, 3, [bytes([1, 0, 1])], chunks=[palette])
    assert rows_of(grey) == [[200, 10, 200]]
    beyond = make_png((3, 1), 8, 3, [bytes([1, 0, 77])], chunks=[palette])
    assert rows_of(beyond) == [[200, 10, 0]]
    coloured = make_png((3, 1), 8, 3, [bytes([1, 0, 2])], chunks=[palette])
    assert rows_of(coloured) == [[[200, 200, 200], [10, 10, 10], [1, 2, 3]]]


def test_palette_with_transparency_is_composed_on_white(make_png: Maker) -> None:
    palette = (b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    clear = make_png((2, 1), 8, 3, [bytes([0, 1])], chunks=[palette, (b"tRNS", b"\x00")])
    assert rows_of(clear) == [[[255, 255, 255], [200, 100, 50]]]
    half = make_png((2, 1), 8, 3, [bytes([0, 1])], chunks=[palette, (b"tRNS", b"\xff\x80")])
    assert rows_of(half) == [[[10, 20, 30], [227, 177, 152]]]  # 200 * 128/255 + 255 * 127/255
    gif = Image.new("P", (2, 1))
    gif.putpalette([10, 20, 30, 200, 100, 50])
    gif.putpixel((1, 0), 1)
    assert rows_of(stored(gif, "GIF", transparency=0)) == [[[255, 255, 255], [200, 100, 50]]]


def test_alpha_is_composed_on_white(make_png: Maker) -> None:
    assert rows_of(make_png((2, 1), 8, 4, [bytes([100, 255, 100, 0])])) == [[[100] * 3, [255] * 3]]
    assert rows_of(make_png((1, 1), 8, 6, [bytes([0, 100, 200, 51])])) == [[[204, 224, 244]]]
    assert rows_of(make_png((1, 1), 16, 6, [bytes([0, 0, 100, 0, 200, 0, 51, 0])])) == [[[204, 224, 244]]]


def test_a_transparent_colour_is_white(make_png: Maker) -> None:
    grey = make_png((2, 1), 8, 0, [bytes([7, 9])], chunks=[(b"tRNS", b"\x00\x07")])
    assert rows_of(grey) == [[[255] * 3, [9] * 3]]
    rgb = make_png((2, 1), 8, 2, [bytes([1, 2, 3, 4, 5, 6])], chunks=[(b"tRNS", b"\x00\x01\x00\x02\x00\x03")])
    assert rows_of(rgb) == [[[255] * 3, [4, 5, 6]]]
    wide = make_png((2, 1), 16, 0, [b"\x80\x00\x40\x00"], chunks=[(b"tRNS", b"\x80\x00")])
    assert rows_of(wide) == [[255, 64]]


def test_premultiplied_alpha_tiff(make_tiff: Maker) -> None:
    """Associated alpha: the stored colour 40 at alpha 51 is 200, and 204 of white shine through."""
    data = make_tiff((1, 1), [8] * 4, 2, bytes([40, 20, 0, 51]), [(EXTRA_SAMPLES, 3, 1, shorts(1))])
    assert rows_of(data) == [[[244, 224, 204]]]
    real = decode_image((DATA / "bad/pillow-tiff_16bit_RGBa.tiff").read_bytes(), max_pixels=10**8)
    assert real[0, 0].tolist() == [255, 255, 255] or real.mean() > 128  # its clear parts are paper, not black


def test_premultiplied_grey_tiff(make_tiff: Maker) -> None:
    """Mode La: the stored 40 at alpha 51 is 200, and 204 of white shine through."""
    data = make_tiff((2, 1), [8, 8], 1, bytes([100, 255, 40, 51]), [(EXTRA_SAMPLES, 3, 1, shorts(1))])
    assert image_header(data).mode == "La"
    assert rows_of(data) == [[[100] * 3, [244] * 3]]


def test_a_palette_of_8_bit_colours_in_a_tiff(make_tiff: Maker) -> None:
    """TIFF wants 16 bits; old writers did not know, and Pillow makes a black page of it."""
    colors = [[10, 200], [20, 100], [30, 50]]
    for factor in (1, 257):
        values = [value * factor for channel in colors for value in [*channel, *[0] * 254]]
        data = make_tiff((2, 1), [8], 3, b"\x00\x01", [(COLOR_MAP, 3, 768, shorts(*values))])
        assert rows_of(data) == [[[10, 20, 30], [200, 100, 50]]]


def test_16_bit_grey_is_scaled_not_clipped(make_png: Maker, make_tiff: Maker) -> None:
    """Pillow's own conversion clips: everything above 255 would be white."""
    png = make_png((4, 1), 16, 0, [b"\x00\x00\x01\x00\x80\x00\xff\xff"])
    assert rows_of(png) == [[0, 1, 128, 255]]
    values = (0, 256, 32768, 65535)
    assert rows_of(make_tiff((4, 1), [16], 1, shorts(*values))) == [[0, 1, 128, 255]]
    assert rows_of(make_tiff((4, 1), [16], 0, shorts(*values))) == [[255, 254, 127, 0]]
    big_endian = Image.frombytes("I;16B", (4, 1), struct.pack(">4H", *values))
    assert rows_of(stored(big_endian, "TIFF")) == [[0, 1, 128, 255]]
    assert rows_of(b"P5 4 1 65535\n" + struct.pack(">4H", *values)) == [[0, 1, 128, 255]]
    assert rows_of(b"P5 2 1 1023\n" + struct.pack(">2H", 0, 1023)) == [[0, 255]]


def test_12_bit_grey_tiff_is_scaled_by_its_own_depth(make_tiff: Maker) -> None:
    data = make_tiff((2, 1), [12], 1, b"\x80\x0f\xff")  # 0x800, 0xfff
    assert image_header(data).mode == "I;16"
    assert rows_of(data) == [[128, 255]]


def test_16_bit_rgb_keeps_its_high_byte(make_png: Maker, make_tiff: Maker) -> None:
    assert rows_of(make_png((1, 1), 16, 2, [b"\x10\xff\x80\x00\xff\x00"])) == [[[0x10, 0x80, 0xFF]]]
    assert rows_of(make_tiff((1, 1), [16] * 3, 2, shorts(0x10FF, 0x8000, 0xFF00))) == [[[0x10, 0x80, 0xFF]]]


def test_16_bit_rgb_is_within_one_level_of_exact_scaling(make_png: Maker) -> None:
    """Pillow hands out no more than the high byte of a colour."""
    values = np.arange(1 << 16).reshape(256, 256)
    rows = [np.repeat(row, 3).astype(">u2").tobytes() for row in values]
    pixels = decode_image(make_png((256, 256), 16, 2, rows), max_pixels=1 << 16)[..., 0].astype(int)
    difference = pixels - np.rint(values / 257).astype(int)
    assert (difference.min(), difference.max()) == (-1, 1)
    assert (difference != 0).mean() < 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 256, 32768, 65535), [0, 1, 128, 255]),  # fits 16 bits: scaled like 16 bits
        ((0, 1, 2, 3), [0, 0, 0, 0]),
        ((-100, 0, 0, 100), [0, 128, 128, 255]),  # does not: stretched
        ((1_000_000, 1_500_000, 2_000_000, 2_000_000), [0, 128, 255, 255]),
        ((-5, -5, -5, -5), [0, 0, 0, 0]),
    ],
)
def test_32_bit_integers(values: tuple[int, ...], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.int32))
    assert image.mode == "I"
    assert rows_of(stored(image, "TIFF")) == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.25, 0.5, 1.0), [0, 64, 128, 255]),
        ((0.0, 1.4, 1.6, 255.0), [0, 1, 2, 255]),
        ((-1.0, 0.0, 0.0, 1.0), [0, 128, 128, 255]),
        ((1000.0, 1500.0, 2000.0, 2000.0), [0, 128, 255, 255]),
        ((0.0, 1.0, float("nan"), float("inf")), [0, 255, 255, 255]),
        ((float("nan"),) * 4, [255, 255, 255, 255]),
    ],
)
def test_floats(values: tuple[float, ...], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert image.mode == "F"
    assert rows_of(stored(image, "TIFF")) == [expected]


def test_32_bit_tiffs_that_pillow_reads_wrong(make_tiff: Maker) -> None:
    """Unsigned integers above 2^31 are negative to it, and it does not turn "white is zero"."""

    def tiff(layout: str, values: tuple[float, ...], photometric: int, sample_format: int) -> list[Any]:
        extra = [(SAMPLE_FORMAT, 3, 1, shorts(sample_format))]
        return rows_of(make_tiff((3, 1), [32], photometric, struct.pack(layout, *values), extra))

    assert tiff("<3I", (0, 2**31, 2**32 - 1), 1, 1) == [[0, 128, 255]]
    assert tiff("<3I", (0, 32768, 65535), 1, 1) == [[0, 128, 255]]
    assert tiff("<3i", (-5, 0, 5), 1, 2) == [[0, 128, 255]]
    assert tiff("<3f", (0, 0.25, 1), 0, 3) == [[255, 191, 0]]
    assert tiff("<3f", (0, float("nan"), 1), 0, 3) == [[255, 255, 0]]


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK"])
def test_wide_numbers_are_made_for_some_rows_at_a_time(mode: str) -> None:
    """In one piece they would take 12 to 37 bytes per pixel. And the bands fit together."""
    width, height = 700, 1500
    levels = np.arange(width * height, dtype=np.uint32).reshape(height, width) * 7919 % 65536
    if mode == "CMYK":
        inks = np.stack([levels % 251, levels % 241, levels % 239, levels % 233], axis=2).astype(np.uint8)
        data = stored(Image.frombytes(mode, (width, height), inks.tobytes()), "JPEG")
        with Image.open(io.BytesIO(data)) as image:
            wanted = np.asarray(image.convert("RGB"))
    else:
        values: Any = {"I;16": levels.astype(np.uint16), "I": levels.astype(np.int32), "F": np.float32(levels / 65535)}[
            mode
        ]
        data = stored(Image.fromarray(values), "TIFF")
        wanted = np.rint(levels[..., None] / 257).astype(np.uint8)
    decode_image(data, max_pixels=10**8)  # imports
    tracemalloc.start()
    pixels = decode_image(data, max_pixels=10**8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(pixels, np.broadcast_to(wanted, pixels.shape))
    assert peak <= (8 if mode == "I;16" else 16) * width * height


def test_cmyk_tiff() -> None:
    inks = Image.new("CMYK", (2, 1))
    inks.putpixel((0, 0), (0, 255, 255, 0))
    inks.putpixel((1, 0), (0, 0, 0, 155))
    assert rows_of(stored(inks, "TIFF")) == [[[255, 0, 0], [100, 100, 100]]]


def test_a_jpeg_of_odd_sampling_is_an_error() -> None:
    """Pillow would decode it, but does not tell of damage."""
    inks = stored(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", subsampling="4:2:2")
    with pytest.raises(DecodeError, match="Could not determine subsampling level of JPEG image"):
        rows_of(inks)


def test_lab_tiff() -> None:
    """sRGB red, grey and white are L*a*b* (54.3, 80.8, 69.9), (53.4, 0, 0) and (100, 0, 0) under D50."""
    lab = np.array([[[54.3 * 2.55, 80.8, 69.9], [53.4 * 2.55, 0, 0], [255, 0, 0]]]).round().astype(np.int16)
    image = Image.frombytes("LAB", (3, 1), lab.astype(np.uint8).tobytes())
    pixels = np.array(rows_of(stored(image, "TIFF")))
    assert (
        np.abs(pixels - [[[255, 0, 0], [128, 128, 128], [255, 255, 255]]]).max() <= 5
    )  # a* and b* are whole numbers here


def test_an_icc_profile_is_ignored() -> None:
    """As the processors of transformers do: 0 grey levels from an image that never had the profile."""
    with Image.open(DATA / "bad/pillow-tiff_16bit_RGBa.tiff") as image:
        profile = image.info["icc_profile"]
    assert len(profile) > 100
    plain = Image.new("RGB", (8, 8), (200, 60, 60))
    for image_format in ("PNG", "TIFF"):
        assert rows_of(stored(plain, image_format, icc_profile=profile)) == [[[200, 60, 60]] * 8] * 8
    assert rows_of(stored(plain, "JPEG", icc_profile=profile)) == rows_of(stored(plain, "JPEG"))


def test_ycbcr_tiff() -> None:
    image = Image.new("RGB", (16, 16), (200, 100, 50)).convert("YCbCr")
    assert np.abs(np.array(rows_of(stored(image, "TIFF"))) - (200, 100, 50)).max() <= 2


def test_rgb_tiff_with_an_unused_channel(make_tiff: Maker) -> None:
    data = make_tiff((1, 1), [8] * 4, 2, bytes([10, 20, 30, 0]), [(EXTRA_SAMPLES, 3, 1, shorts(0))])
    assert rows_of(data) == [[[10, 20, 30]]]


def test_a_palette_index_beyond_the_palette_is_no_crash(make_png: Maker) -> None:
    data = make_png((2, 1), 8, 3, [bytes([0, 200])], chunks=[(b"PLTE", bytes([9, 9, 9]))])
    assert rows_of(data) == [[9, 0]]


def test_a_mode_that_pillow_does_not_know_is_an_error(make_tiff: Maker) -> None:
    with pytest.raises(DecodeError, match="TIFF image cannot be decoded"):
        rows_of(make_tiff((1, 1), [64], 1, bytes(8), [(SAMPLE_FORMAT, 3, 1, shorts(3))]))
