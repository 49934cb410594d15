"""Qwen-VL's rule for the size of an image, one image at a time and for whole columns of an index.

The rule is `smart_resize` of transformers/models/qwen2_vl/image_processing_qwen2_vl.py: both sides become multiples of
`factor`, the area comes to lie in [min_pixels, max_pixels], the aspect ratio stays as close as that allows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Size

Ints = NDArray[np.int64]
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
