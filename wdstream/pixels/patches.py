"""The patch layout of Qwen's vision towers, in uint8: pixels -> one row of bytes per patch, written once into place.

    image (H, W, 3) = (gh/m, m, P, gw/m, m, P, 3)       gh x gw patches of P x P pixels, merged m x m
                    -> (gh/m, gw/m, m, m, 3, P, P)       = (gh gw, 3 P P)

which is the order of `Qwen2VLImageProcessor.patchify` in transformers without its temporal copies; `normalise_patches`
makes those on the device.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.pixels.grey import is_grey
from wdstream.records import Pixels

# Merged rows of patches handled at a time: the scratch buffer of a page stays in the processor's cache.
_BAND_ROWS = 8


def patchify(image: Pixels, *, patch_size: int, merge_size: int, out: NDArray[np.uint8]) -> None:
    """Write the patches of an image into a buffer. A grey image (channel stride 0) is read once, not three times.

    Args:
        image: uint8 (height, width, 3); both sides multiples of `patch_size * merge_size`.
        patch_size: P, pixels of a patch's side.
        merge_size: m, patches of a merged block's side.
        out: uint8 (num_patches, 3 * P * P), contiguous; rows of a larger buffer will do.

    Raises:
        ValueError: sides that are no such multiples, or a buffer of another shape.
    """
    block = patch_size * merge_size
    height, width, num_channels = image.shape
    num_patches = (height // patch_size) * (width // patch_size)
    if num_channels != 3 or height % block or width % block or not num_patches:
        raise ValueError(f"patchify wants an image of (height, width, 3) in multiples of {block} px; got {image.shape}")
    wanted = (num_patches, 3 * patch_size * patch_size)
    if out.shape != wanted or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"patchify wants a contiguous uint8 buffer of {wanted}; got {out.dtype} {out.shape}")
    # Two cheap passes beat one strided copy: first whole pixel rows of each patch move to where the patch lies (runs of
    # P pixels), then the channels of each patch are parted (runs of P * P pixels).
    pixels = image[..., :1] if is_grey(image) else image
    if not pixels[0].flags.c_contiguous:  # a crop will do, but each of its rows must lie in one piece
        pixels = np.ascontiguousarray(pixels)
    for top in range(0, height, _BAND_ROWS * block):
        band = _gather(pixels[top : top + _BAND_ROWS * block], patch_size, merge_size)
        first = top * width // (patch_size * patch_size)
        rows = out[first : first + len(band)].reshape(len(band), 3, patch_size * patch_size)
        rows[:] = band.swapaxes(1, 2)


def _gather(band: NDArray[np.uint8], patch_size: int, merge_size: int) -> NDArray[np.uint8]:
    """(h, w, c) pixels, rows contiguous -> (num_patches, P * P, c) in patch order; c is 3, or 1 for grey."""
    height, width, num_channels = band.shape
    rows, columns = height // (patch_size * merge_size), width // (patch_size * merge_size)
    run = np.dtype((np.void, patch_size * num_channels))  # one row of a patch moves as one item
    runs = band.reshape(rows, merge_size, patch_size, columns, merge_size, patch_size * num_channels).view(run)[..., 0]
    gathered = np.ascontiguousarray(runs.transpose(0, 3, 1, 4, 2))
    return gathered.view(np.uint8).reshape(-1, patch_size * patch_size, num_channels)
