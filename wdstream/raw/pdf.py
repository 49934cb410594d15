"""PDF pages: rendered to JPEG, with the text of their text layer or of a file. PDFium by pypdfium2; not thread-safe.

The size in pixels is checked before rendering: a page may claim to be kilometres high.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from wdstream.errors import SourceError, needs_extra
from wdstream.pixels.grey import MAX_JPEG_SIDE, encode_jpeg
from wdstream.raw.settings import RawSettings
from wdstream.raw.sidecar import Sidecars
from wdstream.raw.source import (
    PageRange,
    Source,
    StoredImage,
    StoredPage,
    page_of_image,
    require_text,
)
from wdstream.records import Size
from wdstream.text.characters import normalise_text, replace_surrogates, unreadable_share

MAX_PAGES = 1_000_000
MAX_UNPACKED_BYTES = 1 << 30
MAX_TEXT_CHARS = 2_000_000
_POINTS_PER_INCH = 72
_READ_WHOLE_BYTES = 64 << 20


class PdfSource(Source):
    """PDFs, also those compressed as `.pdf.gz`."""

    kind = "pdf"
    suffixes = (".pdf", ".pdf.gz")
    takes_sidecar = True

    def check_installed(self) -> None:
        """Check that pypdfium2 is installed."""
        import_pdfium()

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of pages."""
        with open_pdf(path) as pdf:
            return pdf.num_pages, ()

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_PdfReader"]:
        """Open the document; its pages are found by number."""
        with open_pdf(path) as pdf:
            if pdf.num_pages != pages.file.num_pages:
                raise SourceError(f"had {pages.file.num_pages} pages when the job was planned, now {pdf.num_pages}")
            yield _PdfReader(pdf, pages, path, settings)


class _PdfReader:
    """Pages of a PDF as samples."""

    def __init__(self, pdf: "PdfFile", pages: PageRange, path: Path, settings: RawSettings) -> None:
        self._pdf = pdf
        self._file = pages.file
        self._settings = settings
        self._sidecars = Sidecars(path, PdfSource.suffixes, self._file.num_pages)

    def read(self, number: int) -> StoredPage:
        settings = self._settings
        with self._pdf.page(number) as page:
            page.pixel_size(settings.dpi, settings.max_pixels)
            sidecar = self._sidecars.text(number)
            text = self._clean(page.text()) if sidecar is None else sidecar
            require_text(text, "neither a text layer nor a text file beside it", settings)
            image = page.render(dpi=settings.dpi, jpeg_quality=settings.jpeg_quality, max_pixels=settings.max_pixels)
        text_from = "text layer" if sidecar is None else "text file"
        meta = {"source": replace_surrogates(self._file.path), "page": number, "text_from": text_from}
        return page_of_image(self._file.page_key(number), image, text, meta)

    def _clean(self, text: str) -> str:
        share = unreadable_share(text)
        if share > self._settings.max_unreadable:
            raise SourceError(
                f"text layer is not text: {share:.1%} of its characters mean nothing in Unicode (limit "
                f"{self._settings.max_unreadable:.1%}); put a text file next to the PDF"
            )
        return normalise_text(text)


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
            num_chars = text_page.count_chars()
            if num_chars > MAX_TEXT_CHARS:
                raise SourceError(f"text layer of {num_chars} characters is above the limit of {MAX_TEXT_CHARS}")
            return str(text_page.get_text_range()) if num_chars > 0 else ""

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
