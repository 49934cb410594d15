"""Image files as pages, and images as they are stored: the file's own bytes wherever a shard can hold them.

A page of a TIFF of several is encoded again: 1-bit as G4 (a tenth of a JPEG's size, and exact), any other as JPEG. So
is an image of a format that shards do not hold. The first frame of an animation counts. A JPEG is grey where there is
no colour, which is smaller and faster to decode, with the same pixels.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import DecodeError, SourceError
from wdstream.pixels.decode import EncodedImage, check_limit, check_strips
from wdstream.pixels.grey import encode_jpeg
from wdstream.pixels.header import image_header, pillow_header
from wdstream.pixels.pillow import open_image, sniff_format, to_grey_or_rgb, unreadable
from wdstream.pixels.soundness import check_image
from wdstream.raw.reading import limits, read_bytes
from wdstream.raw.remote.access import open_raw
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import (
    PageRange,
    PageReader,
    Source,
    StoredImage,
    StoredPage,
    page_of_image,
    require_text,
)
from wdstream.raw.texts.file_texts import FileTexts
from wdstream.raw.texts.page_text import TEXT_FILE, FoundText
from wdstream.text.characters import replace_surrogates

if TYPE_CHECKING:
    from PIL import Image

_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif", "BMP": "bmp"}


class ImageSource(Source):
    """Image files, their text in a sidecar; a TIFF may have many pages."""

    kind = "image"
    suffixes = (
        *(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
        *(".jpe", ".jfif", ".mpo", ".jp2", ".avif", ".ppm", ".pgm"),
    )
    takes_sidecar = True
    may_belong_to_rows = True
    least_page_bytes = 0

    def known_pages(self, name: str) -> int | None:
        """A TIFF is known by its suffix; by any other it is one page."""
        return None if name.lower().endswith((".tif", ".tiff")) else 1

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of pages of a TIFF."""
        return count_pages(path), ()

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator[PageReader]:
        """Open a TIFF of many pages; other files are read with their page."""
        if pages.file.is_single_image:
            yield single_image(pages, path, settings)
            return
        with open_tiff(path, settings) as tiff:
            yield _ImageReader(tiff, pages, path, settings)


def single_image(pages: PageRange, path: Path, settings: RawSettings) -> PageReader:
    """The reader of a file of one page, which holds nothing open."""
    return _ImageReader(None, pages, path, settings)


class _ImageReader:
    """An image, or the pages of a TIFF, as samples."""

    def __init__(self, tiff: "TiffPages | None", pages: PageRange, path: Path, settings: RawSettings) -> None:
        self._tiff = tiff
        self._file = pages.file
        self._path = path
        self._settings = settings
        self._texts = FileTexts(path, self._file, ImageSource.suffixes, settings)

    def read(self, number: int) -> StoredPage:
        found, settings = self._texts.text(number), self._settings
        is_read = settings.ocr != "none" and not (found and found.text)
        if not is_read:
            text = found.text if found else ""
            require_text(text, "" if text else self._texts.absence(), settings)
        if self._tiff is None:
            key, image = self._file.stem, store_image(read_file(self._path), settings)
        else:
            key, image = self._file.page_key(number), self._tiff.page(number)
        if is_read:
            found = read_picture(image, settings)
        meta: dict[str, object] = {**dict(self._file.meta), "source": replace_surrogates(self._file.path)}
        if self._tiff is not None:
            meta["page"] = number
        return page_of_image(key, image, found.text if found else "", meta | self._text_meta(found, image))

    def _text_meta(self, found: FoundText | None, image: StoredImage) -> dict[str, object]:
        """What is known of a text; that it is from a text file goes without saying."""
        if found is None or found.meta.get("text_from") == TEXT_FILE:
            return {}
        return found.on_image(image.size, check_size=self._settings.check_text_size)


def read_picture(image: StoredImage, settings: RawSettings) -> FoundText:
    """The text of a picture that has none elsewhere, by the program that settings name.

    Raises:
        SourceError: it reads nothing, and empty pages are not kept; or it is too unsure, or fails.
    """
    from wdstream.raw.ocr.pictures import text_in_picture  # most jobs read no pictures

    found = text_in_picture(image, settings)
    require_text(found.text, f"{settings.ocr} reads none on the picture that it is sure of", settings)
    return found


def read_file(path: Path) -> bytes:
    """All bytes of an image file.

    Raises:
        SourceError: it cannot be read, or is far larger than any page.
    """
    return read_bytes(path, limit=limits().max_file_bytes, option="--max-file-bytes")


def count_pages(path: Path) -> int:
    """Pages of a TIFF; 1 for any other image, whatever is wrong with it.

    Raises:
        SourceError: the file cannot be read.
        DecodeError: it is a TIFF whose pages cannot be counted, or there are absurdly many.
    """
    try:
        with open_raw(path) as file:
            head = file.read(16)
    except OSError as error:
        raise SourceError(f"file cannot be read: {error.strerror}") from error
    if _format_of(head) != "TIFF":
        return 1
    num_frames = image_header(read_file(path)).num_frames
    most = limits().max_frames
    if not 0 < num_frames <= most:
        raise DecodeError(f"TIFF says it has {num_frames} pages; 1 to {most} expected (--max-frames)")
    return num_frames


def store_image(data: bytes, settings: RawSettings) -> StoredImage:
    """An image file of one page, as it is stored.

    Raises:
        DecodeError: it is no image, is damaged, or is above the limit.
    """
    image = EncodedImage(data)
    header = image.header
    check_limit(header, settings.max_pixels)
    extension = _EXTENSIONS.get(header.format)
    if extension is not None:
        if settings.check_images:
            check_image(image, max_pixels=settings.max_pixels)
        return StoredImage(data=data, extension=extension, size=header.size)
    pixels = image.decode(max_pixels=settings.max_pixels)
    return StoredImage(data=encode_jpeg(pixels, settings.jpeg_quality), extension="jpg", size=header.size)


class TiffPages:
    """The pages of a TIFF of several, numbered from 1. Made by `open_tiff`."""

    def __init__(self, image: "Image.Image", settings: RawSettings) -> None:
        self._image = image
        self._settings = settings

    def page(self, number: int) -> StoredImage:
        """Page `number`, turned upright, encoded again.

        Raises:
            DecodeError: it is damaged, or above the limit.
        """
        try:
            self._image.seek(number - 1)
        except Exception as error:  # Pillow raises whatever its parsing raises
            raise unreadable("TIFF", error) from error
        check_limit(pillow_header(self._image, count_frames=False), self._settings.max_pixels)
        check_strips(self._image)
        try:
            self._image.load()
            is_bilevel = self._image.mode == "1"
            data = _as_g4(self._image) if is_bilevel else self._as_jpeg()
        except Exception as error:
            raise unreadable("TIFF", error) from error
        return StoredImage(data=data, extension="tif" if is_bilevel else "jpg", size=self._image.size)

    def _as_jpeg(self) -> bytes:
        pixels = to_grey_or_rgb(self._image)
        channels = pixels if pixels.ndim == 3 else pixels[..., None].repeat(3, axis=2)
        return encode_jpeg(channels, self._settings.jpeg_quality)


@contextmanager
def open_tiff(path: Path, settings: RawSettings) -> Iterator[TiffPages]:
    """Open a TIFF of several pages for the block.

    Raises:
        SourceError: the file cannot be read.
        DecodeError: it is no TIFF.
    """
    with open_image(read_file(path), "TIFF") as image:
        yield TiffPages(image, settings)


def _as_g4(image: "Image.Image") -> bytes:
    """A 1-bit image as TIFF with CCITT group 4 compression, without any other tag of the file it came from."""
    from PIL import Image

    bare = Image.frombytes("1", image.size, image.tobytes())
    buffer = io.BytesIO()
    bare.save(buffer, "TIFF", compression="group4")
    return buffer.getvalue()


def _format_of(head: bytes) -> str | None:
    try:
        return sniff_format(head)
    except DecodeError:
        return None
