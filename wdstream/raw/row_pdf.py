"""Rows with a PDF in place of an image: `{"pdf": b"%PDF-...", "page": 3, "text": "..."}`, or the name of one.

The page is drawn as a page of a PDF file is, and becomes the image of the row. Its text is the row's, not the text
layer's. A PDF of several pages needs a number, from 1, in `page`, `page_number` or `page_num`. A name is one of a field
such as `pdf` or `pdf_relpath` (olmOCR-mix), and is looked for as names of images are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wdstream.errors import PageError, RowError
from wdstream.raw.images import read_file
from wdstream.raw.row_files import find_image
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage
from wdstream.text.half_read import names_pdf
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.forms import IMAGE_FIELDS

_PDF_MAGIC = b"%PDF-"
PAGE_FIELDS = ("page", "page_number", "page_num")


def with_pages_drawn(
    fields: Mapping[str, object], settings: RawSettings, folders: Sequence[Path]
) -> Mapping[str, object]:
    """The fields of a row, with the page of a PDF as an image in its place.

    Args:
        fields: of the row.
        settings: how pages are drawn, and where files may be.
        folders: that names are relative to, in order.

    Raises:
        RowError: the PDF or its page cannot be found or drawn, or nothing says which page is meant.
        ConfigError: pypdfium2 is not installed.
    """
    if not fields.keys().isdisjoint(IMAGE_FIELDS) and any(_is_given(fields.get(name)) for name in IMAGE_FIELDS):
        return fields
    for name, value in fields.items():
        if name not in settings.metadata_fields and (_bytes_of(value) or _names_pdf(name, value, settings)):
            return _with_image(fields, name, settings, folders)
    return fields


def _is_given(value: object) -> bool:
    """Whether a value is there and not empty; an array of a plugin's row is."""
    return value is not None and not (isinstance(value, str | bytes | Sequence | Mapping) and not value)


def _names_pdf(name: str, value: object, settings: RawSettings) -> bool:
    """Whether a field names a PDF: by what it is called, or because the map says that it is the image."""
    if not isinstance(value, str) or not value.lower().endswith(".pdf"):
        return False
    return names_pdf(name, value) or _is_mapped(name, settings)


def _is_mapped(name: str, settings: RawSettings) -> bool:
    field_map = FieldMap.chosen(settings.map, settings.preset)
    wanted = field_map.roles.get("image", ()) if field_map is not None else ()
    return any(path.steps[0] == name for one in wanted for path in one.paths)


def _bytes_of(value: object) -> bytes | None:
    """The bytes of a PDF that a value is or holds."""
    if isinstance(value, str):
        return None
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value.startswith(_PDF_MAGIC) else None


def _with_image(
    fields: Mapping[str, object], name: str, settings: RawSettings, folders: Sequence[Path]
) -> Mapping[str, object]:
    value = fields[name]
    try:
        data = _named(folders, value, settings) if isinstance(value, str) else _bytes_of(value) or b""
        image = _drawn(data, _page_number(fields), settings)
    except PageError as error:
        more = f", or say that it is metadata with --metadata-field {name}" if isinstance(value, str) else ""
        raise RowError(f"PDF in {name!r}: {error}", option=more) from error
    rest = {field: value for field, value in fields.items() if field != name or isinstance(value, str)}
    return {**rest, (name if _is_mapped(name, settings) else "image"): image.data}


def _named(folders: Sequence[Path], name: str, settings: RawSettings) -> bytes:
    return read_file(find_image(folders, name, allow_outside=settings.allow_outside_images))


def _page_number(fields: Mapping[str, object]) -> int | None:
    """The number that a row gives: a CSV has it as text, a table with nulls as a float."""
    for value in map(fields.get, PAGE_FIELDS):
        if isinstance(value, str) and value.strip().isdecimal():
            return int(value)
        if isinstance(value, int | float) and value % 1 == 0:
            return int(value)
    return None


def _drawn(data: bytes, number: int | None, settings: RawSettings) -> StoredImage:
    from wdstream.raw.pdf.document import open_pdf, stored_jpeg

    with open_pdf(data) as pdf:
        if number is None and pdf.num_pages > 1:
            raise RowError(
                f"it has {pdf.num_pages} pages, and nothing says which is meant: add its number, from 1, in 'page', or "
                "write the PDFs to files, which are read with their text layers"
            )
        if number is not None and not 1 <= number <= pdf.num_pages:
            raise RowError(f"it has {pdf.num_pages} pages, and the row says page {number}")
        with pdf.page(number or 1) as page:
            scale = page.scale(settings.dpi, settings.max_pixels, fit=settings.fit)
            with page.drawn(scale) as pixels:
                return stored_jpeg(pixels, settings.jpeg_quality)
