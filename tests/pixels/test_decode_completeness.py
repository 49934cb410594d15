"""Files that lost pixels without a word from the decoder: an error, never a page with a hole."""

import io
import re
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import JpegScans, decode_image, is_whole_jpeg2000, jpeg_scans

END = b"\xff\xd9"


def page(image_format: str, side: int = 640, *, mode: str = "RGB", **settings: Any) -> bytes:
    """A square part of a scan, stored again."""
    with Image.open(DATA / "pages/scans/leptonlib-cat.007.jpg") as scan:
        stream = io.BytesIO()
        scan.crop((200, 500, 200 + side, 500 + side)).convert(mode).save(stream, image_format, **settings)
    return stream.getvalue()


def places(data: bytes, marker: bytes) -> list[int]:
    return [match.start() for match in re.finditer(marker, data)]


def without_bit(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, max_pixels=10**7)


def test_one_flipped_bit_that_costs_half_a_page_is_an_error() -> None:
    """libjpeg's only warning is of bytes before the end marker: here they are the lower half."""
    data = page("JPEG", restart_marker_blocks=40 * 20)
    (restart,) = places(data, b"\xff\xd0")
    damaged = without_bit(data, restart)
    with pytest.raises(ValueError, match="extraneous bytes before marker 0xd9"):
        simplejpeg.decode_jpeg(damaged)
    assert (simplejpeg.decode_jpeg(damaged, strict=False)[330:] == 128).mean() > 0.99  # a grey half
    with pytest.raises(DecodeError, match="extraneous bytes before marker 0xd9"):
        decode(damaged)
    assert decode(data).shape == (640, 640, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_progressive_page_without_its_last_scans_is_an_error(mode: str) -> None:
    data = page("JPEG", mode=mode, progressive=True)
    whole = decode(data)
    scans = places(data, b"\xff\xda")
    assert len(scans) == {"L": 6, "RGB": 10, "CMYK": 18}[mode]
    for scan in scans[1:]:
        closed_early = data[:scan] + END
        simplejpeg.decode_jpeg(closed_early)  # not a word
        with pytest.raises(DecodeError, match="it ends before all of its scans"):
            decode(closed_early)
    with pytest.raises(DecodeError, match=r"it ends before all of its scans|extraneous bytes"):
        decode(without_bit(data, scans[-1]))
    left_over = data[:-2] + b"\x12\x34" + END
    assert np.array_equal(decode(left_over), whole)


def test_a_page_that_lost_its_colours_is_an_error() -> None:
    """Three scans of one component each; without the last two a colour page would be grey."""

    def segment(marker: int, payload: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload

    one_code = bytes([1] + [0] * 15 + [0])  # the code 0 stands for: no difference, no coefficient left
    frame = bytes([8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    head = b"\xff\xd8" + segment(0xDB, bytes([0] + [1] * 64)) + segment(0xC0, frame)
    head += segment(0xC4, b"\x00" + one_code) + segment(0xC4, b"\x10" + one_code)
    scans = [segment(0xDA, bytes([1, component, 0, 0, 63, 0])) + b"\x3f" for component in (1, 2, 3)]
    assert decode(head + b"".join(scans) + END)[0, 0].tolist() == [128, 128, 128]
    simplejpeg.decode_jpeg(head + scans[0] + END)
    for number in (1, 2):
        with pytest.raises(DecodeError, match="it ends before all of its scans"):
            decode(head + b"".join(scans[:number]) + END)


def test_scans_of_real_files() -> None:
    for path in sorted((DATA / "pages").rglob("*.jpg")):
        assert jpeg_scans(path.read_bytes()) == JpegScans(are_complete=True, have_restarts=False), path.name
    restarts = page("JPEG", restart_marker_rows=1)
    assert jpeg_scans(restarts) == JpegScans(are_complete=True, have_restarts=True)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\x00\x02", b"\xff\xd8\xff\xda\x00\x08\x03\x01"]
)
def test_what_is_no_jpeg_has_no_scans(data: bytes) -> None:
    assert not jpeg_scans(data).are_complete


def test_a_tiff_that_names_too_few_strips_is_an_error() -> None:
    """One flipped bit of a count, and Pillow leaves the lower part black."""
    data = page("TIFF", 64, mode="L", tiffinfo={278: 16})
    whole = decode(data)
    directory = int.from_bytes(data[4:8], "little")
    entries = [directory + 2 + 12 * number for number in range(data[directory])]
    (offsets,) = (entry for entry in entries if data[entry : entry + 2] == (273).to_bytes(2, "little"))
    assert data[offsets + 4] == 4  # strips of 16 rows
    damaged = data[: offsets + 4] + b"\x03" + data[offsets + 5 :]
    with Image.open(io.BytesIO(damaged)) as image:  # not a word
        assert np.array_equal(np.asarray(image)[:48], whole[:48, :, 0])
        assert not np.asarray(image)[48:].any()
    with pytest.raises(DecodeError, match="it names too few strips to hold all of its pixels"):
        decode(damaged)


@pytest.mark.parametrize("settings", [{}, {"no_jp2": True}], ids=["in boxes", "bare"])
def test_jpeg_2000_whose_last_tiles_are_lost_is_an_error(settings: dict[str, Any]) -> None:
    data = page("JPEG2000", 128, tile_size=(32, 32), **settings)
    assert is_whole_jpeg2000(data)
    tiles = places(data, b"\xff\x90")
    assert len(tiles) == 16
    for number, tile in enumerate(tiles):
        cut = data[: tile + 2]
        with Image.open(io.BytesIO(cut)) as image:  # not a word
            assert (np.asarray(image) == 0).mean() == pytest.approx(1 - number / 16, abs=0.03)
        with pytest.raises(DecodeError, match="codestream has no end marker"):
            decode(cut)


def test_jpeg_2000_boxes() -> None:
    data = page("JPEG2000", 64)
    start = data.index(b"jp2c") - 4
    length = len(data) - start
    body = data[start + 8 :]
    assert int.from_bytes(data[start : start + 4], "big") in (0, length)
    open_ended = data[:start] + bytes(4) + b"jp2c" + body
    long_box = data[:start] + b"\x00\x00\x00\x01jp2c" + (length + 8).to_bytes(8, "big") + body
    comment_after = data[:start] + length.to_bytes(4, "big") + b"jp2c" + body + b"\x00\x00\x00\x0cxml abcd"
    for file in (open_ended, open_ended + b"\n", long_box, comment_after):
        assert is_whole_jpeg2000(file)
        assert np.array_equal(decode(file), decode(data))
    assert not is_whole_jpeg2000(comment_after[: start + length - 1])
    assert not is_whole_jpeg2000(open_ended[:-2])
    assert not is_whole_jpeg2000(data[:start])


def test_a_flipped_bit_in_the_pixels_of_a_png_is_an_error() -> None:
    """Pillow compares no checksums: for every second of these flips it gives other pixels without an error."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 60).save(buffer, "PNG")
    data = buffer.getvalue()
    start, end = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
    for place in range(start, end, 37):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(DecodeError):
            decode_image(bytes(damaged), max_pixels=10_000)


def test_a_png_whose_palette_was_damaged_is_an_error() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 60).convert("P").save(buffer, "PNG")
    damaged = bytearray(buffer.getvalue())
    damaged[damaged.index(b"PLTE") + 7] ^= 0x40
    with pytest.raises(DecodeError, match="its chunk PLTE at byte 33 has not the bytes that were written"):
        decode_image(bytes(damaged), max_pixels=10_000)
