"""The first look at a text layer: where anything about its place could be wrong, judged by spans of characters.

A span is what follows each other in one text object: a line or a word, so there are about ten times fewer than
characters. It is cut into pieces of about two letters, and each must have ink. What passes is not looked at further;
what does not pass is looked at by character, so that a false alarm costs nothing but time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import count_blanks, is_blank_code, is_letter_code
from wdstream.raw.pdf.doubled import may_be_doubled
from wdstream.raw.pdf.ink import Picture, is_blank
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects
from wdstream.raw.pdf.places import CharacterMask, distinct, is_outside, median_of

_TINY_PIXELS = 2.25
"""Higher glyphs are of no font that is too small to read (`objects.py`)."""
_MAX_THIN = 16
_TINY_LINE, _LONG = 2.85, 4.0
"""Pixels from the lowest to the highest letter of a font that is too small to read; times as long is a word."""
_PIECE = 2.0
"""Of the lower side of a span, or of most: length of a piece."""
_MAX_DOUBTFUL = 6
"""Spans whose characters are looked for; finding those of one takes a fifteenth of the time that all boxes take."""
_MAX_FLAT = 16
"""Texts whose letters are asked for: PDFium looks through all characters for each."""
_MAX_PIECES, _MAX_PAIRS = 20_000, 100_000
_SHARED = 0.3
"""Of the area of the smaller of two spans that both have, where one may repeat the other."""
_ON_LINE = 0.4
"""Of the higher of two spans that both have, there: accents are over their letters, and lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the boxes of k characters tell.

    Attributes:
        real: (k,) those that are not blanks.
        boxed: (k,) of these, those with a box.
        outside: (k,) of these, those that are mostly not on the page.
        blank: (k,) of the rest of them, those without ink.
        is_cut: something is outside, and the rest is sound.
        is_sound: nothing is outside, blank, tiny or over its like.
    """

    real: CharacterMask
    boxed: CharacterMask
    outside: CharacterMask
    blank: CharacterMask
    may_be_doubled: bool
    is_cut: bool
    is_sound: bool


def look_at(codes: NDArray[np.uint32], boxes: NDArray[np.float32], picture: Picture) -> Look:
    """Look at k characters, (k,) and (k, 4)."""
    real = ~is_blank_code(codes)
    boxed = real & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    outside = boxed.copy()
    outside[boxed] = is_outside(boxes[boxed], (picture.shape[1], picture.shape[0]))
    blank = boxed & ~outside
    blank[blank] = is_blank(picture, boxes[blank])
    tiny = boxed & is_letter_code(codes)
    tiny &= (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < _TINY_PIXELS
    is_doubled = may_be_doubled(codes[boxed], boxes[boxed])
    is_cut, is_else = bool(outside.any()), is_doubled or blank.any() or tiny.any()
    return Look(
        real=real,
        boxed=boxed,
        outside=outside,
        blank=blank,
        may_be_doubled=is_doubled,
        is_cut=is_cut and not is_else,
        is_sound=not (is_cut or is_else),
    )


def has_vanished_text(layer: TextLayer, objects: PageObjects) -> bool:
    """Whether a text has letters, and no height or no width. PDFium gives its characters no spans."""
    flat = objects.flat_texts()
    if objects.annotations or len(flat) > _MAX_FLAT:
        return bool(flat)
    return any(count_blanks(text) < len(text) for text in map(layer.text_of_object, flat))


def doubtful_spans(layer: TextLayer, objects: PageObjects, picture: Picture) -> NDArray[np.intp] | None:
    """The spans, by number, that are past the edge, without ink somewhere, too small to read, or over another; None
    where these are many, or all of the layer is to be looked at.

    Args:
        layer: the text layer of a page.
        objects: what the page draws.
        picture: (height, width, 4) the page.
    """
    spans = layer.spans
    if not len(spans):
        return None
    sides = spans[:, 2:] - spans[:, :2]
    together: set[int] = set()
    looks: tuple[Callable[[], NDArray[np.intp] | None], ...] = (
        lambda: _past_edge(spans, picture),
        lambda: _tiny(layer, objects, spans, sides),
        lambda: _overlapping(spans, sides),
        lambda: _with_gaps(picture, spans, sides),
    )
    for look in looks:
        numbers = look()
        together.update(() if numbers is None else numbers.tolist())
        if numbers is None or len(together) > _MAX_DOUBTFUL:
            return None
    return np.array(sorted(together), np.intp)


def _past_edge(spans: NDArray[np.float32], picture: Picture) -> NDArray[np.intp]:
    left, top, right, bottom = spans.T
    height, width = picture.shape[:2]
    return np.flatnonzero((left < -1) | (top < -1) | (right > width + 1) | (bottom > height + 1))


def _tiny(
    layer: TextLayer, objects: PageObjects, spans: NDArray[np.float32], sides: NDArray[np.float32]
) -> NDArray[np.intp] | None:
    """Spans that could have letters that nobody can read; dots, strokes and a single "I" are thin in any font."""
    lower, longer = _lower_and_longer(sides)
    thin = ((lower < _TINY_PIXELS) | ((lower < _TINY_LINE) & (longer > _LONG * lower))).nonzero()[0]
    if not len(thin) or not objects.has_tiny_text(spans[thin]):
        return thin[:0]
    if len(thin) > _MAX_THIN:
        return None
    letters = [sum(map(str.isalnum, text)) for text in layer.texts_of_spans(thin.tolist())]
    may_be = [
        count > 1 or (count == 1 and longer[number] < _TINY_PIXELS) for number, count in zip(thin, letters, strict=True)
    ]
    return thin[np.array(may_be, np.bool_)]


def _overlapping(spans: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Spans that are so far over another that one could repeat the other."""
    order = spans[:, 1].argsort(kind="stable")
    left, top, right, bottom = spans[order].T
    first = np.arange(len(order))
    counts = top.searchsorted(bottom - (bottom - top) * _SHARED / 2) - first - 1
    counts = np.maximum(counts, 0)  # of those that begin lower down, but above its bottom
    ends = counts.cumsum()
    if ends[-1] > _MAX_PAIRS:
        return None
    at = first.repeat(counts)
    other = np.arange(1, len(at) + 1) + (first - ends + counts)[at]
    wide = np.minimum(right[at], right[other]) - np.maximum(left[at], left[other])
    over = wide > 0
    at, other, wide = at[over], other[over], wide[over]
    high = np.minimum(bottom[at], bottom[other]) - top[other]
    heights, areas = bottom - top, (sides[:, 0] * sides[:, 1])[order]
    on_line = high > _ON_LINE * np.maximum(heights[at], heights[other])
    repeats = on_line & (wide * high > _SHARED * np.minimum(areas[at], areas[other]))
    if not repeats.any():  # as nearly always
        return order[:0]
    found: NDArray[np.intp] = order[distinct(np.concatenate([at[repeats], other[repeats]]))]
    return found


def _with_gaps(picture: Picture, spans: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Spans with a piece that has no ink, as between the two ends of a running head; None for too many pieces."""
    cut = _pieces(spans, sides)
    if cut is None:
        return None
    pieces, owners = cut
    return owners[is_blank(picture, pieces)]


def _pieces(
    spans: NDArray[np.float32], sides: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]] | None:
    """(p, 4) the spans cut along their longer side, and (p,) the span of each; None for too many."""
    lower, longer = _lower_and_longer(sides)
    length = _PIECE * np.maximum(lower, median_of(lower))  # leaders of points are low, and mostly blank
    counts = np.maximum(1, longer / np.maximum(length, 1)).astype(np.intp)
    ends = counts.cumsum()
    if ends[-1] > _MAX_PIECES:
        return None
    at = np.arange(len(spans)).repeat(counts)
    pieces = spans[at]
    numbers, length = np.arange(len(at)), (longer / counts)[at]
    begins = 4 * numbers + (sides[:, 1] > sides[:, 0])[at]  # of each its left or top, among all numbers
    values = pieces.reshape(-1)
    values[begins] += (numbers - (ends - counts)[at]) * length
    values[begins + 2] = values[begins] + length
    return pieces, at


def _lower_and_longer(sides: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(k,) the lower and the longer side of each of (k, 2)."""
    return np.minimum(sides[:, 0], sides[:, 1]), np.maximum(sides[:, 0], sides[:, 1])
