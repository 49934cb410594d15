"""Boxes of characters as if their text ran to the right, for text that is turned by right angles."""

import numpy as np

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes

_TURNED = ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))  # which side is left, top, right, bottom
_SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (-1, -1, -1, -1), (-1, 1, -1, 1))


def upright_boxes(characters: PageCharacters) -> Boxes:
    """(n, 4) boxes with left as where the text begins and top as where its letters end, in pixels of the page."""
    boxes = characters.boxes
    has_object = characters.object_number >= 0
    quarters = np.zeros(len(boxes), np.int8)
    angles = np.round(characters.objects.angles / 90).astype(np.int8) % 4
    quarters[has_object] = angles[characters.object_number[has_object]]
    if not quarters.any():
        return boxes
    turned = boxes.copy()
    for quarter in (1, 2, 3):
        of_quarter = quarters == quarter
        turned[of_quarter] = boxes[of_quarter][:, _TURNED[quarter]] * np.array(_SIGNS[quarter], np.float32)
    return turned
