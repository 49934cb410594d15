"""wdstream/pixels/soundness.py: it says of every file what `decode` says, and mostly without decoding."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import EncodedImage
from wdstream.pixels.soundness import check_image

REAL = sorted((DATA / "pages/rows/images").glob("*.jpg"))
MAX_PIXELS = 10_000_000
MARKERS = (0x01, 0xC0, 0xC2, 0xC4, 0xD0, 0xD3, 0xD9, 0xDA, 0xDD, 0xFE)


def encoded(image: Image.Image, image_format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **settings)
    return buffer.getvalue()


def jpegs() -> dict[str, bytes]:
    """Of every kind that is written: parts of a real page."""
    page = Image.open(REAL[0]).convert("RGB").resize((233, 187))
    made = {
        "4:2:0": encoded(page, "JPEG"),
        "4:4:4": encoded(page, "JPEG", subsampling=0, quality=92),
        "4:2:2": encoded(page, "JPEG", subsampling=1, optimize=True),
        "progressive": encoded(page, "JPEG", progressive=True),
        "restarts": encoded(page, "JPEG", restart_marker_rows=1),
        "progressive with restarts": encoded(page, "JPEG", progressive=True, restart_marker_blocks=5),
        "RGB": encoded(page, "JPEG", keep_rgb=True),
        "grey": encoded(page.convert("L"), "JPEG"),
        "CMYK": encoded(page.convert("CMYK"), "JPEG"),
        "progressive CMYK": encoded(page.convert("CMYK"), "JPEG", progressive=True),
    }
    for sampling in ("440", "411"):
        made[sampling] = simplejpeg.encode_jpeg(np.ascontiguousarray(page), colorsubsampling=sampling)
    made["Adobe"] = (DATA / "bad/pillow-pil_sample_cmyk.jpg").read_bytes()
    return made


def pngs() -> dict[str, bytes]:
    page = Image.open(REAL[0]).convert("RGB").resize((61, 47))
    made = {mode: encoded(page.convert(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA")}
    made |= {f"{colors} colours": encoded(page.quantize(colors), "PNG") for colors in (2, 4, 13, 200)}
    made["transparent"] = encoded(page.quantize(8), "PNG", transparency=1)
    made["16 bits"] = encoded(Image.fromarray(np.asarray(page.convert("L")).astype("uint16") * 255), "PNG")
    return made


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut, flipped, filled with zeros, longer, or with a marker where none was."""
    start = draw.randrange(20, len(data) - 2)
    length = draw.randrange(1, 200)
    flipped = bytearray(data)
    for _ in range(draw.randrange(1, 12)):
        flipped[draw.randrange(0 if draw.random() < 0.3 else start, len(data))] ^= 1 << draw.randrange(8)
    ways: tuple[bytes, ...] = (
        data[:start],
        data[:start] + b"\xff\xd9",
        bytes(flipped),
        data[:start] + bytes(min(length, len(data) - start)) + data[start + length :],
        data[:start] + data[start + length :],
        data[:start] + draw.randbytes(9) + data[start:],
        data + draw.randbytes(length),
        data[:-2] + draw.randbytes(9) + data[-2:],
        data[:start] + bytes((0xFF, draw.choice(MARKERS))) + data[start + 2 :],
    )
    return draw.choice(ways)


Chunks = list[list[bytes]]


def chunks_of(data: bytes) -> Chunks:
    found, position = [], 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        found.append([data[position + 4 : position + 8], data[position + 8 : end]])
        position = end + 4
    return found


def joined(chunks: Chunks) -> bytes:
    written = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def miswritten(data: bytes, draw: random.Random) -> bytes:
    """A PNG whose checksums are right, and something else is not."""
    chunks = chunks_of(data)
    pixels = next(number for number, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    stream = chunks[pixels][1]
    rows = bytearray(zlib.decompress(stream))
    rows[draw.randrange(47) * (len(rows) // 47)] = draw.choice([0, 4, 5, 255])
    flipped = bytearray(stream)
    flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    size = bytearray(chunks[0][1])
    size[draw.choice([3, 7, 8, 9, 10, 11, 12])] ^= 1 << draw.randrange(4)
    extra = [draw.choice([b"PLTE", b"tRNS", b"acTL", b"tEXt", b"IDAT", b"gAMA", b"ABCD"]), draw.randbytes(6)]
    other: tuple[Chunks, ...] = (
        [*chunks[:pixels], [b"IDAT", zlib.compress(rows)], *chunks[pixels + 1 :]],
        [*chunks[:pixels], [b"IDAT", zlib.compress(rows[: -draw.randrange(1, 90)])], *chunks[pixels + 1 :]],
        [*chunks[:pixels], [b"IDAT", bytes(flipped)], *chunks[pixels + 1 :]],
        [*chunks[:pixels], [b"IDAT", stream[:9]], [b"IDAT", stream[9:] + b"rest"], *chunks[pixels + 1 :]],
        [[b"IHDR", bytes(size)], *chunks[1:]],
        [*chunks[:1], *chunks[2:]],
        [*chunks[: (at := draw.randrange(1, len(chunks)))], extra, *chunks[at:]],
    )
    return joined(draw.choice(other))


def refusal(data: bytes, look: Callable[[EncodedImage], object]) -> str | None:
    try:
        look(EncodedImage(data))
    except DecodeError as error:
        return str(error)
    return None


def assert_same(images: dict[str, bytes], damage: Callable[[bytes, random.Random], bytes], count: int) -> int:
    """Of this many copies of each image, what is said is the same; returns how many are refused."""
    draw = random.Random(count)
    refused = 0
    for name, data in images.items():
        for _ in range(count):
            copy = damage(data, draw)
            said = refusal(copy, lambda image: check_image(image, max_pixels=MAX_PIXELS))
            assert said == refusal(copy, lambda image: image.decode(max_pixels=MAX_PIXELS)), name
            refused += said is not None
    return refused


def test_damaged_copies_are_refused_with_the_words_of_the_decoder() -> None:
    assert assert_same(jpegs(), damaged, 20) > 100
    assert assert_same(pngs(), damaged, 10) > 50
    assert assert_same(pngs(), miswritten, 20) > 100


@pytest.mark.slow
def test_thousands_of_damaged_copies() -> None:
    whole = {path.name: path.read_bytes() for path in REAL}
    assert assert_same(jpegs(), damaged, 500) > 3000
    assert assert_same(whole, damaged, 200) > 250
    assert assert_same(pngs(), miswritten, 500) > 2500


@pytest.mark.parametrize("name", [*jpegs()])
def test_a_sound_jpeg_is_not_decoded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(EncodedImage, "decode")
    check_image(EncodedImage(jpegs()[name]), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("name", ["1", "L", "LA", "RGB", "RGBA", "2 colours", "13 colours", "200 colours"])
def test_a_sound_png_is_not_decoded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(EncodedImage, "decode")
    check_image(EncodedImage(pngs()[name]), max_pixels=MAX_PIXELS)


def test_the_limit_comes_first() -> None:
    image = EncodedImage(jpegs()["grey"])
    with pytest.raises(DecodeError, match="above the limit of 100 pixels"):
        check_image(image, max_pixels=100)


@pytest.mark.parametrize("path", sorted((DATA / "bad").glob("pillow-*")), ids=lambda path: path.name)
def test_files_of_other_projects(path: Path) -> None:
    data = path.read_bytes()
    said = refusal(data, lambda image: check_image(image, max_pixels=MAX_PIXELS))
    assert said == refusal(data, lambda image: image.decode(max_pixels=MAX_PIXELS))
