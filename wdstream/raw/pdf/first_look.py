"""The first look at a text layer: whether anything about where it is could be wrong, judged by spans of characters.

A span is what follows each other in one text object: a line or a word, so there are about ten times fewer than
characters. It is cut into pieces of about two letters, and each must have ink. A page that passes is not looked at
further; what does not pass is looked at by character, so that a false alarm costs nothing but time.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.ink import Picture, has_blank
from wdstream.raw.pdf.layer import TextLayer

TINY_PIXELS = 2.25
"""Higher glyphs are of no font that is too small to read (`visible.py`)."""
_MAX_THIN = 16
_PIECE = 2.0
"""Of the lower side of a span, or of most: length of a piece."""
_MAX_PIECES, _MAX_PAIRS = 20_000, 100_000
_SHARED = 0.3
"""Of the area of the smaller of two spans that both have, where one may repeat the other."""
_ON_LINE = 0.4
"""Of the higher of two spans that both have, there: accents are over their letters, and lower."""


def looks_sound(layer: TextLayer, picture: Picture) -> bool:
    """Whether all of the layer is on the page, has ink, is large enough to read, and is not over itself."""
    spans = layer.spans
    if not len(spans) or spans[:, :2].min() < -1 or (spans[:, 2:].max(axis=0) > np.add(picture.shape[1::-1], 1)).any():
        return False
    sides = spans[:, 2:] - spans[:, :2]
    if _may_be_tiny(layer, sides) or _may_overlap(spans, sides):
        return False
    pieces = _pieces(spans, sides)
    return pieces is not None and not has_blank(picture, pieces)


def _may_be_tiny(layer: TextLayer, sides: NDArray[np.float32]) -> bool:
    """Whether a span could have letters that nobody can read; dots, strokes and a single "I" are thin, too."""
    thin = np.flatnonzero(sides.min(axis=1) < TINY_PIXELS)
    if len(thin) > _MAX_THIN:
        return True
    for number in thin.tolist():
        num_letters = sum(letter.isalnum() for letter in layer.text_of_span(number))
        if num_letters > 1 or (num_letters == 1 and sides[number].max() < TINY_PIXELS):
            return True
    return False


def _may_overlap(spans: NDArray[np.float32], sides: NDArray[np.float32]) -> bool:
    """Whether a span is so far over another that one could repeat the other."""
    order = np.argsort(spans[:, 1], kind="stable")
    left, top, right, bottom = spans[order].T
    areas = sides.prod(axis=1)[order]
    first = np.arange(len(order))
    counts = np.searchsorted(top, bottom - (bottom - top) * _SHARED / 2) - first - 1
    counts = np.maximum(counts, 0)  # of those that begin lower down, but above its bottom
    if counts.sum() > _MAX_PAIRS:
        return True
    at = np.repeat(first, counts)
    other = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts) + at + 1
    wide = np.minimum(right[at], right[other]) - np.maximum(left[at], left[other])
    over = wide > 0
    at, other, wide = at[over], other[over], wide[over]
    high = np.minimum(bottom[at], bottom[other]) - top[other]
    on_line = high > _ON_LINE * np.maximum(bottom[at] - top[at], bottom[other] - top[other])
    return bool((on_line & (wide * high > _SHARED * np.minimum(areas[at], areas[other]))).any())


def _pieces(spans: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(p, 4) the spans cut along their longer side; None for too many."""
    along = sides.argmax(axis=1)
    lower = sides.min(axis=1)
    length = _PIECE * np.maximum(lower, np.median(lower))  # leaders of points are low, and mostly blank
    counts = np.maximum(1, sides.max(axis=1) / np.maximum(length, 1)).astype(np.intp)
    if counts.sum() > _MAX_PIECES:
        return None
    rows = np.arange(counts.sum())
    at = np.repeat(np.arange(len(spans)), counts)
    place = rows - np.repeat(np.cumsum(counts) - counts, counts)
    pieces, along = spans[at], along[at]
    length = sides[at, along] / counts[at]
    pieces[rows, along] += place * length
    pieces[rows, along + 2] = pieces[rows, along] + length
    return pieces
