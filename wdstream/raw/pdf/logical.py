"""The text of a page from the characters that count: in PDFium's order, right-to-left lines in logical order."""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.reading.lines import characters_text, joined_lines, kept_numbers, split_lines
from wdstream.raw.pdf.reading.right_to_left import logical_texts
from wdstream.text.script import combining_marks, right_to_left_letters


def page_text(characters: PageCharacters, keep: NDArray[np.bool_]) -> str:
    """The text of a page, not normalised; lines end with CR LF.

    A page without right-to-left letters has exactly PDFium's text, less what is not kept.

    Args:
        characters: of the page, n of them.
        keep: (n,) which characters count.
    """
    numbers = kept_numbers(characters, keep)
    is_right = right_to_left_letters(characters.codes)
    if not is_right[numbers].any():
        return characters_text(characters, numbers)
    lines = joined_lines(characters, split_lines(characters, numbers))
    letters = is_right & ~combining_marks(characters.codes)
    turned = [at for at, line in enumerate(lines) if letters[line].any()]
    texts = [characters_text(characters, line) for line in lines]
    for at, text in zip(turned, logical_texts(characters, [lines[at] for at in turned]), strict=True):
        texts[at] = text
    return "\r\n".join(texts)
