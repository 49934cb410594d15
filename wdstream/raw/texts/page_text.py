"""The text of a page that its file does not hold itself: a text file says it, or a program reads the picture.

Such a text has metadata: where it comes from, and as far as its source says, how sure it is, its language, and where
its lines are. All sources give one `FoundText`, so that the metadata have the same names and units everywhere:

    text_from         "text file", "alto", "hocr", ..., or the program that read the picture
    text_confidence   mean over the words (or lines), 0 to 1
    language          a BCP 47 tag: "de", not "deu" or "German"
    line_boxes        [left, top, right, bottom] in pixels of the stored image for each line of the text that is not
                      blank, in their order; null for a line whose place is not known
    text_tags         names that the source has for what is on the page, such as "heading"
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wdstream.errors import SourceError
from wdstream.raw.texts.language import language_tag
from wdstream.records import Size
from wdstream.text.characters import normalise_text, short_name

LineBox = tuple[float, float, float, float]
TEXT_FILE = "text file"
"""Where a text is from whose file holds nothing but text."""
_MAX_STRETCH = 1.04
"""By how much the proportions of a page may differ from the image's: scans are cut and straightened."""
_MAX_TAGS = 64
_SLACK = 3.0
"""Units by which a side may be off besides, which counts where pages are tiny."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """A line as a source has it, and (left, top, right, bottom) in the source's units where that is known."""

    text: str
    box: LineBox | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundText:
    """The text of one page, normalised, with what is known of it.

    Attributes:
        text: lines, and a blank line between blocks.
        meta: text_from and whatever else its source says.
        boxes: of each line that is not blank, in the source's units; empty where none is known.
        extent: (width, height) of the page in those units; None where these are pixels of the image.
    """

    text: str
    meta: Mapping[str, object] = field(default_factory=dict)
    boxes: tuple[LineBox | None, ...] = ()
    extent: tuple[float, float] | None = None

    @classmethod
    def of_blocks(
        cls,
        blocks: Sequence[Sequence[TextLine]],
        *,
        text_from: str,
        extent: tuple[float, float] | None = None,
        confidences: Sequence[float] = (),
        language: str | None = None,
        tags: Iterable[str] = (),
    ) -> "FoundText":
        """The text of blocks of lines: a line each, and a blank line between blocks. Empty lines and blocks go.

        Args:
            blocks: in reading order.
            text_from: the source.
            extent: (width, height) of the page in the units of the boxes; None where these are pixels of the image.
            confidences: of the words, or of the lines, each 0 to 1.
            language: as the source writes it.
            tags: names for what is on the page, such as "heading".
        """
        kept = [shown for block in blocks if (shown := _shown_lines(block))]
        lines = [line for block in kept for line in block]
        known: dict[str, object] = {"text_from": text_from}
        if confidences:
            known["text_confidence"] = round(math.fsum(confidences) / len(confidences), 4)
        if language and (tag := language_tag(language)):
            known["language"] = tag
        if kinds := sorted({*map(short_name, tags)})[:_MAX_TAGS]:
            known["text_tags"] = kinds
        return cls(
            text="\n\n".join("\n".join(line.text for line in block) for block in kept),
            meta=known,
            boxes=tuple(line.box for line in lines) if any(line.box for line in lines) else (),
            extent=extent,
        )

    def on_image(self, size: Size, *, check_size: bool = True) -> dict[str, object]:
        """The metadata for a stored image of this (width, height), the places of the lines in its pixels.

        Raises:
            SourceError: the page has other proportions, so the text is that of another picture, or of a turned one.
        """
        extent = self.extent or size
        if check_size and not _fits(extent, size):
            raise SourceError(_misfit(extent, size))
        if not self.boxes or not _fits(extent, size):
            return dict(self.meta)
        scale = size[0] / extent[0], size[1] / extent[1]
        return {**self.meta, "line_boxes": [box and _in_pixels(box, scale, size) for box in self.boxes]}


class PageTexts(Protocol):
    """The texts of the pages of one file or document."""

    def text(self, page: int) -> FoundText | None:
        """The text of page `page`, from 1; None where nothing gives one.

        Raises:
            PageError: what gives it cannot be read, or does not fit.
        """


def _shown_lines(block: Sequence[TextLine]) -> list[TextLine]:
    """The lines of a block that have text, each normalised to one line."""
    texts = (" ".join(normalise_text(line.text).split("\n")).strip() for line in block)
    return [TextLine(text=text, box=line.box) for line, text in zip(block, texts, strict=True) if text]


def _fits(extent: tuple[float, float], size: Size) -> bool:
    """Whether a page and an image have the same proportions."""
    (width, height), (columns, rows) = extent, size
    stretch = (width * rows) / (height * columns)
    if 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH:
        return True
    return abs(width - columns) <= _SLACK and abs(height - rows) <= _SLACK


def _misfit(extent: tuple[float, float], size: Size) -> str:
    turned = _fits((extent[1], extent[0]), size)
    what = "a picture that is turned by a quarter" if turned else "another picture"
    return (
        f"its text is that of {what}: of {extent[0]:g} x {extent[1]:g}, the image has {size[0]} x {size[1]} pixels; "
        "put the right file there, or use --no-check-text-size"
    )


def _in_pixels(box: LineBox, scale: tuple[float, float], size: Size) -> list[int] | None:
    """A box in whole pixels of the image, rounded outwards and cut at its edges; None where nothing is left."""
    left, right = (min(max(side * scale[0], 0), size[0]) for side in (box[0], box[2]))
    top, bottom = (min(max(side * scale[1], 0), size[1]) for side in (box[1], box[3]))
    if not (left < right and top < bottom):
        return None
    return [_down(left), _down(top), -_down(-right), -_down(-bottom)]


def _down(value: float) -> int:
    """Rounded down, but not by less than a thousandth, which the units of sources cannot tell."""
    return math.floor(round(value, 3))
