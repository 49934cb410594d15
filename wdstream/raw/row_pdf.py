"""Rows that hold a PDF in place of an image: `{"pdf": b"%PDF-...", "page": 3, "text": "..."}`.

The page is drawn as a page of a PDF file is, and becomes the image of the row. Its text is the row's, not the text
layer's. A PDF of several pages needs a number, from 1, in `page`, `page_number` or `page_num`. A row that only names a
PDF is refused: it would be text alone.
"""

from collections.abc import Mapping

from wdstream.errors import PageError, RowError
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage
from wdstream.text.maps.forms import IMAGE_FIELDS

_PDF_MAGIC = b"%PDF-"
PAGE_FIELDS = ("page", "page_number", "page_num")


def with_pages_drawn(fields: Mapping[str, object], settings: RawSettings) -> Mapping[str, object]:
    """The fields of a row, with the page of a PDF as an image in its place.

    Raises:
        RowError: the PDF or its page cannot be drawn, nothing says which page is meant, or the PDF is only named.
        ConfigError: pypdfium2 is not installed.
    """
    if any(fields.get(name) for name in IMAGE_FIELDS):
        return fields
    for name, value in fields.items():
        if name in settings.metadata_fields:
            continue
        data = _bytes_of(value)
        if data is not None and data.startswith(_PDF_MAGIC):
            return _with_image(fields, name, data, settings)
        if isinstance(value, str) and name.lower().startswith("pdf") and value.lower().endswith(".pdf"):
            raise RowError(
                f"{name} names a PDF, {value!r:.80}, and the row has no image: give the PDF's bytes in 'pdf' and the "
                "number of the page in 'page', or put the text next to the PDF, as its name with .md or .txt",
                option=f", or say that it is metadata with --metadata-field {name}",
            )
    return fields


def _bytes_of(value: object) -> bytes | None:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def _with_image(fields: Mapping[str, object], name: str, data: bytes, settings: RawSettings) -> Mapping[str, object]:
    given = {field: value for field in PAGE_FIELDS if isinstance(value := fields.get(field), int)}
    try:
        image = _drawn(data, next(iter(given.values()), None), settings)
    except PageError as error:
        raise RowError(f"PDF in {name!r}: {error}") from error
    rest = {field: value for field, value in fields.items() if field != name}
    return {**rest, (name if any(name in part for part in settings.map) else "image"): image.data}


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
