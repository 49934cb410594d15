"""Points and boxes on a page: left, top, right, bottom, in pixels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Size

PictureArea = tuple[int, int, int, int]
"""A part of a picture: left, top, right, bottom."""
Boxes = NDArray[np.float32]
CharacterMask = NDArray[np.bool_]
"""(n,) one for each character of a page."""
_NEXT_LINE = 0.8
"""Of the higher of two letters: how far down the next one is, at least, if it is not of the same line."""


def centres_of(boxes: Boxes) -> Boxes:
    """(n, 2) x and y of the middle of each box of (n, 4)."""
    middles: Boxes = ((boxes[:, :2] + boxes[:, 2:4]) / 2).astype(np.float32)
    return middles


def is_outside(boxes: Boxes, size: Size) -> CharacterMask:
    """(k,) whether less than half of a letter can be seen on a page of (width, height) pixels, as its box tells.

    All letters of a line that the upper or lower edge cuts are outside, or none: the middles of tall ones are elsewhere
    than those of short ones. (k, 4) boxes follow each other as text does.
    """
    width, height = size
    middles = centres_of(boxes)
    is_aside = (middles[:, 0] < 0) | (middles[:, 0] >= width)
    outside: CharacterMask = is_aside | (middles[:, 1] < 0) | (middles[:, 1] >= height)
    if not outside.any():
        return outside
    heights = boxes[:, 3] - boxes[:, 1]
    ends = np.abs(np.diff(middles[:, 1])) > _NEXT_LINE * np.maximum(heights[1:], heights[:-1])
    first = np.flatnonzero(np.concatenate([[True], ends]))
    low, high = (np.minimum.reduceat(boxes[:, :2], first), np.maximum.reduceat(boxes[:, 2:], first))
    lines = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(boxes))))
    is_wide = (high - low)[:, 0] > (high - low)[:, 1]
    is_past = (low[:, 1] + high[:, 1] < 0) | (low[:, 1] + high[:, 1] >= 2 * height)
    return np.where(is_wide[lines], is_past[lines] | is_aside, outside)


def in_any(points: Boxes, boxes: Boxes) -> NDArray[np.bool_]:
    """(n,) whether a point of (n, 2) is in one of the (k, 4) boxes."""
    found = np.zeros(len(points), np.bool_)
    for inside in _inside_each(points, boxes):
        found |= inside
    return found


def latest_over(points: Boxes, areas: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) order of the latest area that has each point, 0 for none; (k, 5) areas are boxes with rising orders."""
    latest = np.zeros(len(points), np.float32)
    for inside, order in zip(_inside_each(points, areas), areas[:, 4], strict=True):
        np.putmask(latest, inside, order)
    return latest


def shared_areas(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """(n, k) area that each of (n, 4) boxes shares with each of (k, 4) others, in square pixels."""
    sides = np.minimum(boxes[:, None, 2:4], others[:, 2:4]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared: NDArray[np.float32] = np.clip(sides, 0, None).prod(axis=2)
    return shared


def are_over(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """(n, k) whether each of (n, 4) boxes shares an area with each of (k, 4) others."""
    left, top, right, bottom = boxes.T[:4, :, None]
    other_left, other_top, other_right, other_bottom = others.T[:4]
    found: NDArray[np.bool_] = np.minimum(right, other_right) > np.maximum(left, other_left)
    found &= np.minimum(bottom, other_bottom) > np.maximum(top, other_top)
    return found


def areas_of(boxes: Boxes) -> NDArray[np.float32]:
    """(n,) square pixels of each box."""
    areas: NDArray[np.float32] = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
    return areas


def extent_of(boxes: Boxes) -> Boxes:
    """(4,) the box around (k, 4) boxes, k at least 1."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _inside_each(points: Boxes, boxes: Boxes) -> Iterator[NDArray[np.bool_]]:
    """For each box (n,) which points are inside; there may be hundreds of both."""
    x, y = np.ascontiguousarray(points.T)
    for left, top, right, bottom in boxes[:, :4]:
        yield (x >= left) & (x < right) & (y >= top) & (y < bottom)
