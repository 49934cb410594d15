"""TIFFs of one page, of several, and with what is not a page: by Pillow's writer, in both byte orders, and BigTIFF."""

import contextlib
import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.paths import DATA
from wdstream.errors import DecodeError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.header import image_size
from wdstream.pixels.tiff_pages import refuse_several_pages

NEW_SUBFILE_TYPE = 254


def tiff(pages: int, **options: Any) -> bytes:
    """A TIFF of grey pages."""
    images = [Image.new("L", (9, 7), 40 * number) for number in range(pages)]
    file = io.BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_one_page_is_read_and_several_are_not(options: dict[str, Any]) -> None:
    assert image_size(tiff(1, **options)) == (9, 7)
    assert decode_image(tiff(1, **options), max_pixels=100).shape == (7, 9, 3)
    for read in (image_size, lambda data: decode_image(data, max_pixels=100)):
        with pytest.raises(DecodeError, match="TIFF image has several pages, and one is expected"):
            read(tiff(2, **options))


def test_big_endian_files() -> None:
    def directory(following: int) -> bytes:
        return struct.pack(">HHHIII", 1, 256, 4, 1, 9, following)

    head = b"MM\x00*" + struct.pack(">I", 8)
    refuse_several_pages(head + directory(0))
    with pytest.raises(DecodeError, match="several pages"):
        refuse_several_pages(head + directory(26) + directory(0))


@pytest.mark.parametrize(("kind", "is_page"), [(0, True), (1, False), (2, True), (4, False)])
def test_a_smaller_copy_or_a_mask_is_no_page(kind: int, is_page: bool) -> None:
    def directory(kind: int, following: int) -> bytes:
        return struct.pack("<HHHIII", 1, NEW_SUBFILE_TYPE, 4, 1, kind, following)

    data = b"II*\x00" + struct.pack("<I", 8) + directory(0, 26) + directory(kind, 0)
    if is_page:
        with pytest.raises(DecodeError, match="several pages"):
            refuse_several_pages(data)
    else:
        refuse_several_pages(data)


def test_directories_in_a_ring_end() -> None:
    refuse_several_pages(b"II*\x00" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8))


@settings(deadline=None)
@given(st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]), st.binary(max_size=200))
def test_damage_raises_nothing_else(mark: bytes, rest: bytes) -> None:
    with contextlib.suppress(DecodeError):
        refuse_several_pages(mark + rest)


def test_real_scans() -> None:
    for name in ("tesseract-eurotext.tif", "leptonlib-harmoniam-11.tif"):
        refuse_several_pages((DATA / "pages/images" / name).read_bytes())
    with pytest.raises(DecodeError, match="several pages"):
        refuse_several_pages((DATA / "pages/images/pillow-g4-multi.tiff").read_bytes())
