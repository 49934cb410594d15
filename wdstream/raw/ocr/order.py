"""The reading order of lines that an engine found anywhere on a page: columns one after the other, rows from the top.

Lines are levelled first, since a scan that is turned by one degree has no straight gap between its columns. Lines that
cross a gap, such as a title, cut the page into bands. A gap counts as one of columns where the lines on both sides of a
band are long and fill their side; else it is one of a table, whose rows are read across.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError
from wdstream.raw.texts.page_text import LineBox

_LEAST_LINES = 3
"""On each side of a gap between columns."""
_LEAST_GAP = 0.3
_MARGIN = 0.25
"""Of a line's height, that its box is wider than its ink on each side."""
_LEAST_WIDTH = 7.0
"""Of the lines of a column, in heights of a line."""
_LEAST_FILL = 0.6
_PARAGRAPH = 1.5
"""Times the usual distance between lines, above which a new block begins."""
_UPRIGHT = 1.5
_LEAST_UPRIGHT = 3

Numbers = NDArray[np.intp]
LineBoxes = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadLine:
    """A line with its corners, (4, 2) from the upper left one clockwise as it is read, and the engine's confidence."""

    text: str
    corners: NDArray[np.float64]
    confidence: float

    @property
    def is_upright(self) -> bool:
        """Whether it runs from top to bottom; one or two letters may be higher than wide."""
        width, height = np.ptp(self.corners, axis=0)
        return len(self.text) > 2 and bool(height > _UPRIGHT * width)


def reading_order(lines: Sequence[ReadLine]) -> list[list[tuple[str, LineBox]]]:
    """Blocks of lines in the order in which they are read, each with its box; pieces of one row are joined.

    Raises:
        SourceError: most lines run from top to bottom, so that no order is known.
    """
    upright = sum(line.is_upright for line in lines)
    if upright >= _LEAST_UPRIGHT and 2 * upright > len(lines):
        raise SourceError(
            f"{upright} of {len(lines)} lines that were read run from top to bottom: a scan that is turned by a "
            "quarter, or vertical writing, whose order is not known; turn it, or put a text file next to it"
        )
    if not lines:
        return []
    boxes = _level(np.stack([line.corners for line in lines]))
    found = _blocks(boxes, np.arange(len(lines)))
    return [[_joined([lines[number] for number in row]) for row in block] for block in found]


def _joined(row: Sequence[ReadLine]) -> tuple[str, LineBox]:
    corners = np.concatenate([line.corners for line in row])
    left, top, right, bottom = (float(side) for side in (*corners.min(axis=0), *corners.max(axis=0)))
    return " ".join(line.text.strip() for line in row), (left, top, right, bottom)


def _level(corners: NDArray[np.float64]) -> LineBoxes:
    """(n, 4) boxes of lines, (n, 4, 2), turned so that most of them are level."""
    edges = corners[:, 1] - corners[:, 0]
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    angle = float(np.median(angles[np.abs(angles) < np.pi / 6])) if (np.abs(angles) < np.pi / 6).any() else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = corners @ turn
    boxes: LineBoxes = np.concatenate([level.min(axis=1), level.max(axis=1)], axis=1)
    margin = np.minimum(_MARGIN * (boxes[:, 3] - boxes[:, 1]), (boxes[:, 2] - boxes[:, 0]) / 3)
    boxes += margin[:, None] * np.array([1, 0, -1, 0])
    return boxes


def _blocks(boxes: LineBoxes, numbers: Numbers) -> list[list[list[int]]]:
    """Blocks of rows of line numbers: by columns, where the region has any."""
    gap = _find_gap(boxes[numbers])
    if gap is None:
        return _paragraphs(boxes, _rows(boxes, numbers))
    blocks: list[list[list[int]]] = []
    across: list[list[int]] = []
    for band, crosses in _bands(boxes, numbers, gap):
        is_left = boxes[band, 2] <= gap
        if crosses or not _is_long(is_left):
            across += _rows(boxes, band)
            continue
        blocks += _paragraphs(boxes, across)
        across = []
        blocks += [block for side in (band[is_left], band[~is_left]) for block in _blocks(boxes, side)]
    return blocks + _paragraphs(boxes, across)


def _bands(boxes: LineBoxes, numbers: Numbers, gap: float) -> Iterator[tuple[Numbers, bool]]:
    """The lines of a region in bands from the top: those that cross the gap, and those that stay clear of it."""
    ordered = numbers[np.argsort(boxes[numbers, 1] + boxes[numbers, 3], kind="stable")]
    crosses = (boxes[ordered, 0] < gap) & (boxes[ordered, 2] > gap)
    edges = np.flatnonzero(np.diff(crosses)) + 1
    for band in np.split(np.arange(len(ordered)), edges):
        yield ordered[band], bool(crosses[band[0]])


def _is_long(is_left: NDArray[np.bool_]) -> bool:
    """Whether a band has columns, and not a few words side by side."""
    return bool(min(is_left.sum(), (~is_left).sum()) >= _LEAST_LINES)


def _find_gap(boxes: LineBoxes) -> float | None:
    """Where a region has a gap between columns: the one that most lines are in columns of; None where it has none."""
    if len(boxes) < 2 * _LEAST_LINES:
        return None
    height = float(np.median(boxes[:, 3] - boxes[:, 1]))
    lefts = np.unique(boxes[:, 0])
    counts = {float(left): _lines_in_columns(boxes, float(left), height) for left in lefts[1:]}
    best = max(counts, key=lambda left: (counts[left], -left), default=None)
    return best if best is not None and counts[best] else None


def _lines_in_columns(boxes: LineBoxes, gap: float, height: float) -> int:
    """How many lines are in bands with columns on both sides of a gap; the gap is where its right side begins."""
    count = 0
    for band, crosses in _bands(boxes, np.arange(len(boxes)), gap):
        is_left = boxes[band, 2] <= gap
        if not crosses and _is_long(is_left) and _are_columns(boxes[band[is_left]], boxes[band[~is_left]], height):
            count += len(band)
    return count


def _are_columns(left: LineBoxes, right: LineBoxes, height: float) -> bool:
    """Whether lines on both sides of a gap are long and fill their side, as those of text in columns."""
    if right[:, 0].min() - left[:, 2].max() < _LEAST_GAP * height:
        return False
    for side in (left, right):
        middle, longest = (float(width) for width in np.quantile(side[:, 2] - side[:, 0], (0.5, 0.9)))
        if middle < _LEAST_WIDTH * height or middle < _LEAST_FILL * longest:
            return False
    return True


def _rows(boxes: LineBoxes, numbers: Numbers) -> list[list[int]]:
    """Line numbers in rows from the top, each from the left; lines are in one row where half of their height is."""
    rows: list[list[int]] = []
    middles = (boxes[:, 1] + boxes[:, 3]) / 2
    for number in sorted(numbers.tolist(), key=lambda number: (middles[number], boxes[number, 0])):
        last = rows[-1][0] if rows else None
        if (
            last is not None
            and boxes[last, 1] < middles[number] < boxes[last, 3]
            and _are_apart(boxes, rows[-1], number)
        ):
            rows[-1].append(number)
        else:
            rows.append([number])
    return [sorted(row, key=lambda number: boxes[number, 0]) for row in rows]


def _are_apart(boxes: LineBoxes, row: Sequence[int], number: int) -> bool:
    """Whether a line is next to all of a row, and not over one of it."""
    left, _, right, _ = boxes[number]
    slack = 0.25 * (boxes[number, 3] - boxes[number, 1])
    return all(left >= boxes[other, 2] - slack or right <= boxes[other, 0] + slack for other in row)


def _paragraphs(boxes: LineBoxes, rows: Sequence[list[int]]) -> list[list[list[int]]]:
    """Rows in blocks: a new one begins where the distance to the row before is larger than usual."""
    middles = [float(np.mean(boxes[row, 1] + boxes[row, 3])) / 2 for row in rows]
    steps = [below - above for above, below in pairwise(middles)]
    usual = median(steps) if steps else 0.0
    blocks: list[list[list[int]]] = [[rows[0]]] if rows else []
    for row, step in zip(rows[1:], steps, strict=True):
        if step > _PARAGRAPH * usual:
            blocks.append([])
        blocks[-1].append(row)
    return blocks
