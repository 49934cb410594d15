"""The text of a page from the characters that count: in PDFium's order, right-to-left lines in logical order."""

import re

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes
from wdstream.raw.pdf.reading.layout import layout_lines
from wdstream.raw.pdf.reading.lines import (
    characters_text,
    joined_lines,
    kept_numbers,
    split_lines,
    without_spaces_inside,
)
from wdstream.raw.pdf.reading.right_to_left import logical_texts
from wdstream.raw.settings import LineOrder
from wdstream.text.characters import beyond_ascii
from wdstream.text.script import EAST_ASIAN, RIGHT_TO_LEFT, combining_marks, right_to_left_letters

_SOFT_HYPHEN = "\u00ad"
_PARTED = re.compile(f"{EAST_ASIAN.pattern} {EAST_ASIAN.pattern}")


def needs_places(text: str) -> bool:
    """Whether the text of a page, in PDFium's order, depends on where its characters are on the page."""
    others = beyond_ascii(text)
    if _SOFT_HYPHEN in others or RIGHT_TO_LEFT.search(others):
        return True
    return bool(EAST_ASIAN.search(others) and _PARTED.search(text))


def page_text(
    characters: PageCharacters,
    keep: NDArray[np.bool_],
    *,
    order: LineOrder = "file",
    is_down: NDArray[np.bool_] | None = None,
    spaces: Boxes | None = None,
) -> str:
    """The text of a page, not normalised; lines end with CR LF.

    A page without right-to-left letters has in the file's order exactly PDFium's text, less what is not kept and
    spaces that PDFium saw between Han letters or kana.

    Args:
        characters: of the page, n of them.
        keep: (n,) which characters count.
        order: of its lines.
        is_down: (n,) which are written downwards; none where it is None.
        spaces: (k, 2) middles of spaces of the file that are none of the characters, where these are known.

    Raises:
        ConfigError: the order is by layout, and pdfminer.six is not installed.
    """
    numbers = without_spaces_inside(characters, kept_numbers(characters.codes, characters.is_generated, keep))
    is_right = right_to_left_letters(characters.codes)
    if order == "file" and not is_right[numbers].any():
        return characters_text(characters, numbers)
    if order == "layout":
        split = layout_lines(characters, numbers, np.zeros(len(keep), np.bool_) if is_down is None else is_down)
    else:
        split = split_lines(characters, numbers)
    lines = joined_lines(characters, split)
    letters = is_right & ~combining_marks(characters.codes)
    turned = [at for at, line in enumerate(lines) if letters[line].any()]
    texts = [characters_text(characters, line) for line in lines]
    for at, text in zip(turned, logical_texts(characters, [lines[at] for at in turned], spaces), strict=True):
        texts[at] = text
    return "\r\n".join(texts)
