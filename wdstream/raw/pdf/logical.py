"""The text of a page from the characters that count: in PDFium's order, right-to-left lines in logical order."""

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
from wdstream.text.script import combining_marks, is_east_asian, right_to_left_letters

_SPACE, _SOFT_HYPHEN = 0x20, 0xAD
_FIRST_PLACED = 0x591  # no letter before it is of a right-to-left script or East Asian


def needs_places(codes: NDArray[np.uint32]) -> bool:
    """Whether the text of these characters, (n,) in PDFium's order, depends on where they are on the page."""
    if (codes == _SOFT_HYPHEN).any():
        return True
    others = codes[codes >= _FIRST_PLACED]  # mostly few: bullets, quotes
    if not (right_to_left_letters(others) | is_east_asian(others)).any():
        return False
    is_space = codes[1:-1] == _SPACE
    parted = is_space & is_east_asian(codes[:-2]) & is_east_asian(codes[2:])
    return bool(parted.any() or right_to_left_letters(codes).any())


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
