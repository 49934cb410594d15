"""Boxes of characters as if their text ran to the right, for text that is turned by right angles."""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes

_TURNED = ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))  # which side is left, top, right, bottom
_SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (-1, -1, -1, -1), (-1, 1, -1, 1))


def quarters_of(characters: PageCharacters) -> NDArray[np.int8]:
    """(n,) how many right angles the text of each character is turned by, clockwise; 0 for what has no text object."""
    has_object = characters.object_number >= 0
    quarters = np.zeros(len(characters), np.int8)
    angles = np.round(characters.objects.angles / 90).astype(np.int8) % 4
    quarters[has_object] = angles[characters.object_number[has_object]]
    return quarters


def upright_boxes(characters: PageCharacters, quarters: NDArray[np.int8] | None = None) -> Boxes:
    """(n, 4) boxes with left as where the text begins and top as where its letters end, in pixels of the page.

    Args:
        characters: of the page.
        quarters: (n,) how many right angles each is turned by, if not as `quarters_of` says.
    """
    boxes = characters.boxes
    quarters = quarters_of(characters) if quarters is None else quarters
    if not quarters.any():
        return boxes
    turned = boxes.copy()
    for quarter in (1, 2, 3):
        of_quarter = quarters == quarter
        turned[of_quarter] = boxes[of_quarter][:, _TURNED[quarter]] * np.array(_SIGNS[quarter], np.float32)
    return turned
