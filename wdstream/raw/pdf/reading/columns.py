"""Text that is written downwards: columns of Han letters, kana or Hangul, from right to left.

PDFium sees lines from left to right in it: it ends one after each letter, or sorts pieces of columns by where they
begin. So columns are found by where letters are. Letters that follow each other downwards begin it; what is on the
axis of these belongs to them, Latin words that are turned and upright numbers, too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import is_blank_code
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes, CharacterMask, centres_of, distinct
from wdstream.text.script import is_east_asian

_AXIS = 0.55  # in ems: centres of one column are not further from each other across; points are off the middle
_ASIDE_WEIGHS = 4.0  # so that a point off the middle is not taken for one of the next column, one em away
_STEP = 2.3  # in ems: nor further down, one empty cell counted
_LEAST_STEP = 0.1
_LIKE = 1.4  # of the smaller em, both of one size
_SHORT = 1.3  # in ems: wider runs of Latin letters are lines, not numbers inside a column
_FEWEST_STEPS = 3
_PITCH = 3.2  # in ems: columns of one block are not further from each other
_BLOCK_LIKE = 1.6
_TURNED = 5.0  # degrees

UnitNumbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What is in one cell: k letters of East Asia, turned letters, or runs of others from left to right.

    Attributes:
        first: (k,) number of the first character of each.
        count: (k,) how many printed characters follow each other in it.
        boxes: (k, 4) in pixels.
        em: (k,) size of the font in pixels.
        is_cell: (k,) letters of East Asia that are upright.
        is_turned: (k,) letters whose text runs down.
        printed: (n,) numbers of the printed characters in PDFium's order.
        start: (k,) where each begins in `printed`.
    """

    first: UnitNumbers
    count: UnitNumbers
    boxes: Boxes
    em: NDArray[np.float32]
    is_cell: NDArray[np.bool_]
    is_turned: NDArray[np.bool_]
    printed: UnitNumbers
    start: UnitNumbers

    @property
    def centres(self) -> Boxes:
        """(k, 2) middles in pixels."""
        return centres_of(self.boxes)

    def members(self, unit: int) -> list[int]:
        """Numbers of its characters."""
        start = int(self.start[unit])
        found: list[int] = self.printed[start : start + int(self.count[unit])].tolist()
        return found


def units_of(characters: PageCharacters, keep: CharacterMask) -> Units:
    """The printed characters that count, as units."""
    boxes = characters.boxes
    is_printed = keep & ~characters.is_generated & (characters.object_number >= 0) & ~is_blank_code(characters.codes)
    printed = np.flatnonzero(is_printed & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    owners, boxes = characters.object_number[printed], boxes[printed]
    em, angles = characters.objects.font_sizes[owners], characters.objects.angles[owners]
    is_turned = np.abs(angles - 90) < _TURNED
    codes = characters.codes[printed]
    is_cell = (is_east_asian(codes) | (codes >= 0xAC00) & (codes <= 0xD7A3)) & ~is_turned
    is_other = ~is_cell & ~is_turned
    height, gap = np.minimum(em[1:], em[:-1]), boxes[1:, 0] - boxes[:-1, 2]
    middles = (boxes[:, 1] + boxes[:, 3]) / 2
    continues = is_other[1:] & is_other[:-1] & (np.diff(printed) == 1)
    continues &= (np.abs(np.diff(middles)) < 0.5 * height) & (np.abs(gap) < 0.6 * height)
    start = np.flatnonzero(np.concatenate([[True], ~continues]))[: len(printed)]
    low, high = boxes[:, :2], boxes[:, 2:]
    if len(start):
        low, high = np.minimum.reduceat(low, start), np.maximum.reduceat(high, start)
    return Units(
        first=printed[start],
        count=np.diff(np.append(start, len(printed))),
        boxes=np.concatenate([low, high], axis=1),
        em=em[start],
        is_cell=is_cell[start],
        is_turned=is_turned[start],
        printed=printed,
        start=start,
    )


def column_numbers(units: Units) -> UnitNumbers | None:
    """(k,) which column each unit may be in, by number, -1 for text from left to right; None for a page without."""
    if units.is_cell.sum() <= _FEWEST_STEPS:
        return None
    em = np.maximum(units.em[1:], units.em[:-1])
    like = em < _LIKE * np.minimum(units.em[1:], units.em[:-1])
    across, down = (np.diff(units.centres, axis=0) / em[:, None]).T
    cells = units.is_cell[1:] & units.is_cell[:-1]
    goes_down = cells & like & (np.abs(across) < _AXIS) & (down > 0.4) & (down < _STEP)
    if goes_down.sum() < _FEWEST_STEPS:
        return None
    gap = (units.boxes[1:, 0] - units.boxes[:-1, 2]) / em
    upright = ~(units.is_turned[1:] | units.is_turned[:-1])
    goes_right = upright & like & (np.abs(down) < 0.5) & (across > 0.4) & (gap > -0.15) & (gap < 1)
    is_line = (_either(goes_right) & ~_both(goes_down)) | (units.boxes[:, 2] - units.boxes[:, 0] > _SHORT * units.em)
    seeds = _either(goes_down) & ~is_line
    if seeds.sum() <= _FEWEST_STEPS:
        return None
    return _linked(units, ~is_line)


def _either(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(k,) whether one of the steps, (k - 1,) before and after each unit, is so."""
    found: NDArray[np.bool_] = np.append(steps, False) | np.append(False, steps)
    return found


def _both(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.append(steps, False) & np.append(False, steps)
    return found


def _linked(units: Units, may_be: NDArray[np.bool_]) -> UnitNumbers:
    """(k,) number of the chain of units under each other, -1 for what may not be in one."""
    chosen = np.flatnonzero(may_be)
    order = chosen[np.argsort(units.centres[chosen, 1], kind="stable")]
    centres, em = units.centres[order], units.em[order]
    y = centres[:, 1]
    first = np.arange(len(order))
    counts = np.searchsorted(y, y + _STEP * em) - first - 1
    at = np.repeat(first, counts)
    other = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts) + at + 1
    large, small = np.maximum(em[at], em[other]), np.minimum(em[at], em[other])
    step, aside = y[other] - y[at], np.abs(centres[other, 0] - centres[at, 0])
    near = (large < _LIKE * small) & (aside < _AXIS * large) & (step > _LEAST_STEP * small)
    at, other, step = at[near], other[near], step[near]
    far = step + _ASIDE_WEIGHS * aside[near]
    nearest = np.lexsort((far, at))
    at, other = at[nearest], other[nearest]
    follower = first.copy()
    begins = np.flatnonzero(np.append(True, np.diff(at) > 0))[: len(at)]
    follower[at[begins]] = other[begins]
    while not (follower[follower] == follower).all():
        follower = follower[follower]
    numbers = np.full(len(units.em), -1, np.intp)
    numbers[order] = follower
    return numbers


@dataclass(slots=True, kw_only=True)
class WrittenColumn:
    """Units under each other, from the top; `box` in pixels, `axis` its middle across."""

    units: list[int]
    box: tuple[float, float, float, float]
    axis: float
    em: float
    is_sure: bool


def blocks_of(units: Units, numbers: UnitNumbers) -> list[list[WrittenColumn]]:
    """The blocks of a page's columns, each from right to left, in the order in which PDFium has their first letters.

    Args:
        units: k of the page.
        numbers: (k,) of `column_numbers`, -1 for what is in none.
    """
    columns = [_column(units, np.flatnonzero(numbers == number)) for number in distinct(numbers[numbers >= 0])]
    sure = [column for column in columns if column.is_sure]
    for column in columns:
        if not column.is_sure and any(_is_near(column, other) for other in sure):
            sure.append(column)
    blocks: list[list[WrittenColumn]] = []
    for column in sure:
        near = [block for block in blocks if any(_is_near(column, other) for other in block)]
        blocks = [block for block in blocks if block not in near]
        blocks.append([column, *(other for block in near for other in block)])
    ordered = [_from_right(block) for block in blocks]
    return sorted(ordered, key=lambda block: min(int(units.first[unit]) for column in block for unit in column.units))


def _column(units: Units, members: UnitNumbers) -> WrittenColumn:
    members = members[np.argsort(units.centres[members, 1], kind="stable")]
    boxes = units.boxes[members]
    cells = members[units.is_cell[members]]
    return WrittenColumn(
        units=members.tolist(),
        box=(*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()),
        axis=float(np.median(units.centres[cells if len(cells) else members, 0])),
        em=float(units.em[members].max()),
        is_sure=len(cells) > 1,
    )


def _is_near(column: WrittenColumn, other: WrittenColumn) -> bool:
    """Whether two columns are of one block: near each other, at one height."""
    em = max(column.em, other.em)
    shared = min(column.box[3], other.box[3]) - max(column.box[1], other.box[1])
    height = min(column.box[3] - column.box[1], other.box[3] - other.box[1])
    is_like = em < _BLOCK_LIKE * min(column.em, other.em)
    return is_like and abs(column.axis - other.axis) < _PITCH * em and shared > 0.5 * height


def _from_right(block: list[WrittenColumn]) -> list[WrittenColumn]:
    """Columns from right to left; parts of one column from the top."""
    ordered: list[list[WrittenColumn]] = []
    for column in sorted(block, key=lambda column: -column.axis):
        if ordered and ordered[-1][0].axis - column.axis < _AXIS * column.em:
            ordered[-1].append(column)
        else:
            ordered.append([column])
    return [column for parts in ordered for column in sorted(parts, key=lambda part: part.box[1])]
