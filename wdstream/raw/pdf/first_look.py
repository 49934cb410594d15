"""The first look at a text layer: where anything about its place could be wrong, judged by spans of characters.

A span is what follows each other in one text object: a line or a word, so there are about ten times fewer than
characters. It is cut into pieces of about two letters, and each must have ink. What passes is not looked at further;
what does not pass is looked at by character, so that a false alarm costs nothing but time.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.ink import Picture, is_blank
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects

TINY_PIXELS = 2.25
"""Higher glyphs are of no font that is too small to read (`objects.py`)."""
_MAX_THIN = 16
_TINY_LINE, _LONG = 2.85, 4.0
"""Pixels from the lowest to the highest letter of a font that is too small to read; times as long is a word."""
_PIECE = 2.0
"""Of the lower side of a span, or of most: length of a piece."""
_MAX_DOUBTFUL = 6
"""Spans whose characters are looked for; finding those of one takes a fifteenth of the time that all boxes take."""
_MAX_PIECES, _MAX_PAIRS = 20_000, 100_000
_SHARED = 0.3
"""Of the area of the smaller of two spans that both have, where one may repeat the other."""
_ON_LINE = 0.4
"""Of the higher of two spans that both have, there: accents are over their letters, and lower."""


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
    found = [
        _past_edge(spans, picture),
        _tiny(layer, objects, sides),
        _overlapping(spans, sides),
        _with_gaps(picture, spans, sides),
    ]
    numbers = [part for part in found if part is not None]
    if len(numbers) < len(found):
        return None
    together = np.unique(np.concatenate(numbers))
    return together if len(together) <= _MAX_DOUBTFUL else None


def _past_edge(spans: NDArray[np.float32], picture: Picture) -> NDArray[np.intp]:
    past = (spans[:, :2] < -1).any(axis=1) | (spans[:, 2:] > np.add(picture.shape[1::-1], 1)).any(axis=1)
    return np.flatnonzero(past)


def _tiny(layer: TextLayer, objects: PageObjects, sides: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Spans that could have letters that nobody can read; dots, strokes and a single "I" are thin in any font."""
    lower, longer = sides.min(axis=1), sides.max(axis=1)
    thin = np.flatnonzero((lower < TINY_PIXELS) | ((lower < _TINY_LINE) & (longer > _LONG * lower)))
    if not len(thin) or not objects.has_tiny_text():
        return thin[:0]
    if len(thin) > _MAX_THIN:
        return None
    letters = [sum(map(str.isalnum, text)) for text in layer.texts_of_spans(thin.tolist())]
    may_be = [
        count > 1 or (count == 1 and longer[number] < TINY_PIXELS) for number, count in zip(thin, letters, strict=True)
    ]
    return thin[np.array(may_be, np.bool_)]


def _overlapping(spans: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Spans that are so far over another that one could repeat the other."""
    order = np.argsort(spans[:, 1], kind="stable")
    left, top, right, bottom = spans[order].T
    areas = sides.prod(axis=1)[order]
    first = np.arange(len(order))
    counts = np.searchsorted(top, bottom - (bottom - top) * _SHARED / 2) - first - 1
    counts = np.maximum(counts, 0)  # of those that begin lower down, but above its bottom
    if counts.sum() > _MAX_PAIRS:
        return None
    at = np.repeat(first, counts)
    other = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts) + at + 1
    wide = np.minimum(right[at], right[other]) - np.maximum(left[at], left[other])
    over = wide > 0
    at, other, wide = at[over], other[over], wide[over]
    high = np.minimum(bottom[at], bottom[other]) - top[other]
    on_line = high > _ON_LINE * np.maximum(bottom[at] - top[at], bottom[other] - top[other])
    repeats = on_line & (wide * high > _SHARED * np.minimum(areas[at], areas[other]))
    found: NDArray[np.intp] = order[np.union1d(at[repeats], other[repeats])]
    return found


def _with_gaps(picture: Picture, spans: NDArray[np.float32], sides: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Spans with a piece that has no ink, as between the two ends of a running head; None for too many pieces."""
    cut = _pieces(spans, sides)
    if cut is None:
        return None
    pieces, owners = cut
    return np.unique(owners[is_blank(picture, pieces)])


def _pieces(
    spans: NDArray[np.float32], sides: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]] | None:
    """(p, 4) the spans cut along their longer side, and (p,) the span of each; None for too many."""
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
    return pieces, at
