"""Fields and annotations of a PDF page: which are drawn, and where their text belongs among the page's own.

PDFium reads no text of annotations. So their appearances are made part of the page's content once it has been drawn
("flattened"); their text then comes last, and is moved here to where a reader finds it.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import is_blank_code, words_of
from wdstream.raw.pdf.characters import PUT_IN_LINE, PUT_IN_SPACE, PageCharacters, reordered
from wdstream.raw.pdf.places import Boxes, CharacterMask, distinct, extent_of

_LINK, _POPUP = 2, 16
_HIDDEN, _NO_VIEW = 2, 32
_SPACE, _LINE_FEED, _RETURN = 0x20, 0x0A, 0x0D
_SAME_LINE = 0.5
"""Of the lower of two heights that they share where they are on one line."""


def has_drawn_annotations(page: Any) -> bool:
    """Whether an open page of pypdfium2 has fields or annotations that a viewer draws; links seldom have a picture."""
    import pypdfium2.raw as pdfium

    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        kind, flags = pdfium.FPDFAnnot_GetSubtype(annotation), pdfium.FPDFAnnot_GetFlags(annotation)
        is_drawn = kind != _POPUP and (kind != _LINK or pdfium.FPDFAnnot_HasKey(annotation, b"AP"))
        pdfium.FPDFPage_CloseAnnot(annotation)
        if is_drawn and not flags & (_HIDDEN | _NO_VIEW):
            return True
    return False


def place_annotations(
    characters: PageCharacters, keep: CharacterMask, annotations: Mapping[int, int]
) -> tuple[PageCharacters, CharacterMask]:
    """Move the text of annotations to its place among the page's own.

    On a line of the page it comes after what is left of it, else before what is right of it; below, after the line
    above it. Text without a line near it, or turned, stays at the end.

    Args:
        characters: of the page, n of them.
        keep: (n,) which count.
        annotations: of text objects in annotations, by address, the number of the annotation.

    Returns:
        The characters in their new order, with spaces and line ends put in, and which count.
    """
    of_objects = np.array([*(annotations.get(handle, -1) for handle in characters.objects.handles), -1], np.intp)
    blocks = of_objects[characters.object_number]
    is_own = (blocks < 0) & keep & (characters.object_number >= 0)
    own = np.flatnonzero(is_own)
    words = words_of(characters.codes, is_own & ~is_blank_code(characters.codes))
    before: dict[int, list[list[int]]] = {}
    after: dict[int, list[list[int]]] = {}
    last: list[list[int]] = []
    moved = np.zeros(len(characters), np.bool_)
    for members in _blocks_in_order(characters, keep, blocks):
        span = np.arange(members[0], members[-1] + 1)
        moved[span] = True
        place = None if _is_turned(characters, members) else _place(characters.boxes, own, characters.boxes[members])
        if place is None:
            last.append([*PUT_IN_LINE, *span.tolist()])
        elif place[1] == "right":
            before.setdefault(_ends_of_word(words, place[0])[0], []).append([*span.tolist(), PUT_IN_SPACE])
        elif place[1] == "left":
            after.setdefault(_ends_of_word(words, place[0])[1], []).append([PUT_IN_SPACE, *span.tolist()])
        else:
            end = _end_of_line(characters, own, place[0])
            after.setdefault(end, []).append([*PUT_IN_LINE, *span.tolist()])
    order: list[int] = []
    stays = ~moved & ~characters.is_generated
    gaps = np.cumsum(stays)
    is_holed = np.bincount(gaps[moved], minlength=len(moved) + 1) > 0  # what PDFium put around a text that is moved
    numbers = np.flatnonzero(stays | (~moved & ~is_holed[gaps])).tolist()
    for number, following in zip_longest(numbers, numbers[1:]):
        order += [at for part in before.get(number, []) for at in part]
        order.append(number)
        order += [at for part in after.get(number, []) for at in part]
        if following is not None and is_holed[gaps[number]]:
            order += _between(characters, number, following)
        elif number in after and not _is_followed_by_blank(characters, number):
            order.append(PUT_IN_SPACE)
    order += [at for part in last for at in part]
    return reordered(characters, keep, order)


def _between(characters: PageCharacters, number: int, following: int) -> tuple[int, ...]:
    """What parts two characters between which a text was moved away: a space on one line, else a line end."""
    if int(characters.codes[following]) in (_LINE_FEED, _RETURN):
        return ()
    left, top, _, bottom = characters.boxes[number].tolist()
    other_left, other_top, _, other_bottom = characters.boxes[following].tolist()
    shared = min(bottom, other_bottom) - max(top, other_top)
    is_one_line = other_left > left and shared > _SAME_LINE * min(bottom - top, other_bottom - other_top)
    return (PUT_IN_SPACE,) if is_one_line else PUT_IN_LINE


def _blocks_in_order(
    characters: PageCharacters, keep: CharacterMask, blocks: NDArray[np.intp]
) -> list[NDArray[np.intp]]:
    """The characters of each annotation that count, from top to bottom and left to right."""
    counted = keep & (blocks >= 0) & (characters.object_number >= 0)
    found = [np.flatnonzero(counted & (blocks == block)) for block in distinct(blocks[counted])]
    return sorted(found, key=lambda members: tuple(extent_of(characters.boxes[members])[[1, 0]].tolist()))


def _is_turned(characters: PageCharacters, members: NDArray[np.intp]) -> bool:
    angles = characters.objects.angles[characters.object_number[members]]
    return bool((np.abs((angles + 180) % 360 - 180) > 5).any())


def _place(boxes: Boxes, own: NDArray[np.intp], block: Boxes) -> tuple[int, str] | None:
    """The own character next to a block of (k, 4) boxes, and where it is from there: left, right or above."""
    if not len(own):
        return None
    left, top, right, _ = extent_of(block).tolist()
    first = block[block[:, 1] <= top + float(np.median(block[:, 3] - block[:, 1]))]  # the boxes of its first line
    line = extent_of(first)
    near = boxes[own]
    shared = np.minimum(near[:, 3], line[3]) - np.maximum(near[:, 1], line[1])
    on_line = shared > _SAME_LINE * np.minimum(near[:, 3] - near[:, 1], line[3] - line[1])
    middles = (near[:, 0] + near[:, 2]) / 2
    for side, mask, distance in (
        ("left", on_line & (middles < left), -near[:, 2]),
        ("right", on_line & (middles > right), near[:, 0]),
        ("above", (near[:, 3] <= line[3]) & (near[:, 0] < right) & (near[:, 2] > left), -near[:, 3]),
        ("above", near[:, 3] <= line[3], -near[:, 3]),
    ):
        if mask.any():
            return int(own[mask][np.argmin(distance[mask])]), side
    return None


def _ends_of_word(words: NDArray[np.intp], number: int) -> tuple[int, int]:
    """The first and the last character of a character's word, or itself twice: a stamp may be over half a word."""
    members = np.flatnonzero(words == words[number]) if words[number] >= 0 else np.array([number])
    return int(members[0]), int(members[-1])


def _end_of_line(characters: PageCharacters, own: NDArray[np.intp], number: int) -> int:
    """The last own character of a character's line, in PDFium's order."""
    ends = np.flatnonzero(np.isin(characters.codes[number:], (_LINE_FEED, _RETURN)))
    stop = number + int(ends[0]) if len(ends) else len(characters)
    return int(own[own < stop][-1])


def _is_followed_by_blank(characters: PageCharacters, number: int) -> bool:
    return number + 1 >= len(characters) or int(characters.codes[number + 1]) in (_SPACE, _LINE_FEED, _RETURN)
