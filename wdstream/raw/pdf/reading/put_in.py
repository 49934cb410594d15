"""Characters of a page in a new order, with blanks and signs put in."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import CharacterMask

PUT_IN_SPACE = -0x20
PUT_IN_LINE = (-0x0D, -0x0A)
"""What an order has for a space and a line end: code points of what is put in, negative."""


def reordered(
    characters: PageCharacters, keep: CharacterMask, order: Sequence[int]
) -> tuple[PageCharacters, CharacterMask]:
    """The characters in a new order, and which count.

    Args:
        characters: of the page, n of them.
        keep: (n,) which count.
        order: their numbers; negative ones are code points that are put in. What it does not name is gone.
    """
    numbers = np.array(order, np.intp)
    put_in = numbers < 0
    signs, numbers = -numbers, np.maximum(numbers, 0)
    codes = np.where(put_in, signs, characters.codes[numbers]).astype(np.uint32)
    boxes, owners = characters.boxes[numbers], characters.object_number[numbers]
    boxes[put_in], owners[put_in] = 0, -1
    placed = replace(
        characters,
        codes=codes,
        boxes=boxes,
        is_generated=characters.is_generated[numbers] | put_in,
        is_mapped=characters.is_mapped[numbers] | put_in,
        object_number=owners,
    )
    return placed, keep[numbers] | put_in


def placed_at(characters: PageCharacters, at: NDArray[np.intp], hosts: NDArray[np.intp]) -> PageCharacters:
    """The characters with those `at` (k,) where their `hosts` (k,) are: printed signs of the same text object."""
    boxes, owners = characters.boxes.copy(), characters.object_number.copy()
    is_generated = characters.is_generated.copy()
    boxes[at], owners[at], is_generated[at] = boxes[hosts], owners[hosts], False
    return replace(characters, boxes=boxes, object_number=owners, is_generated=is_generated)
