"""Sizes of GLM-4V and PaddleOCR-VL: sides shorter than one multiple are enlarged to it, then Qwen-VL's rule holds.

The rules are `smart_resize` of transformers/models/{glm4v,paddleocr_vl}/image_processing_pil_*.py. They enlarge in
different roundings; their aspect ratio counts after that. Each is here for whole columns of sizes; every float64
operation is the scalar's, in the same order.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.families.qwen_sizes import SizeRule, smart_sizes
from wdstream.records import Size

Ints = NDArray[np.int64]


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
