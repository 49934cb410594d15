"""The characters of a PDF page as arrays, read from PDFium with as few calls per character as it allows."""

import ctypes
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import pdfium_calls, pointer_to, written_by
from wdstream.raw.pdf.places import Boxes, CharacterMask

_FLOAT = 4
_SPACE = 0x20
_FIRST_SPECIAL, _REPLACEMENT = 0xFFF0, 0xFFFD
_HIGH, _LOW = 0xD800 >> 10, 0xDC00 >> 10  # of the two halves of a code point outside the first plane
_TURNED = ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))  # which side is left, top, right, bottom
PUT_IN_SPACE = -0x20
PUT_IN_LINE = (-0x0D, -0x0A)
"""What an order has for a space and a line end: code points of what is put in, negative."""
_SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (-1, -1, -1, -1), (-1, 1, -1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextObjects:
    """The m text objects of a page that have characters, in the order in which their first characters come.

    Attributes:
        handles: their addresses in PDFium, for as long as the page is open.
        first: (m,) index of the first character of each.
        render_modes: (m,) of the PDF standard: 0 fill, 1 stroke, 2 both, 3 none, 4 to 7 the same and clip.
        font_sizes: (m,) height of the font's em in pixels of the rendered page.
        colours: (m, 4) red, green, blue and alpha, 0 to 255, of the fill, of the stroke where only that is drawn.
        angles: (m,) direction of the text on the rendered page in degrees, 0 to the right, 90 down.
    """

    handles: tuple[int, ...]
    first: NDArray[np.int32]
    render_modes: NDArray[np.int8]
    font_sizes: NDArray[np.float32]
    colours: NDArray[np.uint8]
    angles: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCharacters:
    """The n characters of a page, in PDFium's order.

    Attributes:
        codes: (n,) Unicode code points, 0 where PDFium knows none, U+0002 for a hyphen that ends a line inside a word
            (the text range has U+FFFE there).
        boxes: (n, 4) left, top, right, bottom of the glyph's ink in pixels of the rendered page; rotation, crop box
            and user unit are counted. Empty (0, 0, 0, 0) for what has no place.
        is_generated: (n,) spaces and line ends that PDFium put in.
        is_mapped: (n,) whether the font maps the character to Unicode.
        object_number: (n,) index of the text object in `objects`, -1 for none.
        objects: the text objects.
    """

    codes: NDArray[np.uint32]
    boxes: NDArray[np.float32]
    is_generated: NDArray[np.bool_]
    is_mapped: NDArray[np.bool_]
    object_number: NDArray[np.int32]
    objects: TextObjects

    def __len__(self) -> int:
        return len(self.codes)


def read_unplaced(text_page: Any, text_codes: NDArray[np.uint32], num_characters: int) -> PageCharacters:
    """Read the characters of an open text page without where they are and how they look: boxes, sizes, colours and
    angles are 0. Half of the time of all.

    Args:
        text_page: of pypdfium2.
        text_codes: code points of its text.
        num_characters: its count.
    """
    calls, handle = pdfium_calls(), pointer_to(text_page.raw)

    def column(call: Any, kind: Any, numbers: Collection[int]) -> NDArray[Any]:
        return np.fromiter(map(call, repeat(handle), numbers), kind, len(numbers))

    every = range(num_characters)
    of_character = column(calls.text_object, np.uint64, every)
    objects, first, object_number = _in_order(of_character)
    is_generated, is_mapped = np.zeros(num_characters, np.bool_), np.ones(num_characters, np.bool_)
    loose = np.flatnonzero(object_number < 0)  # only what has no object may be put in
    is_generated[loose] = column(calls.is_generated, np.int8, loose.tolist()) > 0
    printed = np.flatnonzero(~is_generated)
    is_mapped[printed] = column(calls.map_error, np.int8, printed.tolist()) <= 0
    if len(text_codes) == num_characters:  # only signs of its own that the text has for others are asked for
        codes = text_codes.copy()
        others = np.flatnonzero((codes >= _FIRST_SPECIAL) | (codes == 0))
        codes[others] = column(calls.code, np.uint32, others.tolist())
    else:
        codes = column(calls.code, np.uint32, every)
        codes[is_lone_surrogate(codes)] = _REPLACEMENT
    count = len(objects)
    return PageCharacters(
        codes=codes,
        boxes=np.zeros((num_characters, 4), np.float32),
        is_generated=is_generated,
        is_mapped=is_mapped,
        object_number=object_number,
        objects=TextObjects(
            handles=objects,
            first=np.array(first, np.int32),
            render_modes=np.zeros(count, np.int8),
            font_sizes=np.zeros(count, np.float32),
            colours=np.zeros((count, 4), np.uint8),
            angles=np.zeros(count, np.float32),
        ),
    )


def is_lone_surrogate(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which codes are half of a pair whose other half is not next to them."""
    high, low = codes >> 10 == _HIGH, codes >> 10 == _LOW
    pairs = high[:-1] & low[1:]
    lone: NDArray[np.bool_] = high | low
    lone[:-1] &= ~pairs
    lone[1:] &= ~pairs
    return lone


def read_characters(
    text_page: Any, unplaced: PageCharacters, to_pixels: NDArray[np.float64], boxes: NDArray[np.float32]
) -> PageCharacters:
    """All that is known of the characters of an open text page.

    Args:
        text_page: of pypdfium2.
        unplaced: from `read_unplaced`.
        to_pixels: (2, 3) affine transform from the page's space to pixels of the rendered page.
        boxes: (n, 4) of the characters, from `read_boxes`.
    """
    first, owners = unplaced.objects.first, np.append(unplaced.object_number, -1)
    # Of a space that only moves on, PDFium knows no font.
    is_space = unplaced.codes[first] == _SPACE
    first = first + (is_space & (owners[first + 1] == np.arange(len(first))))
    objects = _text_objects(pointer_to(text_page.raw), unplaced.objects.handles, first.tolist(), to_pixels)
    objects = replace(objects, first=unplaced.objects.first)
    return replace(unplaced, boxes=boxes, objects=objects)


def _in_order(handles: NDArray[np.uint64]) -> tuple[tuple[int, ...], list[int], NDArray[np.int32]]:
    """The different handles in the order in which they come, the first place of each, and (n,) the number of each.

    0 is none, with the number -1.
    """
    found, first, number = np.unique(handles, return_index=True, return_inverse=True)
    order = np.argsort(first)
    order = order[found[order] != 0]
    rank = np.full(len(found), -1, np.int32)
    rank[order] = np.arange(len(order))
    return tuple(found[order].tolist()), first[order].tolist(), rank[number]


def read_boxes(text_page: Any, numbers: Sequence[int], to_pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """(k, 4) boxes of the characters of these numbers, as `PageCharacters.boxes`; arguments as `read_characters`."""
    handle = pointer_to(text_page.raw)
    left, right, bottom, top = written_by(
        pdfium_calls().box, repeat(handle), numbers, kind=ctypes.c_double, num_places=4
    ).T
    return _in_pixels(left, top, right, bottom, to_pixels)


def read_spans(text_page: Any, to_pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """(k, 4) the boxes around the characters of each text object that follow each other, in pixels; what is put in
    has none. About a hundred times as fast as the boxes of all characters."""
    calls, handle = pdfium_calls(), pointer_to(text_page.raw)
    count = max(0, calls.count_rects(handle, 0, -1))
    left, top, right, bottom = written_by(
        calls.rect, repeat(handle), range(count), kind=ctypes.c_double, num_places=4
    ).T
    return _in_pixels(left, top, right, bottom, to_pixels)


def find_span(text_page: Any, number: int, num_characters: int) -> tuple[int, int]:
    """The first character of span `number` of `read_spans`, and the one after its last; blanks around may be with it.

    PDFium tells how many spans any run of characters has, which is where a span begins by halving.
    """
    count, handle = pdfium_calls().count_rects, pointer_to(text_page.raw)
    every = range(num_characters)
    first = bisect_left(every, number + 1, key=lambda last: count(handle, 0, last + 1)) if number else 0
    after = bisect_left(every, 2, first, key=lambda last: count(handle, first, last + 1 - first))
    return first, after


def _places(rows: NDArray[np.uint32]) -> Iterator[range]:
    """The addresses of each of the four columns of (n, 4) numbers."""
    start, width, each = rows.ctypes.data, 4 * rows.itemsize, rows.itemsize
    return (range(start + at, start + at + len(rows) * width, width) for at in range(0, width, each))


def _in_pixels(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    right: NDArray[np.float64],
    bottom: NDArray[np.float64],
    to_pixels: NDArray[np.float64],
) -> NDArray[np.float32]:
    """(n, 4) left, top, right, bottom in pixels of (n,) sides on the page; zeros stay zeros."""
    placed = np.empty((len(left), 4), np.float32)
    for axis, (of_x, of_y, shift) in enumerate(to_pixels.tolist()):
        # opposite corners stay so: pages turn by right angles
        first, second = of_x * left + of_y * bottom + shift, of_x * right + of_y * top + shift
        placed[:, axis] = np.minimum(first, second)
        placed[:, axis + 2] = np.maximum(first, second)
    placed[(left == 0) & (top == 0) & (right == 0) & (bottom == 0)] = 0  # what has no place
    return placed


def _text_objects(
    text_page: Any, handles: tuple[int, ...], first: list[int], to_pixels: NDArray[np.float64]
) -> TextObjects:
    """The properties of each text object, by its first character, whose matrix counts the forms that hold it."""
    calls, count = pdfium_calls(), len(handles)
    matrices = np.zeros((count, 6), np.float32)
    colours = np.zeros((count, 4), np.uint32)
    where, width = matrices.ctypes.data, 6 * _FLOAT
    deque(map(calls.matrix, repeat(text_page), first, range(where, where + count * width, width)), maxlen=0)
    modes = np.fromiter(map(calls.render_mode, handles), np.int8, count)
    is_stroke = modes % 4 == 1
    for call, chosen in ((calls.fill, ~is_stroke), (calls.stroke, is_stroke)):
        found = np.zeros((int(chosen.sum()), 4), np.uint32)
        deque(map(call, repeat(text_page), np.array(first)[chosen].tolist(), *_places(found)), maxlen=0)
        colours[chosen] = found
    sizes = np.fromiter(map(calls.font_size, repeat(text_page), first), np.float64, count)
    linear = to_pixels[:, :2] @ matrices[:, :4].reshape(count, 2, 2).transpose(0, 2, 1)  # columns: along, up
    return TextObjects(
        handles=handles,
        first=np.array(first, np.int32),
        render_modes=modes,
        font_sizes=(np.hypot(linear[:, 0, 1], linear[:, 1, 1]) * np.abs(sizes)).astype(np.float32),
        colours=colours.astype(np.uint8),
        angles=(np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0])) % 360).astype(np.float32),
    )


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
