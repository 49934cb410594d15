"""Qwen-VL's rule for the size of an image, one image at a time and for whole columns of an index.

The rule is `smart_resize` of transformers/models/qwen2_vl/image_processing_qwen2_vl.py: both sides become multiples of
`factor`, the area comes to lie in [min_pixels, max_pixels], the aspect ratio stays as close as that allows.

Sizes of GLM-4V and PaddleOCR-VL: sides shorter than one multiple are enlarged to it, then Qwen-VL's rule holds.

The rules are `smart_resize` of transformers/models/{glm4v,paddleocr_vl}/image_processing_pil_*.py. They enlarge in
different roundings; their aspect ratio counts after that. Each is here for whole columns of sizes; every float64
operation is the scalar's, in the same order.

Gemma 4's rule for the size of an image: as large as a budget of patches allows, small images enlarged to it as well.

The rule is `get_aspect_ratio_preserving_size` of transformers/models/gemma4/image_processing_pil_gemma4.py, for one
image and for whole columns of an index: both sides are scaled by the factor that would fill the budget exactly, and
rounded down to multiples of `factor`. A strip thinner than that is one multiple high, and as long as its aspect ratio
in whole multiples, at most as long as the budget.
"""

import math
from dataclasses import dataclass

import numpy as np

from wdstream.records import Ints, Size

MAX_ASPECT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """The settings of the rule: `factor` = patch size * merge size, and the bounds of the area, all in pixels."""

    factor: int
    min_pixels: float
    max_pixels: float


def smart_size(width: int, height: int, rule: SizeRule) -> Size | None:
    """The (width, height) such an image is resized to; None where its aspect ratio is above 200 or a side is 0."""
    if min(width, height) < 1 or max(width, height) / min(width, height) > MAX_ASPECT:
        return None
    factor = rule.factor
    new_height = round(height / factor) * factor
    new_width = round(width / factor) * factor
    if new_height * new_width > rule.max_pixels:
        beta = math.sqrt((height * width) / rule.max_pixels)
        new_height = max(factor, math.floor(height / beta / factor) * factor)
        new_width = max(factor, math.floor(width / beta / factor) * factor)
    elif new_height * new_width < rule.min_pixels:
        beta = math.sqrt(rule.min_pixels / (height * width))
        new_height = math.ceil(height * beta / factor) * factor
        new_width = math.ceil(width * beta / factor) * factor
    return new_width, new_height


def smart_sizes(widths: Ints, heights: Ints, rule: SizeRule) -> tuple[Ints, Ints]:
    """`smart_size` of many images: (widths, heights), int64 of the same shape, -1 where it gives None.

    Every float64 operation is the scalar's, in the same order, and all are correctly rounded by IEEE 754 (division,
    product, square root; rint rounds half to even as `round` does): so the twins agree on every size.
    """
    is_fine = (widths > 0) & (heights > 0)
    width = np.where(is_fine, widths, 1).astype(np.float64)
    height = np.where(is_fine, heights, 1).astype(np.float64)
    is_fine &= np.maximum(width, height) / np.minimum(width, height) <= MAX_ASPECT
    factor = float(rule.factor)
    new_width, new_height = np.rint(width / factor) * factor, np.rint(height / factor) * factor
    area = new_width * new_height

    too_large = area > rule.max_pixels
    beta = np.sqrt(width * height / rule.max_pixels)
    new_width = np.where(too_large, np.maximum(factor, np.floor(width / beta / factor) * factor), new_width)
    new_height = np.where(too_large, np.maximum(factor, np.floor(height / beta / factor) * factor), new_height)

    too_small = area < rule.min_pixels
    beta = np.sqrt(rule.min_pixels / (width * height))
    new_width = np.where(too_small, np.ceil(width * beta / factor) * factor, new_width)
    new_height = np.where(too_small, np.ceil(height * beta / factor) * factor, new_height)
    return (
        np.where(is_fine, new_width, -1).astype(np.int64),
        np.where(is_fine, new_height, -1).astype(np.int64),
    )


def one_size(found: tuple[Ints, Ints]) -> Size | None:
    """The size in columns of length 1; None for -1."""
    width, height = int(found[0][0]), int(found[1][0])
    return None if width < 0 else (width, height)


def glm_sizes(widths: Ints, heights: Ints, rule: SizeRule) -> tuple[Ints, Ints]:
    """GLM-4V: both sides grow by the factor that the shorter one needs, and are cut to whole pixels."""
    is_fine = (widths > 0) & (heights > 0)
    wide, high = np.where(is_fine, widths, 1), np.where(is_fine, heights, 1)
    scale = np.maximum(rule.factor / high, rule.factor / wide)
    is_thin = np.minimum(wide, high) < rule.factor
    wide = np.where(is_thin, np.trunc(wide * scale), wide).astype(np.int64)
    high = np.where(is_thin, np.trunc(high * scale), high).astype(np.int64)
    return smart_sizes(np.where(is_fine, wide, 0), np.where(is_fine, high, 0), rule)


def paddle_sizes(widths: Ints, heights: Ints, rule: SizeRule) -> tuple[Ints, Ints]:
    """PaddleOCR-VL: a short side becomes one multiple and the other follows, rounded; the height comes first."""
    is_fine = (widths > 0) & (heights > 0)
    wide, high = np.where(is_fine, widths, 1), np.where(is_fine, heights, 1)
    is_low = high < rule.factor
    wide = np.where(is_low, np.rint(wide * rule.factor / high), wide).astype(np.int64)
    high = np.where(is_low, rule.factor, high)
    is_narrow = wide < rule.factor
    high = np.where(is_narrow, np.rint(high * rule.factor / np.maximum(wide, 1)), high).astype(np.int64)
    wide = np.where(is_narrow, rule.factor, wide)
    return smart_sizes(np.where(is_fine, wide, 0), np.where(is_fine, high, 0), rule)


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
