"""Documents in tars: a PDF, or a TIFF of several pages, with the text of its pages, in one sample.

The layout of PDFA and IDL is `key.pdf`, or `key.tif`, or both, and `key.json` with a list of `pages`
(json_pages.py); a `key.txt` may have the texts instead, with form feeds between pages. Where a document is there in
both forms, the TIFF is taken: it is the scan itself. Without a text next to it, a PDF has its own text layer.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from wdstream.errors import DecodeError, SourceError
from wdstream.pixels.header import image_header
from wdstream.pixels.pillow import open_image, sniff_format
from wdstream.pixels.tiff_pages import refuse_several_pages
from wdstream.raw.images import TiffPages
from wdstream.raw.ocr.untold import with_text
from wdstream.raw.reading import limits
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageReader, RawFile, StoredPage, page_of_image, require_text
from wdstream.raw.tars.json_pages import SampleTexts, read_json, texts_by_map, texts_from_json, texts_from_txt
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.parts import sort_parts
from wdstream.text.characters import replace_surrogates
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.forms import TEXT_FIELDS

_PDF = "pdf"
DOCUMENT_EXTENSIONS = ("tif", "tiff", _PDF)
"""Of parts that may have several pages, the first that is there before the others."""
_OF_THE_WHOLE = frozenset({"texts", "images", *TEXT_FIELDS})


def document_part(names: Collection[str], settings: RawSettings) -> str | None:
    """The part whose pages are the pages of the sample; None where no part is a document."""
    found = [name for name in _documents_by_map(settings.map, settings.preset) if name in names]
    if settings.document_text == "layer" and _PDF in found:
        return _PDF
    return found[0] if found else None


@lru_cache
def _map_of(given: tuple[str, ...], preset: str | None) -> FieldMap | None:
    return FieldMap.chosen(given, preset)


@lru_cache
def _documents_by_map(given: tuple[str, ...], preset: str | None) -> tuple[str, ...]:
    """The parts that may be documents: those that the map calls images, where it says so."""
    field_map = _map_of(given, preset)
    if field_map is None or "image" not in field_map.roles:
        return DOCUMENT_EXTENSIONS
    named = [str(path.steps[0]) for wanted in field_map.roles["image"] for path in wanted.paths]
    return tuple(name for name in named if name in DOCUMENT_EXTENSIONS)


def count_document_pages(data: bytes) -> int:
    """Pages of a PDF or a TIFF; smaller copies of a page do not count.

    Raises:
        PageError: it is none, or damaged.
    """
    if not data.startswith((b"II", b"MM")):
        from wdstream.raw.pdf.document import open_pdf

        with open_pdf(data) as pdf:
            return pdf.num_pages
    if sniff_format(data) != "TIFF":
        raise DecodeError("a TIFF expected")
    try:
        refuse_several_pages(data)
    except DecodeError:
        num_pages = image_header(data).num_frames
        if not 0 < num_pages <= limits().max_frames:
            raise DecodeError(f"TIFF says it has {num_pages} pages; at most {limits().max_frames} expected") from None
        return num_pages
    return 1


def is_document(members: Mapping[str, bytes], num_pages: int) -> bool:
    """Whether a sample with a part that may have several pages is a document, rather than an image with its text."""
    return num_pages != 1 or _PDF in members or texts_from_json(members.get(JSON_EXTENSION, b"")) is not None


@contextmanager
def open_document(members: Mapping[str, bytes], file: RawFile, settings: RawSettings) -> Iterator[PageReader]:
    """Open the document of a sample for the block.

    Args:
        members: of the sample.
        file: what its pages are called, where they are from, and how many there are.
        settings: how pages are read.

    Raises:
        PageError: it cannot be read, or not all of the sample is used.
    """
    name = document_part(members, settings)
    assert name is not None, "the survey found a document"
    _check_parts(members, name, file.num_pages)
    texts = _sample_texts(members, name, file.num_pages, settings)
    data = members[name]
    if name == _PDF:
        from wdstream.raw.pdf.document import open_pdf
        from wdstream.raw.pdf.pages import PdfReader

        with open_pdf(data) as pdf:
            yield PdfReader(pdf, file, texts, settings)
        return
    with open_image(data, "TIFF") as image:
        yield _TiffReader(TiffPages(image, settings), file, texts, settings)


def _check_parts(members: Mapping[str, bytes], name: str, num_pages: int) -> None:
    """Every image of a sample is its document, in this form or another."""
    for other in DOCUMENT_EXTENSIONS:
        if other in members and other != name and count_document_pages(members[other]) != num_pages:
            raise SourceError(f"its {name} has {num_pages} pages, its {other} has not: which one is the document?")
    more = [part for part in sort_parts(members).images if part not in DOCUMENT_EXTENSIONS]
    if more:
        raise SourceError(f"its image {more[0]!r} is not used next to its {name}: leave it out, or name it by --map")


def _sample_texts(members: Mapping[str, bytes], name: str, num_pages: int, settings: RawSettings) -> SampleTexts:
    """Texts of the pages by other parts of the sample; none where the PDF's own are wanted."""
    if settings.document_text == "layer" and name == _PDF:
        return SampleTexts(None)
    field_map = _map_of(settings.map, settings.preset)
    texts = None if field_map is None else texts_by_map(members, field_map)
    where = JSON_EXTENSION
    if texts is None:
        texts = texts_from_json(members.get(JSON_EXTENSION, b""))
    if texts is None and TEXT_EXTENSION in members:
        texts, where = texts_from_txt(members[TEXT_EXTENSION]), TEXT_EXTENSION
    if texts is None and name != _PDF and settings.ocr == "none":
        fields = sorted(_OF_THE_WHOLE & read_json(members.get(JSON_EXTENSION, b"")).keys())
        if fields:  # as MINT-1T has them
            raise SourceError(
                f"its json has {' and '.join(fields)} of the whole sample, and its {name} is {num_pages} pages: write "
                "each page as an image of its own next to the json, by the name that the json has for it"
            )
    if texts is not None and len(texts) != num_pages:
        own = "; --document-text layer takes the PDF's own" if _PDF in members else ""
        raise SourceError(f"its {where} has the texts of {len(texts)} pages, its {name} has {num_pages} pages{own}")
    return SampleTexts(texts)


@dataclass(frozen=True, slots=True)
class _TiffReader:
    """Pages of a TIFF as samples."""

    tiff: TiffPages
    file: RawFile
    texts: SampleTexts
    settings: RawSettings

    def read(self, number: int) -> StoredPage:
        found = self.texts.text(number)
        if self.settings.ocr == "none":
            require_text(found.text if found else "", "neither json with pages nor txt in its sample", self.settings)
        image = self.tiff.page(number)
        meta: dict[str, object] = {"source": replace_surrogates(self.file.path), "page": number}
        if found is not None:
            meta |= found.meta
        stored = page_of_image(self.file.page_key(number), image, found.text if found else "", meta)
        return with_text(stored, self.settings)
