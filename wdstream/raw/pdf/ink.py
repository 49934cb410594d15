"""Whether a picture shows anything in the boxes of characters: contrast inside a box, difference of two pictures."""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.places import Boxes, PictureArea, extent_of

Picture = NDArray[np.uint8]
MIN_CONTRAST = 24
"""Of 255, in red, green or blue. Less cannot be read by people, and is about what JPEG itself changes; PDF pages with
true labels have none below it (150 documentation pages were looked at)."""
_MAX_UNEXPLAINED = 0.1
"""Of the pixels that change with a text: more outside the boxes of its characters, and the boxes are wrong."""
_POINT = 0.4  # of the em: sides of glyphs that are points, and how far from its box one may be
_SLIVER = 0.2  # of the width, and of the height, of a letter: less of it is not seen as one
_FEW_POINTS, _MORE_POINTS = (1, 12), (11, 11)  # rows and columns of the grids that look into each box first
_MARGIN = 1
_AROUND = 3  # pixels
_MOSTLY = 0.6


def is_blank(picture: Picture, boxes: Boxes) -> NDArray[np.bool_]:
    """(k,) whether all of a box, with a margin of a pixel, has less contrast than `MIN_CONTRAST`.

    A few points of each box are looked at first: glyphs nearly always show there, and only the rest is looked at whole.
    """
    spans = _spans(picture, boxes, _MARGIN)
    words = np.ascontiguousarray(picture).view("<u4")[..., 0]
    blank = _is_blank_at_points(words, spans)
    for number in np.flatnonzero(blank).tolist():
        left, top, right, bottom = spans[number].tolist()
        area = words[top:bottom, left:right]
        if (area != area[0, 0]).any():  # most that are left have one colour
            blank[number] = _contrast(picture[top:bottom, left:right]) < MIN_CONTRAST
    return blank


def _is_blank_at_points(words: NDArray[np.uint32], spans: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(k,) whether a few points of each span, in (height, width) pixels as words, show no contrast, nor more points."""
    blank = np.ones(len(spans), np.bool_)
    values, width = words.reshape(-1).view(np.uint8), words.shape[1]
    # First along the middle, in green alone: little else is asked for what shows there, and few texts do not.
    for (num_rows, num_columns), channels in ((_FEW_POINTS, (1,)), (_MORE_POINTS, (0, 1, 2))):
        left, top, right, bottom = spans[blank].T if not blank.all() else spans.T
        if not len(left):
            break
        columns = left + (2 * np.arange(num_columns)[:, None] + 1) * (right - left) // (2 * num_columns)
        rows = top + (2 * np.arange(num_rows)[:, None] + 1) * (bottom - top) // (2 * num_rows)
        places = (rows[:, None] * width + columns).reshape(num_rows * num_columns, -1) * 4
        found = [values[places + channel] for channel in channels]  # reductions over rows are fast
        blank[blank] = np.all([points.max(axis=0) - points.min(axis=0) < MIN_CONTRAST for points in found], axis=0)
    return blank


def area_around(picture: Picture, boxes: Boxes, sizes: NDArray[np.float32]) -> PictureArea:
    """What of a picture `is_different` looks at: its left, top, right and bottom; arguments as there."""
    margins = np.stack([-sizes, -sizes, sizes, sizes], axis=1)
    left, top, right, bottom = _spans(picture, extent_of(boxes + margins)[None], _MARGIN)[0].tolist()
    return left, top, right, bottom


def part_of(picture: Picture, area: PictureArea) -> Picture:
    """A part of a picture, not copied."""
    left, top, right, bottom = area
    return picture[top:bottom, left:right]


def is_equal_in(first: Picture, second: Picture, boxes: Boxes) -> bool:
    """Whether two pictures of the same size are equal in all of (k, 4) boxes, with a margin of a pixel."""
    changed = first.view("<u4")[..., 0] != second.view("<u4")[..., 0]
    spans = _spans(first, boxes, _MARGIN).tolist()
    return not any(changed[top:bottom, left:right].any() for left, top, right, bottom in spans)


def is_different(
    first: Picture, second: Picture, boxes: Boxes, sizes: NDArray[np.float32], *, least: float = _SLIVER
) -> NDArray[np.bool_]:
    """(k,) whether two pictures of the same size differ by `MIN_CONTRAST` or more anywhere in a box.

    Fonts may give wrong boxes for their glyphs (bitmap fonts of old TeX files do). Where much of the difference is
    outside all boxes, these are made as high as two lines of the font. Commas and full stops of an East Asian font that
    is not in the file are drawn in another part of their cell: what changes next to one, and in no box, is it.

    Args:
        first: (height, width, 4) a page with texts, or a part of it.
        second: the same without them.
        boxes: (k, 4) of all their characters.
        sizes: (k,) em of each in pixels.
        least: share of a box's width, and of its height, above which a letter is seen.
    """
    margins = np.stack([-sizes, -sizes, sizes, sizes], axis=1)
    difference = np.maximum(first, second)
    difference -= np.minimum(first, second)
    strong = difference >= MIN_CONTRAST
    changed = strong[..., 0] | strong[..., 1] | strong[..., 2]
    found = _any_in(changed, _spans(first, boxes, 0), least)
    unexplained = changed.copy()
    for left, top, right, bottom in _spans(first, boxes, _MARGIN):
        unexplained[top:bottom, left:right] = False
    if unexplained.sum() > _MAX_UNEXPLAINED * changed.sum():
        found |= _any_in(changed, _spans(first, boxes + margins * np.array([0.25, 1, 0.25, 1], np.float32), 0), least)
    points = ~found & ((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < _POINT * sizes)
    if points.any():
        around = boxes[points] + margins[points] * np.array([_POINT, 0.1, _POINT, 0.1], np.float32)
        spans = _spans(first, around, 0).tolist()
        found[points] = [unexplained[top:bottom, left:right].any() for left, top, right, bottom in spans]
    return found


def is_printed(picture: Picture, boxes: Boxes) -> NDArray[np.bool_]:
    """(k,) whether most rows and columns of a box have something that differs from what is around it, as a glyph does;
    a line that crosses the box has that in few rows, a ground of one colour in none."""
    found = np.zeros(len(boxes), np.bool_)
    inner, outer = _spans(picture, boxes, 0).tolist(), _spans(picture, boxes, _AROUND).tolist()
    for number, ((left, top, right, bottom), (x, y, x_end, y_end)) in enumerate(zip(inner, outer, strict=True)):
        area = picture[y:y_end, x:x_end, :3].astype(np.int16)
        ring = np.ones(area.shape[:2], np.bool_)
        ring[top - y : bottom - y, left - x : right - x] = False
        if not ring.any():  # as large as the page, or outside it
            continue
        ground = np.median(area[ring], axis=0)
        marked = (np.abs(area - ground) >= MIN_CONTRAST).any(axis=2)[top - y : bottom - y, left - x : right - x]
        sides = marked.any(axis=0).mean(), marked.any(axis=1).mean()
        found[number] = min(sides) > _MOSTLY and not marked.all()
    return found


def _any_in(changed: NDArray[np.bool_], spans: NDArray[np.intp], least: float) -> NDArray[np.bool_]:
    """(k,) whether more than the least share is set in each of (k, 4) spans.

    At the edge of what covers a letter, or has its colour, one column or row of pixels may still be seen.
    """
    return np.array([_shows(changed[top:bottom, left:right], least) for left, top, right, bottom in spans], np.bool_)


def _shows(changed: NDArray[np.bool_], least: float) -> bool:
    if not changed.any():
        return False
    height, width = changed.shape
    return bool(changed.any(axis=0).sum() > least * width and changed.any(axis=1).sum() > least * height)


def _spans(picture: Picture, boxes: Boxes, margin: int) -> NDArray[np.intp]:
    """(k, 4) rows and columns of the boxes in the picture, at least one each: left, top, right, bottom."""
    height, width = picture.shape[:2]
    low = np.floor(boxes[:, :2]) - margin
    high = np.maximum(np.ceil(boxes[:, 2:]) + margin, low + 1)
    low = np.minimum(np.maximum(low, 0), (width - 1, height - 1))  # a third of the time of `clip`
    high = np.minimum(np.maximum(high, low + 1), (width, height))
    return np.concatenate([low, high], axis=1).astype(np.intp)


def _contrast(picture: Picture) -> int:
    area = picture[..., :3].reshape(-1, 3)
    return int((area.max(axis=0) - area.min(axis=0)).max())
