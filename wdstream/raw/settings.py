"""How raw pages are read: every setting here decides the bytes of shards."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from wdstream.raw.texts.names import FORMS
from wdstream.settings import Settings
from wdstream.shards.layout import KeyRule
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.messages import ChatLoss
from wdstream.text.row_forms import AnswerChoice

TextLayerChoice = Literal["visible", "all"]
OcrChoice = Literal["none", "rapidocr", "tesseract"]
LineOrder = Literal["file", "layout"]
DocumentText = Literal["sample", "layer"]


class RawSettings(Settings):
    """How a page of a raw file becomes a sample. The string under a field is the help of its option."""

    headings: ClassVar[Mapping[str, str]] = {
        "dpi": "PDF pages",
        "ocr": "OCR and language",
        "text_from": "Texts next to pages",
        "placeholder": "Rows, tables and samples of tars",
        "allow_outside_links": "Limits and checks",
    }

    dpi: int = Field(default=150, ge=1, le=2400)
    """Resolution at which PDF pages are drawn."""
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    """JPEG quality of drawn pages, and of images whose format shards do not hold."""
    fit: bool = False
    """Draw a PDF page that is larger than --max-pixels, or than a JPEG can be, at the largest size that is not."""
    text_layer: TextLayerChoice = "visible"
    """Text of a PDF page that becomes its label: what the picture shows, or `all` of the layer, seen or not."""
    reading_order: LineOrder = "file"
    """Order of a PDF page's lines: the file's, or by their `layout`, columns one after the other from the top."""
    max_unreadable: float = Field(default=0.01, ge=0, le=1)
    """Share of a PDF page's text that may have no meaning in Unicode; a page with more is quarantined."""
    min_mapped: float = Field(default=0.98, ge=0, le=1)
    """Share of a PDF page's text whose fonts must map it to Unicode, by their own word or by what it says; a page with
    less is quarantined."""
    document_text: DocumentText = "sample"
    """Text of a PDF: what a text file next to it, or its sample in a tar, gives for its pages, or its own `layer`."""
    ocr: OcrChoice = "none"
    """Program that reads the picture of a page, of an image or PDF, that has no text in a file or layer: rapidocr
    (extra rapidocr) or tesseract (the program of that name). Without network, one thread for each process."""
    ocr_language: str | None = Field(default=None, min_length=1)
    """Languages that tesseract reads, such as eng+deu; English when left out."""
    min_ocr_confidence: float | None = Field(default=None, ge=0, le=1)
    """Confidence of --ocr in what it read of a page, on average; a page with less is quarantined. When left out, 0.9 of
    rapidocr, which misreads letters that it does not know without much doubt, and 0.7 of tesseract."""
    language: str = "none"
    """Language of pages whose metadata name none, as a column: a code such as de, or auto, which finds it in the text
    (extra language) where that is long and sure enough."""
    text_from: tuple[str, ...] = ()
    """Where the text of pages is, best first; may be repeated. A folder, with a slash at its end (`alto/`): next to or
    in the folder of images, or in RAW, with the same folders below. Or a format, where a page has several texts:
    gt.txt, txt, page, alto, hocr, md, html, in this order if nothing is said."""
    mets_images: tuple[str, ...] = ()
    """A group of images (USE) in METS files that is read before all others, such as OCR-D-IMG or MAX; may be repeated.
    When left out, names of groups say which has whole pages in full size."""
    mets_texts: tuple[str, ...] = ()
    """A group of texts (USE) in METS files that comes before all others, such as OCR-D-GT-PAGE; may be repeated. When
    left out: ground truth (GT), then FULLTEXT, ALTO, PAGE, OCR."""
    join_hyphens: bool = False
    """Write a word that is divided at a line's end whole, where ALTO says what it is; the picture shows two parts."""
    check_text_size: bool = True
    """Quarantine a page whose text file says that its picture has other proportions: it is the text of another one."""
    keep_empty: bool = False
    """Keep pages without text, which are quarantined otherwise."""
    placeholder: str | None = Field(default=None, min_length=1)
    """The only text that stands for an image in rows; `<image>` and models' own forms when left out."""
    image_folders: tuple[str, ...] = ()
    """A folder in RAW in which images that rows name are looked for when they are not next to the file of rows, such as
    the image folder of LLaVA. May be repeated."""
    metadata_fields: tuple[str, ...] = ()
    """A field of rows that is metadata, whatever it looks like; other fields that could be an image are refused. May be
    repeated."""
    map: tuple[str, ...] = ()
    """Which field of rows, or part of samples, is what: text=json:caption,image=jp2. May be repeated; docs/sources.md
    has what may be in it."""
    preset: str | None = None
    """The layout of rows or samples by name, such as llava, alpaca, obelics or img2dataset; what --map says counts in
    place of it. Rows are read by their own fields when both are left out."""
    answers: AnswerChoice = "first"
    """Of several answers to the question of a row, the `first` is trained on; or the row is quarantined."""
    chat_loss: ChatLoss = "all"
    """Which turns of the assistant are supervised in chat rows that do not say so: all, or the last one."""
    sources: tuple[str, ...] = ()
    """A source of your own: module:name, a function from a path to rows or a subclass of Source; .suffix=module:name
    for files of a suffix; or the name of an entry point of the group wdstream.sources. May be repeated."""
    key_rule: KeyRule = "webdataset"
    """Where the key of a sample in a tar ends: at the first dot of a name, or at the last (`dotted`: report.v2.jpg)."""
    allow_outside_links: bool = False
    """Follow links that lead out of RAW; every folder and file is still read once. They are quarantined otherwise."""
    max_pixels: int = Field(default=200_000_000, ge=1, le=1 << 40)
    """Pixels of a page or image; larger ones are quarantined before they are drawn or decoded. A lower --dpi makes PDF
    pages smaller, --fit those that are too large."""
    allow_outside_images: bool = False
    """Let rows name images outside the folder of their JSONL file, or reach them by links that lead there."""
    max_file_bytes: int = Field(default=2 << 30, ge=1)
    """Bytes of an image file, and of a compressed PDF once it is unpacked; larger ones are quarantined."""
    max_line_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes of a line of a JSONL file; longer ones are quarantined."""
    max_text_bytes: int = Field(default=64 << 20, ge=1)
    """Bytes of the text file next to a PDF or an image; with a larger one, the page is quarantined."""
    max_text_chars: int = Field(default=2_000_000, ge=1)
    """Characters of the text layer of a PDF page; a page with more is quarantined."""
    max_frames: int = Field(default=100_000, ge=1)
    """Pages of a TIFF; a file with more is quarantined."""
    check_images: bool = True
    """Decode every image once, so that a page that is accepted can be trained on."""

    @model_validator(mode="after")
    def _has_a_map(self) -> Self:
        FieldMap.chosen(self.map, self.preset)
        return self

    @model_validator(mode="after")
    def _has_an_engine(self) -> Self:
        given = {"ocr_language": self.ocr_language, "min_ocr_confidence": self.min_ocr_confidence}
        named = [name for name, value in given.items() if value is not None]
        if named and self.ocr == "none":
            raise ValueError(f"{named[0]}: no picture is read without --ocr rapidocr or --ocr tesseract")
        return self

    @field_validator("text_from")
    @classmethod
    def _folders_or_formats(cls, items: tuple[str, ...]) -> tuple[str, ...]:
        for item in items:
            if item not in FORMS and (not item.endswith("/") or item.startswith("/")):
                raise ValueError(
                    f"text_from: expected a folder in RAW with a slash at its end, such as {item.strip('/')}/, or one "
                    f"of {', '.join(FORMS)}; found {item!r}"
                )
        return items

    @field_validator("language")
    @classmethod
    def _is_a_language(cls, value: str) -> str:
        if value in ("none", "auto"):
            return value
        from wdstream.raw.texts.language import language_tag  # few name one

        tag = language_tag(value)
        if tag is None:
            raise ValueError(f"language: {value!r} is not a language; expected auto, none or a code such as de")
        return tag
