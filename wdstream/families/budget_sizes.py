"""Gemma 4's rule for the size of an image: as large as a budget of patches allows, small images enlarged to it as well.

The rule is `get_aspect_ratio_preserving_size` of transformers/models/gemma4/image_processing_pil_gemma4.py, for one
image and for whole columns of an index: both sides are scaled by the factor that would fill the budget exactly, and
rounded down to multiples of `factor`. A strip thinner than that is one multiple high, and as long as its aspect ratio
in whole multiples, at most as long as the budget.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Size

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule:
    """`factor`: pixels, sides are multiples of it; `max_blocks`: squares of that side an image has at most."""

    factor: int
    max_blocks: int

    @property
    def max_pixels(self) -> int:
        """Area that a full budget has."""
        return self.max_blocks * self.factor**2


def budget_sizes(widths: Ints, heights: Ints, rule: BudgetRule) -> tuple[Ints, Ints]:
    """(widths, heights) in pixels after resizing, int64 of the same shape; -1 where a side is 0."""
    is_fine = (widths > 0) & (heights > 0)
    wide, high = np.where(is_fine, widths, 1), np.where(is_fine, heights, 1)
    factor = np.sqrt(rule.max_pixels / (wide * high))
    columns = np.floor(factor * wide / rule.factor).astype(np.int64)
    rows = np.floor(factor * high / rule.factor).astype(np.int64)
    is_low, is_narrow = rows == 0, columns == 0
    columns = np.where(is_low, np.minimum(wide // high, rule.max_blocks), np.where(is_narrow, 1, columns))
    rows = np.where(is_narrow, np.minimum(high // wide, rule.max_blocks), np.where(is_low, 1, rows))
    return np.where(is_fine, columns * rule.factor, -1), np.where(is_fine, rows * rule.factor, -1)


def budget_size(width: int, height: int, rule: BudgetRule) -> Size | None:
    """The (width, height) such an image is resized to; None where a side is 0."""
    wide, high = budget_sizes(np.array([width], dtype=np.int64), np.array([height], dtype=np.int64), rule)
    return None if wide[0] < 0 else (int(wide[0]), int(high[0]))
