"""Boxes of lines from the coordinates of formats: points of a polygon, or the boxes of words."""

from collections.abc import Iterable

from wdstream.raw.texts.page_text import LineBox
from wdstream.raw.texts.tree import NUMBER

_MAX_POINTS = 100_000


def box_of_points(points: str | None) -> LineBox | None:
    """The box around a polygon, `x,y x,y ...` or `x y x y ...`; None for less than two points."""
    found = NUMBER.findall(points or "", endpos=len(points or ""))[: 2 * _MAX_POINTS]
    values = [float(value) for value in found]
    return around(list(zip(values[::2], values[1::2], strict=False)))


def around(points: list[tuple[float, float]]) -> LineBox | None:
    """The box around points; None for less than two."""
    if len(points) < 2:
        return None
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)


def union(boxes: Iterable[LineBox | None]) -> LineBox | None:
    """The box around boxes; None where none is known."""
    return around([corner for box in boxes if box for corner in (box[:2], box[2:])])
