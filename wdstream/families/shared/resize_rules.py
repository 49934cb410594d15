"""Rules for the size of an image, for whole columns of sizes: each a frozen object that a family's file names.

    SmartSize      Qwen-VL: sides are multiples of a factor, the area between two bounds, the aspect ratio as near as
                   that allows; thin images are enlarged first in GLM-4V and PaddleOCR-VL, in different roundings
    BudgetSize     Gemma 4: as large as a budget of patches allows; small images are enlarged to it as well
    ShrunkSize     Pixtral: shrunk where a side is above a limit, then rounded up

The rules are `smart_resize` of transformers/models/{qwen2_vl,glm4v,paddleocr_vl}, `get_aspect_ratio_preserving_size` of
gemma4 and `get_resize_output_image_size` of pixtral (image_processing_pil_*.py). float64 operations are theirs, one by
one and in their order, and all are correctly rounded by IEEE 754 (division, product, square root; rint rounds half to
even as `round` does), so every size agrees.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wdstream.records import Ints

MAX_ASPECT = 200
EnlargeThin = Callable[[Ints, Ints, int], tuple[Ints, Ints]]
"""(widths, heights, factor) of at least 1 -> (widths, heights), sides shorter than the factor enlarged to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmartSize:
    """Qwen-VL's rule.

    Attributes:
        factor: patch size * merge size, in pixels.
        min_pixels, max_pixels: bounds of the area.
        enlarge_thin: what is done first, before the aspect ratio counts.
    """

    factor: int
    min_pixels: float
    max_pixels: float
    enlarge_thin: EnlargeThin | None = None

    @property
    def refuses(self) -> str:
        """Why an image is refused."""
        return f"an aspect ratio above {MAX_ASPECT}"

    def sizes(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(widths, heights) after resizing; -1 where the aspect ratio is above 200 or a side is 0."""
        is_fine = (widths > 0) & (heights > 0)
        wide, high = np.where(is_fine, widths, 1), np.where(is_fine, heights, 1)
        if self.enlarge_thin is not None:
            wide, high = self.enlarge_thin(wide, high, self.factor)
        width, height, factor = wide.astype(np.float64), high.astype(np.float64), float(self.factor)
        is_fine &= np.maximum(width, height) / np.minimum(width, height) <= MAX_ASPECT
        new_width, new_height = np.rint(width / factor) * factor, np.rint(height / factor) * factor
        area = new_width * new_height

        too_large = area > self.max_pixels
        beta = np.sqrt(width * height / self.max_pixels)
        new_width = np.where(too_large, np.maximum(factor, np.floor(width / beta / factor) * factor), new_width)
        new_height = np.where(too_large, np.maximum(factor, np.floor(height / beta / factor) * factor), new_height)

        too_small = area < self.min_pixels
        beta = np.sqrt(self.min_pixels / (width * height))
        new_width = np.where(too_small, np.ceil(width * beta / factor) * factor, new_width)
        new_height = np.where(too_small, np.ceil(height * beta / factor) * factor, new_height)
        return (
            np.where(is_fine, new_width, -1).astype(np.int64),
            np.where(is_fine, new_height, -1).astype(np.int64),
        )


def enlarge_both(widths: Ints, heights: Ints, factor: int) -> tuple[Ints, Ints]:
    """GLM-4V: both sides grow by the factor that the shorter one needs, and are cut to whole pixels."""
    scale = np.maximum(factor / heights, factor / widths)
    is_thin = np.minimum(widths, heights) < factor
    wide, high = (np.where(is_thin, np.trunc(sides * scale), sides).astype(np.int64) for sides in (widths, heights))
    return wide, high


def enlarge_in_turn(widths: Ints, heights: Ints, factor: int) -> tuple[Ints, Ints]:
    """PaddleOCR-VL: a short side becomes one multiple and the other follows, rounded; the height comes first."""
    is_low = heights < factor
    wide = np.where(is_low, np.rint(widths * factor / heights), widths).astype(np.int64)
    high = np.where(is_low, factor, heights)
    is_narrow = wide < factor
    high = np.where(is_narrow, np.rint(high * factor / np.maximum(wide, 1)), high).astype(np.int64)
    return np.where(is_narrow, factor, wide), high


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSize:
    """Gemma 4's rule: both sides are scaled by the factor that would fill the budget exactly, and rounded down.

    A strip thinner than one multiple is one multiple high, and as long as its aspect ratio in whole multiples, at most
    as long as the budget.

    Attributes:
        factor: pixels; sides are multiples of it.
        max_blocks: squares of that side an image has at most.
    """

    factor: int
    max_blocks: int

    @property
    def min_pixels(self) -> int:
        """Area of one block."""
        return self.factor**2

    @property
    def max_pixels(self) -> int:
        """Area that a full budget has."""
        return self.max_blocks * self.factor**2

    @property
    def refuses(self) -> str:
        """Why an image is refused."""
        return "it is empty"

    def sizes(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(widths, heights) after resizing; -1 where a side is 0."""
        is_fine = (widths > 0) & (heights > 0)
        wide, high = np.where(is_fine, widths, 1), np.where(is_fine, heights, 1)
        scale = np.sqrt(self.max_pixels / (wide * high))
        columns = np.floor(scale * wide / self.factor).astype(np.int64)
        rows = np.floor(scale * high / self.factor).astype(np.int64)
        is_low, is_narrow = rows == 0, columns == 0
        columns = np.where(is_low, np.minimum(wide // high, self.max_blocks), np.where(is_narrow, 1, columns))
        rows = np.where(is_narrow, np.minimum(high // wide, self.max_blocks), np.where(is_low, 1, rows))
        return np.where(is_fine, columns * self.factor, -1), np.where(is_fine, rows * self.factor, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrunkSize:
    """Pixtral's rule.

    Attributes:
        longest_edge: pixels; larger images are shrunk so that neither side is above it.
        multiple: pixels; sides are then rounded up to multiples of it.
        least: pixels of the side of a merged patch; an image without a whole one is refused.
    """

    longest_edge: int
    multiple: int
    least: int

    @property
    def min_pixels(self) -> int:
        """Area of one merged patch."""
        return self.least**2

    @property
    def max_pixels(self) -> int:
        """Area of the largest square."""
        return self.longest_edge**2

    @property
    def refuses(self) -> str:
        """Why an image is refused."""
        return "no merged patch is left of it"

    def sizes(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(widths, heights) after resizing; -1 where no merged patch is left."""
        is_fine = (widths > 0) & (heights > 0)
        wide, high = np.maximum(widths, 1), np.maximum(heights, 1)
        ratio = np.maximum(high / self.longest_edge, wide / self.longest_edge)
        wide, high = (np.where(ratio > 1, np.floor(s / ratio), s).astype(np.int64) for s in (wide, high))
        wide, high = (((sides - 1) // self.multiple + 1) * self.multiple for sides in (wide, high))
        is_fine &= np.minimum(wide, high) >= self.least
        return np.where(is_fine, wide, -1), np.where(is_fine, high, -1)
