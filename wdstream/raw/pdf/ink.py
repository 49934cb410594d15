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
_POINTS = (((1, 4), (1,)), ((1, 12), (1,)), ((11, 11), (0, 1, 2)))
"""Rows and columns of the grids that look into each box first, and channels: along the middle in green, few texts do
not show."""
_MARGIN = 1
_AROUND = 3  # pixels
_MOSTLY = 0.6
_OUT = np.array([-1, -1, 1, 1], np.float32)
_SIDEWAYS = np.array([1, 0, 1, 0], np.float32)
_OF_LETTERS = 0.3
"""Of the columns and rows of a text's box."""
_MOST_CORNERS = 3
"""Of the four around a text; the fourth may be on something else."""
_FEWEST_SIDE, _PAST_LINES = 2, 5.0
"""Of them, those above or below a text; pixels from it, more than lines under texts are away and thick."""


def is_blank(picture: Picture, boxes: Boxes) -> NDArray[np.bool_]:
    """(k,) whether all of a box, with a margin of a pixel, has less contrast than `MIN_CONTRAST`.

    A few points of each box are looked at first: glyphs nearly always show there, and only the rest is looked at whole.
    """
    sides = _sides(picture, boxes, _MARGIN)
    words = np.ascontiguousarray(picture).view("<u4")[..., 0]
    blank = _is_blank_at_points(words, sides)
    for number in blank.nonzero()[0].tolist():
        left, top, right, bottom = sides[:, number].tolist()
        area = words[top:bottom, left:right]
        if (area != area[0, 0]).any():  # most that are left have one colour
            blank[number] = _contrast(picture[top:bottom, left:right]) < MIN_CONTRAST
    return blank


def _is_blank_at_points(words: NDArray[np.uint32], sides: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(k,) whether a few points of each span, in (height, width) pixels as words, show no contrast, nor more points."""
    left = np.arange(sides.shape[1])
    values, width = words.reshape(-1).view(np.uint8), words.shape[1]
    for (num_rows, num_columns), channels in _POINTS:
        if not len(left):
            break
        x, y, right, bottom = sides[:, left]
        columns = x + (2 * np.arange(num_columns)[:, None] + 1) * (right - x) // (2 * num_columns)
        rows = y + (2 * np.arange(num_rows)[:, None] + 1) * (bottom - y) // (2 * num_rows)
        places = (rows[:, None] * width + columns).reshape(num_rows * num_columns, -1)
        for channel in channels:
            points = values[channel::4][places]  # reductions over rows are fast
            is_left = points.max(axis=0) - points.min(axis=0) < MIN_CONTRAST
            left, places = left[is_left], places[:, is_left]
    blank = np.zeros(sides.shape[1], np.bool_)
    blank[left] = True
    return blank


def is_like_ground(picture: Picture, boxes: Boxes, colours: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(k,) whether a text has the colour of what is around it, as white anchors for signatures have on paper: none of
    its letters is seen, though a line that crosses them is.

    Args:
        picture: (height, width, 4) the page.
        boxes: (k, 4) around each text.
        colours: (k, 3) of each, as `PageObjects.colours`.
    """
    corners = _corners(picture, boxes, _OUT)
    is_near = np.abs(corners[..., 1] - colours[:, 1:2]) < MIN_CONTRAST
    found: NDArray[np.bool_] = is_near.sum(axis=1) >= _FEWEST_SIDE
    if not found.any():  # by green alone, in which few texts are
        return found
    likely = found.nonzero()[0]
    is_like = _are_like(corners[likely], colours[likely])
    found[likely] = is_like.sum(axis=1) >= _MOST_CORNERS
    beside = likely[(is_like.sum(axis=1) == _FEWEST_SIDE) & (is_like[:, 0] == is_like[:, 1])]
    if len(beside):  # what begins at one side of a text is an area, or a line under it, which soon ends
        far = _are_like(_corners(picture, boxes[beside], _OUT * _PAST_LINES), colours[beside])
        middles = boxes[beside]
        middles[:, 1::2] = middles[:, 1::2].mean(axis=1, keepdims=True)  # what most of it is on is its own ground
        far &= _are_like(_corners(picture, middles, _OUT * _SIDEWAYS), colours[beside])
        found[beside] = (far & _are_like(corners[beside], colours[beside])).sum(axis=1) == _FEWEST_SIDE
    return found


def _corners(picture: Picture, boxes: Boxes, out: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(k, 4, 4) the pixels at the corners of (k, 4) boxes, made larger by (4,): both of the top, both of the bottom."""
    height, width = picture.shape[:2]
    last = np.array([width, height, width, height], np.float32) - 1
    places = np.minimum(np.maximum(boxes + out, 0), last).astype(np.intp)
    words = np.ascontiguousarray(picture).view("<u4")[..., 0]
    corners: NDArray[np.uint8] = words[places[:, 1::2, None], places[:, None, 0::2]].view(np.uint8).reshape(-1, 4, 4)
    return corners


def _are_like(corners: NDArray[np.uint8], colours: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(k, 4) which of (k, 4, 4) corners have the colour of (k, 3)."""
    like: NDArray[np.bool_] = (np.abs(corners[..., 2::-1] - colours[:, None]) < MIN_CONTRAST).all(axis=2)
    return like


def shows_grey(picture: Picture, boxes: Boxes, grey: int) -> NDArray[np.bool_]:
    """(k,) whether about this green is seen in so much of each box of a text as letters of this grey fill; a line that
    crosses these is lower."""
    area = area_around(picture, boxes, np.zeros(len(boxes), np.float32))
    greens = part_of(picture, area)[..., 1] - np.uint8(grey - MIN_CONTRAST)  # what is less wraps to more
    return _any_in(greens < 2 * MIN_CONTRAST, _spans(picture, boxes, 0) - np.array([area[0], area[1]] * 2), _OF_LETTERS)


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
    spans = _spans(first, boxes, _MARGIN)
    (left, top), (right, bottom) = spans[:, :2].min(axis=0), spans[:, 2:].max(axis=0)
    if not changed[top:bottom, left:right].any():  # nor in any of them
        return True
    return not any(changed[top:bottom, left:right].any() for left, top, right, bottom in spans.tolist())


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
    changed = _changed(first, second)
    found = _any_in(changed, _spans(first, boxes, 0), least)
    if found.all():  # as mostly; what follows only adds
        return found
    unexplained = changed.copy()
    for left, top, right, bottom in _spans(first, boxes, _MARGIN):
        unexplained[top:bottom, left:right] = False
    if np.count_nonzero(unexplained) > _MAX_UNEXPLAINED * np.count_nonzero(changed):
        found |= _any_in(changed, _spans(first, boxes + margins * np.array([0.25, 1, 0.25, 1], np.float32), 0), least)
    points = ~found & ((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < _POINT * sizes)
    if points.any():
        around = boxes[points] + margins[points] * np.array([_POINT, 0.1, _POINT, 0.1], np.float32)
        spans = _spans(first, around, 0).tolist()
        found[points] = [unexplained[top:bottom, left:right].any() for left, top, right, bottom in spans]
    return found


def _changed(first: Picture, second: Picture) -> NDArray[np.bool_]:
    """(height, width) where two pictures differ by `MIN_CONTRAST` or more in red, green or blue."""
    words = [np.ascontiguousarray(picture).view("<u4")[..., 0] for picture in (first, second)]
    changed: NDArray[np.bool_] = words[0] != words[1]
    places = changed.reshape(-1).nonzero()[0]  # only these, mostly few, are looked at by colour
    one, other = (picture.reshape(-1)[places].view(np.uint8) for picture in words)
    strong = np.maximum(one, other) - np.minimum(one, other) >= MIN_CONTRAST
    changed.reshape(-1)[places] = strong.view("<u4") & 0xFFFFFF != 0
    return changed


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
    shown = [_shows(changed[top:bottom, left:right], least) for left, top, right, bottom in spans.tolist()]
    return np.array(shown, np.bool_)


def _shows(changed: NDArray[np.bool_], least: float) -> bool:
    any_of, count, (height, width) = np.logical_or.reduce, np.count_nonzero, changed.shape
    if count(changed) > least * changed.size + 1:  # then in more than that share of the columns, and of the rows
        return True
    return bool(count(any_of(changed, axis=0)) > least * width and count(any_of(changed, axis=1)) > least * height)


def _spans(picture: Picture, boxes: Boxes, margin: int) -> NDArray[np.intp]:
    """(k, 4) rows and columns of the boxes in the picture, at least one each: left, top, right, bottom."""
    return _sides(picture, boxes, margin).T


def _sides(picture: Picture, boxes: Boxes, margin: int) -> NDArray[np.intp]:
    """(4, k) the same, each side by itself."""
    found = np.empty((4, len(boxes)), np.intp)
    for side, size in ((0, picture.shape[1]), (1, picture.shape[0])):
        low = np.floor(boxes[:, side]) - margin
        high = np.maximum(np.ceil(boxes[:, side + 2]) + margin, low + 1)
        low = np.minimum(np.maximum(low, 0), size - 1)  # a third of the time of `clip`
        found[side] = low
        found[side + 2] = np.minimum(np.maximum(high, low + 1), size)
    return found


def _contrast(picture: Picture) -> int:
    area = picture[..., :3].reshape(-1, 3)
    return int((area.max(axis=0) - area.min(axis=0)).max())
