"""Where a rule of pixels/pillow.py gives other pixels than Hugging Face, and by how much: one colour in every mode.

Two ways of theirs are compared: an image processor that is handed Pillow's image, and `load_image`, through which their
pipelines read paths. Bicubic against Pillow is in tests/families/test_pixels.py and test_render.py.

Spans: pixels, families.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from wdstream.pixels.decode import decode_image

Maker = Callable[..., bytes]
Color = tuple[int, int, int]
SIDE = 28  # one merged block of the processor
PALETTE = (b"PLTE", bytes([1, 2, 3, 200, 100, 50]))


def png(make_png: Maker, depth: int, color_type: int, pixel: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """One colour everywhere: `pixel` is a pixel's bytes, or a byte of several equal pixels."""
    row = pixel * (SIDE if depth >= 8 else -(-SIDE * depth // 8))
    return make_png((SIDE, SIDE), depth, color_type, [row] * SIDE, chunks=chunks)


def tiff(mode: str, pixel: Any) -> bytes:
    kinds = {"I": np.int32, "F": np.float32}
    if mode in kinds:
        image = Image.fromarray(np.full((SIDE, SIDE), pixel, kinds[mode]))
    else:
        image = Image.frombytes(mode, (SIDE, SIDE), bytes(pixel) * SIDE**2)
    return stored(image, "TIFF")


def stored(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **settings)
    return stream.getvalue()


def one_color(pixels: np.ndarray) -> Color:
    colors = np.unique(pixels.reshape(-1, 3), axis=0).tolist()
    assert len(colors) == 1
    return tuple(colors[0])


def by_processor(data: bytes) -> Color:
    processor = Qwen2VLImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)
    with Image.open(io.BytesIO(data)) as image:
        patches = processor([image], return_tensors="np")["pixel_values"]
    return one_color(patches.reshape(-1, 3, 2 * 14 * 14).transpose(0, 2, 1).astype(int))


CASES: dict[str, tuple[Callable[[Maker], bytes], Color, Color, Color]] = {
    # how it is stored; ours; the processor's; load_image's
    "1 bit": (lambda make: png(make, 1, 0, b"\xff"), (255,) * 3, (255,) * 3, (255,) * 3),
    "2 bits": (lambda make: png(make, 2, 0, b"\x55"), (85,) * 3, (85,) * 3, (85,) * 3),
    "4 bits": (lambda make: png(make, 4, 0, b"\x33"), (51,) * 3, (51,) * 3, (51,) * 3),
    "palette": (lambda make: png(make, 8, 3, b"\x01", PALETTE), (200, 100, 50), (200, 100, 50), (200, 100, 50)),
    "palette, half clear": (
        lambda make: png(make, 8, 3, b"\x01", PALETTE, (b"tRNS", b"\xff\x80")),
        *((227, 177, 152), (227, 177, 152), (200, 100, 50)),
    ),
    "LA": (lambda make: png(make, 8, 4, bytes([100, 128])), (177,) * 3, (177,) * 3, (100,) * 3),
    "RGBA": (
        lambda make: png(make, 8, 6, bytes([0, 100, 200, 51])),
        *((204, 224, 244), (204, 224, 244), (0, 100, 200)),
    ),
    "RGB, this colour clear": (
        lambda make: png(make, 8, 2, bytes([1, 2, 3]), (b"tRNS", b"\x00\x01\x00\x02\x00\x03")),
        *((255, 255, 255), (255, 255, 255), (1, 2, 3)),
    ),
    "16-bit grey": (lambda make: png(make, 16, 0, b"\x40\x00"), (64,) * 3, (255,) * 3, (255,) * 3),
    "16-bit RGB": (
        lambda make: png(make, 16, 2, b"\x40\x00\x80\x00\xff\x00"),
        *((64, 128, 255), (64, 128, 255), (64, 128, 255)),
    ),
    "32-bit integers": (lambda make: tiff("I", 16384), (64,) * 3, (255,) * 3, (255,) * 3),
    "floats": (lambda make: tiff("F", 0.5), (128,) * 3, (0,) * 3, (0,) * 3),
    "CMYK JPEG": (
        lambda make: stored(Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "JPEG", quality=100),
        *((255, 0, 0), (255, 0, 0), (255, 0, 0)),
    ),
    "CMYK TIFF": (lambda make: tiff("CMYK", (30, 60, 90, 155)), (88, 76, 65), (88, 76, 65), (88, 76, 65)),
    "LAB": (lambda make: tiff("LAB", (138, 81, 70)), (251, 5, 4), (251, 5, 4), (251, 5, 4)),
    "YCbCr": (lambda make: tiff("YCbCr", (124, 86, 181)), (198, 100, 49), (198, 100, 49), (198, 100, 49)),
}


@pytest.mark.parametrize(("make", "ours", "processors", "loaded"), CASES.values(), ids=CASES.keys())
def test_one_colour(
    make_png: Maker, make: Callable[[Maker], bytes], ours: Color, processors: Color, loaded: Color
) -> None:
    data = make(make_png)
    assert one_color(decode_image(data, max_pixels=SIDE**2)) == ours
    assert by_processor(data) == processors
    with Image.open(io.BytesIO(data)) as image:
        assert one_color(np.asarray(load_image(image))) == loaded


def test_what_differs() -> None:
    """In words: processors clip what is deeper than 8 bits, and `load_image` forgets what is clear. Nothing else."""

    def differing(place: int) -> Sequence[str]:
        return [name for name, case in CASES.items() if case[1] != case[place]]

    assert differing(2) == ["16-bit grey", "32-bit integers", "floats"]
    assert differing(3) == [
        *("palette, half clear", "LA", "RGBA", "RGB, this colour clear"),
        *("16-bit grey", "32-bit integers", "floats"),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_image_turns_as_we_do(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(SIDE * 14 * 3, dtype=np.uint8).reshape(14, SIDE, 3)
    data = stored(Image.fromarray(pixels), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode_image(data, max_pixels=10**6), np.asarray(load_image(image)))
