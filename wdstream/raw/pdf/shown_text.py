"""The label of a PDF page: the text of its layer that the picture shows, and what is known of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.document import PdfPage
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.logical import page_text
from wdstream.raw.pdf.visible import find_visible
from wdstream.text.script import right_to_left_letters


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
    """The text of a page, not normalised, and what its metadata say of it."""

    text: str
    meta: dict[str, object]

    def replace_text(self, text: str) -> "ShownText":
        """The same with another text."""
        return ShownText(text=text, meta=self.meta)

    @property
    def dropped(self) -> str:
        """What does not count, in words: "3 covered, 12 outside the page"."""
        reasons = self.meta.get("text_dropped")
        return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) if isinstance(reasons, dict) else ""


def whole_layer(layer: TextLayer) -> ShownText:
    """All of a text layer, seen or not."""
    return ShownText(text=layer.text, meta={"text_from": "text layer"})


def read_shown_text(page: PdfPage, layer: TextLayer, picture: NDArray[np.uint8], scale: float) -> ShownText:
    """The text of an open page that its picture, (height, width, 4), drawn at `scale`, shows.

    Raises:
        SourceError: the text cannot be read, or it cannot be decided what is shown.
    """
    found = find_visible(
        layer,
        page.objects(page.pixel_size(scale)),
        picture,
        lambda handles: page.drawn_without(handles, scale),
        has_layers=page.has_layers,
    )
    num_kept = found.num_characters - found.reasons.total()
    meta: dict[str, object] = {
        "text_from": "ocr layer" if 2 * found.num_from_scan > num_kept else "text layer",
        "text_visible": round(found.share, 4),
        "text_doubled": round(found.doubled_share, 4),
    }
    if found.reasons:
        meta["text_dropped"] = dict(sorted(found.reasons.items()))
    return ShownText(text=_text_of(layer, found.keep), meta=meta)


def _text_of(layer: TextLayer, keep: NDArray[np.bool_]) -> str:
    """The text of the characters that count; PDFium's own where all do and none is written from right to left."""
    if keep.all() and not right_to_left_letters(layer.codes).any():
        return layer.text
    return page_text(layer.characters, keep)
