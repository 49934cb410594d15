"""Pages of a PDF as samples: drawn to JPEG, with the text of their text layer or of a file."""

import re
import unicodedata
from contextlib import ExitStack

from wdstream.errors import SourceError
from wdstream.raw.images import read_picture
from wdstream.raw.pdf.document import PdfFile, PdfPage, stored_jpeg
from wdstream.raw.pdf.ink import Picture
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.shown_text import ShownText, read_shown_text, whole_layer
from wdstream.raw.pdf.stamps import is_placeholder, is_stamp, says_more
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import RawFile, StoredImage, StoredPage, page_of_image, require_text
from wdstream.raw.texts.file_texts import text_elsewhere
from wdstream.raw.texts.page_text import PageTexts
from wdstream.text.characters import kinds_of, normalise_text, replace_surrogates, unreadable_share

_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn what follows: nothing is drawn for them, and the letters of a picture are where they are drawn."""

_OTHER_RADICALS = str.maketrans(
    "⺠⻁⻄⻅⻆⻋⻑⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲",
    "民虎西见角车長长门青韦页风飞食马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀",
)
_RADICALS = re.compile("[\u2e80-\u2fd5]")
"""Of Han letters. Many fonts have one glyph for such a radical and the letter that is printed alike, and programs name
the radical. Whoever writes a text means what he writes, so those of texts stay."""


class PdfReader:
    """Pages of a PDF as samples."""

    def __init__(self, pdf: PdfFile, file: RawFile, texts: PageTexts, settings: RawSettings) -> None:
        """Store what is read.

        Args:
            pdf: open.
            file: where it is from, and what its pages are called.
            texts: those that take the place of its text layer.
            settings: how pages are read.
        """
        self._pdf = pdf
        self._file = file
        self._texts = texts
        self._settings = settings

    def read(self, number: int) -> StoredPage:
        """Page `number`, from 1.

        Raises:
            SourceError: it cannot be drawn, or has no text that can be trained on.
        """
        settings = self._settings
        with self._pdf.page(number) as page:
            if self._pdf.has_xfa:
                self._refuse_placeholder(page)
            scale = page.scale(settings.dpi, settings.max_pixels, fit=settings.fit)
            given = self._texts.text(number)
            if given is None or (settings.ocr != "none" and not given.text):
                image, found = self._drawn_with_text(page, scale)
            else:
                meta = given.on_image(page.pixel_size(scale), check_size=settings.check_text_size)
                found = ShownText(text=given.text, meta=meta)
                with page.drawn(scale) as pixels:
                    image = stored_jpeg(pixels, settings.jpeg_quality)
        known = {**dict(self._file.meta), "source": replace_surrogates(self._file.path), "page": number}
        meta = {**known, **found.meta}
        return page_of_image(self._file.page_key(number), image, found.text, meta)

    def _refuse_placeholder(self, page: PdfPage) -> None:
        """Check that a page of a document with an XFA form is not only a placeholder of that form.

        Raises:
            SourceError: it is.
        """
        is_alone = self._pdf.needs_xfa and self._pdf.num_pages == 1
        if is_placeholder(page.text(), is_alone=is_alone):
            raise SourceError(
                "page is the placeholder of an XFA form, which only some viewers draw; print the form to a plain PDF"
            )

    def _drawn_with_text(self, page: PdfPage, scale: float) -> tuple[StoredImage, ShownText]:
        settings = self._settings
        size, seen_only = page.pixel_size(scale), settings.text_layer == "visible"
        with ExitStack() as stack:
            layer = None
            if not (seen_only and page.has_annotations()):
                layer = stack.enter_context(page.text_layer(size))
                if settings.ocr == "none":
                    near = text_elsewhere(self._file)
                    require_text(layer.text, f"neither a text layer nor a text file beside it{near}", settings)
            if layer is None and page.has_layers:
                page.flatten()  # PDFium draws appearances of hidden layers, but not as a part of the page
            pixels = stack.enter_context(page.drawn(scale))
            if layer is None:
                if not page.has_layers:
                    page.flatten()
                layer = stack.enter_context(page.text_layer(size))
            image = stored_jpeg(pixels, settings.jpeg_quality)
            if settings.ocr != "none":
                return image, self._layer_or_reading(page, layer, pixels, scale, image)
            found = self._layer_text(page, layer, pixels, scale)
            reason = f"the picture shows none of the text layer: {found.dropped}" if found.dropped else "no text layer"
            require_text(found.text, reason, settings)
            return image, found

    def _layer_or_reading(
        self, page: PdfPage, layer: TextLayer, pixels: Picture, scale: float, image: StoredImage
    ) -> ShownText:
        """The text of the layer; where it is refused, empty or a stamp on a scan, what the engine reads."""
        try:
            found = self._layer_text(page, layer, pixels, scale)
        except SourceError:
            return _read(image, self._settings)
        if found.text and not is_stamp(layer, page.objects(page.pixel_size(scale)).images, pixels):
            return found
        read = _read(image, self._settings)
        return read if says_more(read.text, found.text) else found

    def _layer_text(self, page: PdfPage, layer: TextLayer, pixels: Picture, scale: float) -> ShownText:
        """The text of the layer, normalised.

        Raises:
            SourceError: it is not text, or it cannot be decided what is shown.
        """
        settings = self._settings
        if settings.text_layer == "visible":
            found = read_shown_text(page, layer, pixels, scale, settings.reading_order)
        else:
            found = whole_layer(layer)
        if found.mapped < settings.min_mapped:
            raise SourceError(
                f"text layer is not text: its fonts map only {found.mapped:.1%} of it to Unicode (at least "
                f"{settings.min_mapped:.1%} expected, --min-mapped); put a text file next to the PDF"
            )
        return found.replace_text(self._clean(found.text))

    def _clean(self, text: str) -> str:
        share = unreadable_share(text)
        if share > self._settings.max_unreadable:
            raise SourceError(
                f"text layer is not text: {share:.1%} of its characters mean nothing in Unicode (limit "
                f"{self._settings.max_unreadable:.1%}); put a text file next to the PDF"
            )
        if _DIRECTIONS.search(kinds_of(text)):
            text = _DIRECTIONS.sub("", text)
        if _RADICALS.search(kinds_of(text)):
            text = _RADICALS.sub(lambda sign: unicodedata.normalize("NFKC", sign[0]), text.translate(_OTHER_RADICALS))
        return normalise_text(text.replace("\t", " "))  # a glyph has no width of its own for each place


def _read(image: StoredImage, settings: RawSettings) -> ShownText:
    """The text of a picture."""
    found = read_picture(image, settings)
    return ShownText(text=found.text, meta=found.on_image(image.size))
