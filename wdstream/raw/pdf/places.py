"""Points and boxes on a page: left, top, right, bottom, in pixels."""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdstream.pixels.grey import MAX_JPEG_SIDE
from wdstream.records import Size

_Whole = TypeVar("_Whole", bound=np.integer[Any])
PictureArea = tuple[int, int, int, int]
"""A part of a picture: left, top, right, bottom."""
Boxes = NDArray[np.float32]
CharacterMask = NDArray[np.bool_]
"""(n,) one for each character of a page."""
ROUNDED_DOWN = 1 - 1e-12  # so that a side that is whole in exact numbers is not rounded up
_AT_ONCE = 64
_NEXT_LINE = 0.8
"""Of the higher of two letters: how far down the next one is, at least, if it is not of the same line."""


def distinct(numbers: NDArray[_Whole]) -> NDArray[_Whole]:
    """(k,) the different ones of some numbers, rising: as numpy's `unique`, which takes longer for few and, when it is
    first called, imports what takes as long as a page."""
    ordered = np.sort(numbers, axis=None)
    if len(ordered) < 2:
        return ordered
    is_new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    return ordered[is_new]


def median_of(values: NDArray[np.float32]) -> np.float32:
    """The median of (k,) finite numbers, k at least 1: as numpy's, in a fifth of its time for a few hundred."""
    ordered = np.sort(values)
    return np.float32((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


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
    x, y = np.ascontiguousarray(points.T)
    for start in range(0, len(areas), _AT_ONCE):
        left, top, right, bottom, order = areas[start : start + _AT_ONCE].T[:, :, None]
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        np.maximum(latest, (inside * order).max(axis=0), out=latest)
    return latest


def shared_areas(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """(n, k) area that each of (n, 4) boxes shares with each of (k, 4) others, in square pixels."""
    sides = np.minimum(boxes[:, None, 2:4], others[:, 2:4]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared: NDArray[np.float32] = np.clip(sides, 0, None).prod(axis=2)
    return shared


def are_inside(points: Boxes, edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) which of (n, 2) points are inside an outline of (k, 4) edges, by the even-odd rule: a line from there to the
    left crosses an odd number of them."""
    x, y = points[:, 0, None], points[:, 1, None]
    x_begin, y_begin, x_end, y_end = edges.T
    is_at = (y_begin > y) != (y_end > y)
    steep = np.where(y_end == y_begin, 1, y_end - y_begin)
    is_left = x_begin + (y - y_begin) * ((x_end - x_begin) / steep) < x
    inside: NDArray[np.bool_] = np.count_nonzero(is_at & is_left, axis=1) % 2 == 1
    return inside


def are_over(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """(n, k) whether each of (n, 4) boxes shares an area with each of (k, 4) others."""
    left, top, right, bottom = np.ascontiguousarray(boxes.T[:4])[:, :, None]
    other_left, other_top, other_right, other_bottom = np.ascontiguousarray(others.T[:4])
    found: NDArray[np.bool_] = left < other_right  # comparing whole rows takes half the time of minima and maxima
    found &= other_left < right
    found &= top < other_bottom
    found &= other_top < bottom
    found &= (left < right) & (top < bottom)
    found &= (other_left < other_right) & (other_top < other_bottom)
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


def pixels_of(sides: tuple[float, float], scale: float) -> Size:
    """The size that PDFium's wrapper draws: rounded up."""
    return math.ceil(sides[0] * scale), math.ceil(sides[1] * scale)


def fitting_scale(sides: tuple[float, float], max_pixels: int) -> float:
    """The largest scale at which (width, height), in units of the page, is within `max_pixels` and JPEG's side."""
    most = min(math.sqrt(max_pixels / (sides[0] * sides[1])), MAX_JPEG_SIDE / max(sides))
    short, long = sorted(sides)
    # Whole pixels on the long side; a side that would be below one is one, and leaves the other what is left.
    long_pixels = math.floor(long * most) if short * most >= 1 else min(max_pixels, MAX_JPEG_SIDE)
    while long_pixels > 1 and math.prod(pixels_of(sides, long_pixels / long * ROUNDED_DOWN)) > max_pixels:
        long_pixels -= 1
    return long_pixels / long * ROUNDED_DOWN
