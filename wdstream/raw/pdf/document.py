"""PDF documents and their pages, opened, measured and drawn by PDFium through pypdfium2; not thread-safe.

The size in pixels is checked before rendering: a page may claim to be kilometres high.
"""

import ctypes
import gzip
import io
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError, needs_extra
from wdstream.pixels.grey import MAX_JPEG_SIDE, encode_jpeg
from wdstream.raw.pdf.annotations import has_drawn_annotations
from wdstream.raw.pdf.calls import address, drawn_page, pdfium_calls, read_from_left
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects, read_objects
from wdstream.raw.pdf.places import ROUNDED_DOWN, PictureArea, fitting_scale, pixels_of
from wdstream.raw.pdf.structure import Structure
from wdstream.raw.reading import limits, read_bytes, read_plain
from wdstream.raw.remote.access import local_copy, open_ranged, raw_state, store_of
from wdstream.raw.source import StoredImage
from wdstream.records import Size

MAX_PAGES = 1_000_000
_POINTS_PER_INCH = 72
_FINER = 1000
_READ_WHOLE_BYTES = 64 << 20
_COUNTED_WHOLE = 2 << 20
_BUFFER_BYTES = 1 << 16
_FROM_POSTSCRIPT = ("Ghostscript", "Distiller")
_PageAndSides = tuple[Any, tuple[float, float]]


class PdfFile:
    """An open PDF; pages are numbered from 1. Made by `open_pdf`."""

    def __init__(self, document: Any, structure: Structure) -> None:
        self._document = document
        self._structure = structure
        self._is_from_postscript = False
        with _explained("kind of its form cannot be read"):
            form_type = document.get_formtype()
        pdfium = import_pdfium().raw
        self.has_xfa = form_type in (pdfium.FORMTYPE_XFA_FULL, pdfium.FORMTYPE_XFA_FOREGROUND)
        """Whether it has a form that only XFA viewers draw; its pages are that form too, or a placeholder of it."""
        self.needs_xfa = form_type == pdfium.FORMTYPE_XFA_FULL
        """Whether it says that its pages are not what a reader shall see."""
        with suppress(Exception):  # it matters little
            producer = document.get_metadata_value("Producer")
            self._is_from_postscript = any(name in producer for name in _FROM_POSTSCRIPT)
        if form_type == pdfium.FORMTYPE_ACRO_FORM or self.has_xfa:
            with _explained("form cannot be opened"), _unsaid():
                document.init_forms()  # before the first page is opened, or its fields are not drawn

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

        def load() -> _PageAndSides:
            with _explained("page cannot be loaded"):
                return _with_sensible_crop(self._document, number - 1)

        with closing(PdfPage(load, self._structure.user_unit(number), has_layers=self._structure.has_layers())) as page:
            page.may_hide_spaces, page.has_masks = self._is_from_postscript, self._structure.has_masks()
            yield page


def _with_sensible_crop(document: Any, index: int) -> _PageAndSides:
    """A page; one whose crop box has nothing of the page is opened without that box, as viewers do."""
    page = document[index]
    sides = page.get_size()
    if all(side > 0 for side in sides):
        return page, sides
    media = page.get_mediabox()
    page.set_cropbox(min(media[0::2]), min(media[1::2]), max(media[0::2]), max(media[1::2]))
    page.close()
    page = document[index]
    return page, page.get_size()


class PdfPage:
    """One open page of a PDF, whose user unit is `user_unit` points."""

    def __init__(self, load: Callable[[], _PageAndSides], user_unit: float, *, has_layers: bool) -> None:
        self._load = load
        self._page, self._sides = load()
        self._user_unit = user_unit
        self._transforms: dict[Size, NDArray[np.float64]] = {}
        self.has_layers = has_layers
        """Whether parts of the page may be hidden as layers of the document."""
        self.has_masks = self.may_hide_spaces = False
        """Whether a mask may hide what forms draw; whether spaces may be gaps in a text, as in PostScript's PDFs."""
        self.num_own: int | None = None
        """How many of its objects are its own, once fields and annotations have become objects of it; None before."""

    def opened_again(self) -> "PdfPage":
        """The same page by itself, as its document has it now."""
        page = PdfPage(self._load, self._user_unit, has_layers=self.has_layers)
        page.num_own, page.has_masks = self.num_own, self.has_masks
        return page

    def close(self) -> None:
        """Give the page back to PDFium; nothing of it may be used afterwards."""
        self._page.close()

    def has_annotations(self) -> bool:
        """Whether it has fields or annotations that are drawn."""
        return has_drawn_annotations(self._page)

    def flatten(self) -> None:
        """Make fields and annotations that are drawn a part of the page, so that its text has theirs.

        Draw the page before: their appearance changes a little.
        """
        num_own = pdfium_calls().count_objects(address(self._page.raw))
        pdfium = import_pdfium().raw
        sides, box = self._sides, self._page.get_bbox()
        with _explained("fields and annotations cannot be read"):
            if pdfium.FPDFPage_Flatten(self._page.raw, pdfium.FLAT_NORMALDISPLAY) != pdfium.FLATTEN_SUCCESS:
                return
        self._reload()
        if self._sides != sides:  # a page that inherits its media box is given another
            self._page.set_mediabox(*box)
            self._page.set_cropbox(*box)
            self._reload()
        self.num_own = num_own

    def _reload(self) -> None:
        self._page.close()
        self._page, self._sides = self._load()
        self._transforms.clear()

    def scale(self, dpi: int, max_pixels: int, *, fit: bool = False) -> float:
        """Pixels per unit of the page at `dpi`; where that is above a limit and `fit` is set, the most that fits.

        Raises:
            SourceError: the page has no sensible size, or is above the limit.
        """
        sides, scale = self._sides, dpi / _POINTS_PER_INCH
        if not all(math.isfinite(side) and side > 0 for side in sides):
            raise SourceError(f"page has no sensible size: {sides[0]} x {sides[1]} points")
        if self._user_unit != 1.0:
            scale *= self._user_unit * ROUNDED_DOWN
        width, height = pixels_of(sides, scale)
        if width * height <= max_pixels and max(width, height) <= MAX_JPEG_SIDE:
            return scale
        if not fit:
            width, height = pixels_of(sides, scale * ROUNDED_DOWN)
            raise SourceError(
                f"page of {width}x{height} pixels at {dpi} dpi is above the limit of {max_pixels} pixels (max_pixels) "
                f"or {MAX_JPEG_SIDE} a side; --fit draws it as large as fits, a lower --dpi all pages smaller"
            )
        return fitting_scale(sides, max_pixels)

    def pixel_size(self, scale: float) -> Size:
        """(width, height) in pixels of the page drawn at `scale`, its rotation counted."""
        return pixels_of(self._sides, scale)

    def text(self) -> str:
        """The text layer as PDFium returns it, not normalised; empty for a scan.

        Raises:
            SourceError: the text cannot be read, or is far longer than any page's.
        """
        with _explained("text layer cannot be read"), closing(self._page.get_textpage()) as text_page:
            return str(text_page.get_text_range()) if self._count_characters(text_page) > 0 else ""

    def _count_characters(self, text_page: Any) -> int:
        num_chars = int(text_page.count_chars())
        most = limits().max_text_chars
        if num_chars > most:
            raise SourceError(f"text layer of {num_chars} characters is above the limit of {most} (--max-text-chars)")
        return max(0, num_chars)

    @contextmanager
    def text_layer(self, size: Size) -> Iterator[TextLayer]:
        """The text layer, placed on the page drawn at `size`, (width, height) in pixels, for the block.

        Raises:
            SourceError: the text cannot be read, or is far longer than any page's.
        """
        with _explained("text layer cannot be read"):
            text_page = self._page.get_textpage()
        with closing(text_page):
            with _explained("text layer cannot be read"):
                layer = TextLayer(text_page, self._count_characters(text_page), self._to_pixels(size))
                layer.may_hide_spaces = self.may_hide_spaces
            yield layer

    def objects(self, size: Size) -> PageObjects:
        """What the page draws, placed on the page drawn at `size`."""
        return read_objects(address(self._page.raw), self._to_pixels(size), self.num_own, has_masks=self.has_masks)

    def drawn_without(self, handles: Sequence[int], scale: float, area: PictureArea) -> NDArray[np.uint8]:
        """A part of the page drawn as in `drawn`, but without these objects."""
        set_active = pdfium_calls().set_active
        for handle in handles:
            set_active(handle, 0)
        try:
            with self.drawn(scale, area) as pixels:
                return pixels.copy()
        finally:
            for handle in handles:
                set_active(handle, 1)

    def _to_pixels(self, size: Size) -> NDArray[np.float64]:
        """(2, 3) affine transform from the page's space to pixels of the page drawn at `size`, as PDFium has it.

        PDFium answers in whole pixels, so it is asked about a page that is a thousand times as large.
        """
        if size in self._transforms:
            return self._transforms[size]
        to_device = pdfium_calls().page_to_device
        handle, found = address(self._page.raw), (ctypes.c_int * 2)()
        start = ctypes.addressof(found)

        def place(x: float, y: float) -> tuple[float, float]:
            to_device(handle, 0, 0, size[0] * _FINER, size[1] * _FINER, 0, x, y, start, start + 4)
            return found[0] / _FINER, found[1] / _FINER

        (left, top), (width, height) = place(0, 0), self._sides
        columns = [
            ((x - left) / side, (y - top) / side)
            for side, (x, y) in zip((width, height), (place(width, 0), place(0, height)), strict=True)
        ]
        self._transforms[size] = np.array([*columns, (left, top)]).T
        return self._transforms[size]

    @contextmanager
    def drawn(self, scale: float, area: PictureArea | None = None) -> Iterator[NDArray[np.uint8]]:
        """The page on white at `scale`, with its form fields and annotations: (height, width, 4), blue, green, red and
        an unused byte; to be used in the block.

        Args:
            scale: pixels per unit.
            area: left, top, right, bottom in pixels of the part that is drawn, exactly as in the whole page.

        Raises:
            SourceError: PDFium cannot draw it.
        """
        size = self.pixel_size(scale)
        with ExitStack() as stack:
            with _explained("page cannot be drawn"):
                pixels = stack.enter_context(drawn_page(self._page, size, area or (0, 0, *size)))
            yield pixels

    def render(self, *, dpi: int, jpeg_quality: int, max_pixels: int, fit: bool = False) -> StoredImage:
        """Draw the page to a JPEG.

        Raises:
            SourceError: the page is above the limit and does not have to fit, or PDFium cannot draw it.
        """
        with self.drawn(self.scale(dpi, max_pixels, fit=fit)) as pixels:
            return stored_jpeg(pixels, jpeg_quality)


def stored_jpeg(pixels: NDArray[np.uint8], quality: int) -> StoredImage:
    """A drawn page, (height, width, 4), as it goes into a shard."""
    height, width = pixels.shape[:2]
    return StoredImage(data=encode_jpeg(pixels, quality), extension="jpg", size=(width, height))


@contextmanager
def open_pdf(path: Path | bytes) -> Iterator[PdfFile]:
    """Open a PDF, or one compressed as `.pdf.gz`, for the block; or the bytes of one.

    One of a store is read whole; a large one is copied for the block.

    Raises:
        SourceError: it needs a password, is not a PDF, has no pages, or cannot be read.
        ConfigError: pypdfium2 is not installed.
    """
    with ExitStack() as copies:
        content = path if isinstance(path, bytes) else _content(path, copies)
        yield copies.enter_context(_opened(content, content))


def count_pdf_pages(path: Path) -> int:
    """The pages of a PDF; of a large one in a store, its table of pages alone is read.

    Raises:
        SourceError: as `open_pdf`.
    """
    with suppress(Exception):  # whatever it is, all of the file may be better
        if store_of(path) is not None and path.suffix.lower() != ".gz" and raw_state(path).num_bytes > _COUNTED_WHOLE:
            with open_ranged(path) as file, _opened(io.BufferedReader(file, _BUFFER_BYTES), b"") as pdf:
                if not file.has_failed:
                    return pdf.num_pages
    with open_pdf(path) as pdf:
        return pdf.num_pages


@contextmanager
def _opened(file: Path | bytes | BinaryIO, content: Path | bytes) -> Iterator[PdfFile]:
    """A document that PDFium reads from a file, and others from its content."""
    try:
        document = import_pdfium().PdfDocument(file)
    except Exception as error:
        if "password" in str(error).lower():
            raise SourceError("PDF needs a password; save it without one") from error
        raise SourceError(f"not a readable PDF: {_reason(error)}") from error
    with closing(document), closing(Structure(content)) as structure:
        if not 0 < (num_pages := len(document)) <= MAX_PAGES:
            raise SourceError(f"PDF says it has {num_pages} pages; 1 to {MAX_PAGES} expected")
        read_from_left(document)
        yield PdfFile(document, structure)


@lru_cache
def import_pdfium() -> Any:
    """The module pypdfium2; pikepdf, which takes longer to import and is seldom needed, is there, too.

    Raises:
        ConfigError: one is not installed, with the command that installs it.
    """
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2

        if find_spec("pikepdf") is None:
            raise ModuleNotFoundError("No module named 'pikepdf'", name="pikepdf")
    return pypdfium2


def _content(path: Path, copies: ExitStack) -> bytes | Path:
    """What PDFium reads: a small file's bytes, unpacked; a large file by its path, page by page as it needs them."""
    try:
        most = limits().max_file_bytes
        if path.suffix.lower() == ".gz":
            packed = read_bytes(path, limit=most, option="--max-file-bytes")
            with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
                data = stream.read(most + 1)
            if len(data) > most:
                raise SourceError(f"file unpacks to more than the limit of {most} bytes (--max-file-bytes)")
            return data
        plain = read_plain(str(path), limit=_READ_WHOLE_BYTES)
        if plain is None and raw_state(path).num_bytes > _READ_WHOLE_BYTES:
            return copies.enter_context(local_copy(path))
        return plain or read_bytes(path, limit=_READ_WHOLE_BYTES, option="")
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"file cannot be read: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without the wrapper's warning that PDFium draws no XFA: what it draws of such a form is its pages, as wanted."""
    logger = logging.getLogger("pypdfium2._helpers.document")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


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
