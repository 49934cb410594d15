"""Points and boxes on a page: left, top, right, bottom, in pixels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PictureArea = tuple[int, int, int, int]
"""A part of a picture: left, top, right, bottom."""
Boxes = NDArray[np.float32]
CharacterMask = NDArray[np.bool_]
"""(n,) one for each character of a page."""


def centres_of(boxes: Boxes) -> Boxes:
    """(n, 2) x and y of the middle of each box of (n, 4)."""
    middles: Boxes = ((boxes[:, :2] + boxes[:, 2:4]) / 2).astype(np.float32)
    return middles


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
