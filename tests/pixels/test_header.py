import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.header import ImageHeader, image_header, image_size

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}
FILES = sorted(path for path in DATA.rglob("*") if path.suffix.lower() in SUFFIXES)
UNREADABLE = {  # headers that say nothing usable
    "pillow-bmp_b_badwidth.bmp",
    "pillow-bmp_b_reallybig.bmp",
    "pillow-broken.png",
    "pillow-decompression_bomb.gif",
    "pillow-libtiff_segfault.tif",
    "pillow-seek_too_large.tif",
    "pillow-zero_width.gif",
}

SEVERAL_PAGES = {"pillow-multipage.tiff", "pillow-total-pages-zero.tif", "pillow-g4-multi.tiff"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_header_size_is_decoded_size(path: Path) -> None:
    data = path.read_bytes()
    if path.name in UNREADABLE:
        with pytest.raises(DecodeError):
            image_header(data)
        return
    if path.suffix.startswith(".tif") and image_header(data).num_frames > 1:
        assert path.name in SEVERAL_PAGES
        with pytest.raises(DecodeError, match="TIFF image has several pages"):
            image_size(data)
        return
    size = image_size(data)
    assert image_header(data).size == size
    try:
        pixels = decode_image(data, max_pixels=10**8)
    except DecodeError:
        assert path.parent.name == "bad"
        return
    assert (pixels.shape[1], pixels.shape[0]) == size


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bad/pillow-hopper_orientation_6.jpg", ("JPEG", 128, 128, 6, "RGB", 1)),
        ("bad/pillow-hopper_orientation_8.webp", ("WEBP", 128, 128, 8, "RGB", 1)),
        ("bad/pillow-exif_imagemagick_orientation.png", ("PNG", 512, 512, 3, "RGB", 1)),
        ("bad/pillow-pil_sample_cmyk.jpg", ("JPEG", 100, 100, 1, "CMYK", 1)),
        ("bad/pillow-16bit.cropped.tif", ("TIFF", 64, 64, 1, "I;16", 1)),
        ("bad/pillow-multipage.tiff", ("TIFF", 10, 10, 1, "P", 3)),
        ("bad/pillow-total-pages-zero.tif", ("TIFF", 1728, 2156, 1, "1", 3)),
        ("pages/images/pillow-g4-multi.tiff", ("TIFF", 3307, 4677, 1, "1", 3)),
        ("pages/images/leptonlib-german.png", ("PNG", 483, 871, 1, "RGB", 1)),
        ("pages/scans/leptonlib-cat.007.jpg", ("JPEG", 1111, 2010, 1, "RGB", 1)),
    ],
)
def test_real_headers(name: str, expected: tuple[str, int, int, int, str, int]) -> None:
    image_format, width, height, orientation, mode, num_frames = expected
    assert image_header((DATA / name).read_bytes()) == ImageHeader(
        width=width, height=height, format=image_format, orientation=orientation, mode=mode, num_frames=num_frames
    )


def test_frames_are_counted_only_on_request() -> None:
    data = (DATA / "bad/pillow-multipage.tiff").read_bytes()
    assert image_header(data, count_frames=False).num_frames == 1


def test_frames_of_animations() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    for image_format in ("GIF", "PNG", "WEBP"):
        stream = io.BytesIO()
        frames[0].save(stream, image_format, save_all=True, append_images=frames[1:], duration=100)
        assert image_header(stream.getvalue()).num_frames == 3, image_format


@pytest.mark.parametrize(
    ("depth", "color_type", "mode"),
    [(1, 0, "1"), (8, 0, "L"), (16, 0, "I;16"), (8, 2, "RGB"), (4, 3, "P"), (8, 4, "LA"), (8, 6, "RGBA")],
)
def test_png_modes(make_png: Callable[..., bytes], depth: int, color_type: int, mode: str) -> None:
    assert image_header(make_png((7, 3), depth, color_type, [])).mode == mode


def test_png_metadata_may_follow_the_pixels(make_png: Callable[..., bytes]) -> None:
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    rows = [bytes(9)] * 2
    assert image_size(make_png((3, 2), 8, 2, rows, late_chunks=[(b"eXIf", exif)])) == (2, 3)
    profile = b"\nexif\n      26\n" + exif.hex().encode() + b"\n"
    text = b"Raw profile type exif\x00\x00" + zlib.compress(profile)
    assert image_size(make_png((3, 2), 8, 2, rows, late_chunks=[(b"zTXt", text)])) == (2, 3)
    xmp = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(b'<x tiff:Orientation="5"/>')
    assert image_size(make_png((3, 2), 8, 2, rows, chunks=[(b"iTXt", xmp)])) == (2, 3)
    damaged = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + b"no deflate stream"
    assert image_size(make_png((3, 2), 8, 2, rows, chunks=[(b"iTXt", damaged)])) == (3, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image: 0 bytes"),
        (b"hello, this is a text", "not an image: 21 bytes that start with b'hello, this "),
        (b"\xff\xd8\xff\xd9", "no frame header in its 4 bytes"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08", "its frame header is cut short"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x02" + bytes(8), "2 components; expected 1, 3 or 4"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10\x01" + bytes(8), "its header says 16x0 pixels"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "its first chunk is"),
        (
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">IIBB", 4, 4, 8, 5) + bytes(9),
            "unknown colour type 5",
        ),
    ],
)
def test_what_is_no_image(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        image_header(data)
    assert message in str(caught.value)


def test_headers_need_neither_torch_nor_pillow() -> None:
    code = (
        "import sys; from wdstream.pixels.header import image_size; "
        "size = image_size(open(sys.argv[1], 'rb').read()); "
        "print(size, sorted({'torch', 'PIL', 'simplejpeg'} & set(sys.modules)))"
    )
    path = DATA / "pages/scans/leptonlib-cat.007.jpg"
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout == "(1111, 2010) []\n"


SEEDS = [
    (DATA / "bad" / name).read_bytes()
    for name in (
        "pillow-hopper_orientation_6.jpg",
        "pillow-hopper_orientation_8.webp",
        "pillow-pil123p.png",
        "pillow-multipage.tiff",
        "pillow-hopper_gray_4bpp.tif",
        "pillow-hopper_zero_comment_subblocks.gif",
    )
]


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 800), st.integers(0, 255)), max_size=6),
    keep=st.floats(0, 1),
)
def test_damaged_files_raise_nothing_but_decode_error(data: bytes, edits: list[tuple[int, int]], keep: float) -> None:
    damaged = bytearray(data)
    for position, value in edits:
        damaged[position % len(damaged)] = value
    file = bytes(damaged[: int(len(damaged) * keep)])
    try:
        size = image_size(file)
        pixels = decode_image(file, max_pixels=10**6)
    except DecodeError:
        return
    assert (pixels.shape, pixels.dtype) == ((size[1], size[0], 3), np.dtype(np.uint8))
