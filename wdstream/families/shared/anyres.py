"""The arithmetic of LLaVA's "anyres": which grid of squares an image is cut into, and which of its features are kept.

The rules are `select_best_resolution` and `get_patch_output_size` of transformers/image_processing_utils.py and
`_get_unpadded_features` of its processing_llava_onevision.py, vectorised; float64 operations are theirs, one by one.
"""

import math
from collections.abc import Sequence

import numpy as np

from wdstream.records import Ints, Size

SHRINK_ABOVE = 1.1
"""Features are shrunk when their sides would be longer than wanted by more than this factor."""


def best_grids(widths: Ints, heights: Ints, grids: Sequence[tuple[int, int]], side: int) -> tuple[Ints, Ints]:
    """The (columns, rows) that keep most pixels of each image, and of those the ones that waste least; earlier first.

    Args:
        widths, heights: of the images in pixels, at least 1.
        grids: (columns, rows) to choose from.
        side: pixels of a square.
    """
    most = np.zeros_like(widths)
    least = np.full(widths.shape, np.iinfo(np.int64).max)
    best_columns, best_rows = np.ones_like(widths), np.ones_like(heights)
    for columns, rows in grids:
        wide, high = columns * side, rows * side
        scale = np.minimum(wide / widths, high / heights)
        kept = (widths * scale).astype(np.int64) * (heights * scale).astype(np.int64)
        kept = np.minimum(kept, widths * heights)
        wasted = wide * high - kept
        is_better = (kept > most) | ((kept == most) & (wasted < least))
        most, least = np.where(is_better, kept, most), np.where(is_better, wasted, least)
        best_columns = np.where(is_better, columns, best_columns)
        best_rows = np.where(is_better, rows, best_rows)
    return best_columns, best_rows


def kept_features(widths: Ints, heights: Ints, across: Ints, down: Ints, limit: int) -> tuple[Ints, Ints]:
    """(across, down): features of images on grids of so many, without those of the padding and shrunk to the limit.

    The side that the image does not fill is cut back by whole pairs of features. In whole numbers here: transformers
    rounds a float product to seven digits before it cuts, which gives the same for every image below 10**7 pixels a
    side, because a fraction of such numbers is an integer or at least 10**-7 away from one.

    Args:
        widths, heights: of the images in pixels, at least 1.
        across, down: features of the grids before the padding is dropped.
        limit: features wanted at most.
    """
    is_wide = widths / heights > across / down
    filled_down, filled_across = heights * across // widths, widths * down // heights
    down, across = (
        np.where(is_wide, down - (down - filled_down) // 2 * 2, down),
        np.where(is_wide, across, across - (across - filled_across) // 2 * 2),
    )
    ratio = np.sqrt(down * across / limit)
    ratio = np.where(ratio > SHRINK_ABOVE, ratio, 1.0)
    return (across // ratio).astype(np.int64), (down // ratio).astype(np.int64)


def fitted_size(image: Size, canvas: Size) -> Size:
    """The size in pixels at which an image fits a canvas, its aspect ratio kept; the free side is rounded up."""
    scale_across, scale_down = canvas[0] / image[0], canvas[1] / image[1]
    if scale_across < scale_down:
        return canvas[0], min(math.ceil(image[1] * scale_across), canvas[1])
    return min(math.ceil(image[0] * scale_down), canvas[0]), canvas[1]
