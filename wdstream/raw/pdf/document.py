"""PDF documents and their pages, opened, measured and drawn by PDFium through pypdfium2; not thread-safe.

The size in pixels is checked before rendering: a page may claim to be kilometres high.
"""

import ctypes
import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError, needs_extra
from wdstream.pixels.grey import MAX_JPEG_SIDE, encode_jpeg
from wdstream.raw.pdf.characters import PageCharacters, read_characters
from wdstream.raw.source import StoredImage
from wdstream.records import Size

MAX_PAGES = 1_000_000
MAX_UNPACKED_BYTES = 1 << 30
MAX_TEXT_CHARS = 2_000_000
_POINTS_PER_INCH = 72
_FINER = 1000
_READ_WHOLE_BYTES = 64 << 20


class PdfFile:
    """An open PDF; pages are numbered from 1. Made by `open_pdf`."""

    def __init__(self, document: Any) -> None:
        self._document = document

    @property
    def num_pages(self) -> int:
        """Pages of the document."""
        return len(self._document)

    @contextmanager
    def page(self, number: int) -> Iterator["PdfPage"]:
        """Open page `number`, from 1, for the block.

        Raises:
            SourceError: PDFium cannot load it.
        """
        with _explained("page cannot be loaded"):
            page = self._document[number - 1]
        with closing(page):
            yield PdfPage(page)


class PdfPage:
    """One open page of a PDF."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def pixel_size(self, dpi: int, max_pixels: int) -> Size:
        """(width, height) in pixels at `dpi`, the page's rotation counted.

        Raises:
            SourceError: the page has no sensible size, or is above the limit.
        """
        with _explained("page has no size"):
            points = self._page.get_size()
        if not all(math.isfinite(side) and side > 0 for side in points):
            raise SourceError(f"page has no sensible size: {points[0]} x {points[1]} points")
        width, height = (math.ceil(side * dpi / _POINTS_PER_INCH) for side in points)
        if width * height > max_pixels or max(width, height) > MAX_JPEG_SIDE:
            raise SourceError(
                f"page of {width}x{height} pixels at {dpi} dpi is above the limit of {max_pixels} pixels (max_pixels) "
                f"or {MAX_JPEG_SIDE} a side; lower the dpi"
            )
        return width, height

    def text(self) -> str:
        """The text layer as PDFium returns it, not normalised; empty for a scan.

        Raises:
            SourceError: the text cannot be read, or is far longer than any page's.
        """
        with _explained("text layer cannot be read"), closing(self._page.get_textpage()) as text_page:
            return str(text_page.get_text_range()) if self._count_characters(text_page) > 0 else ""

    def _count_characters(self, text_page: Any) -> int:
        num_chars = int(text_page.count_chars())
        if num_chars > MAX_TEXT_CHARS:
            raise SourceError(f"text layer of {num_chars} characters is above the limit of {MAX_TEXT_CHARS}")
        return max(0, num_chars)

    def characters(self, size: Size) -> PageCharacters:
        """The characters of the text layer, placed on the page drawn at `size`, (width, height) in pixels.

        Raises:
            SourceError: the text cannot be read, or is far longer than any page's.
        """
        with _explained("text layer cannot be read"), closing(self._page.get_textpage()) as text_page:
            return read_characters(text_page, self._count_characters(text_page), self._to_pixels(size))

    def _to_pixels(self, size: Size) -> NDArray[np.float64]:
        """(2, 3) affine transform from the page's space to pixels of the page drawn at `size`, as PDFium has it.

        PDFium answers in whole pixels, so it is asked about a page that is a thousand times as large.
        """
        import pypdfium2.raw as pdfium

        def place(x: float, y: float) -> tuple[float, float]:
            found = ctypes.c_int(), ctypes.c_int()
            sides = (side * _FINER for side in size)
            pdfium.FPDF_PageToDevice(self._page.raw, 0, 0, *sides, 0, x, y, *map(ctypes.byref, found))
            return found[0].value / _FINER, found[1].value / _FINER

        (left, top), (width, height) = place(0, 0), self._page.get_size()
        columns = [
            ((x - left) / side, (y - top) / side)
            for side, (x, y) in zip((width, height), (place(width, 0), place(0, height)), strict=True)
        ]
        return np.array([*columns, (left, top)]).T

    def render(self, *, dpi: int, jpeg_quality: int, max_pixels: int) -> StoredImage:
        """Draw the page on white.

        Raises:
            SourceError: the page is above the limit, or PDFium cannot draw it.
        """
        self.pixel_size(dpi, max_pixels)
        scale = dpi / _POINTS_PER_INCH
        with (
            _explained("page cannot be drawn"),
            closing(self._page.render(scale=scale, rev_byteorder=True, prefer_bgrx=True)) as bitmap,
        ):
            jpeg = encode_jpeg(bitmap.to_numpy(), jpeg_quality)
            return StoredImage(data=jpeg, extension="jpg", size=(bitmap.width, bitmap.height))


@contextmanager
def open_pdf(path: Path) -> Iterator[PdfFile]:
    """Open a PDF, or one compressed as `.pdf.gz`, for the block.

    Raises:
        SourceError: it needs a password, is not a PDF, has no pages, or cannot be read.
        ConfigError: pypdfium2 is not installed.
    """
    pdfium = import_pdfium()
    content = _content(path)
    try:
        document = pdfium.PdfDocument(content)
    except Exception as error:
        reason = str(error)
        if "password" in reason.lower():
            raise SourceError("PDF needs a password; save it without one") from error
        raise SourceError(f"not a readable PDF: {_reason(error)}") from error
    with closing(document):
        num_pages = len(document)
        if not 0 < num_pages <= MAX_PAGES:
            raise SourceError(f"PDF says it has {num_pages} pages; 1 to {MAX_PAGES} expected")
        yield PdfFile(document)


def import_pdfium() -> Any:
    """The module pypdfium2.

    Raises:
        ConfigError: it is not installed, with the command that installs it.
    """
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2
    return pypdfium2


def _content(path: Path) -> bytes | Path:
    """What PDFium reads: a small file's bytes, unpacked; a large file by its path, page by page as it needs them."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as stream:
                data = stream.read(MAX_UNPACKED_BYTES + 1)
            if len(data) > MAX_UNPACKED_BYTES:
                raise SourceError(f"file unpacks to more than the limit of {MAX_UNPACKED_BYTES} bytes; unpack it first")
            return data
        return path if path.stat().st_size > _READ_WHOLE_BYTES else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"file cannot be read: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn whatever PDFium and its wrapper raise into a SourceError that says what failed and why."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # pypdfium2 raises its own error, IndexError and ValueError
        raise SourceError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """PDFium's own words, without the wrapper's."""
    text = str(error)
    start = text.find("(PDFium: ")
    return text[start + 9 :].rstrip(".)") if start >= 0 else f"{type(error).__name__}: {text}"
