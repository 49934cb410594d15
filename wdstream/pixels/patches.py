"""The patch layout of Qwen's vision towers, in uint8: pixels -> one row of bytes per patch, written once into place.

    image (H, W, 3) = (gh/m, m, P, gw/m, m, P, 3)       gh x gw patches of P x P pixels, merged m x m
                    -> (gh/m, gw/m, m, m, P, P, 3)       = (gh gw, P P 3)

The patches are in the order of `Qwen2VLImageProcessor.patchify` in transformers. Inside a patch the bytes stay pixel
by pixel: rows of P pixels move as they are, at half the speed of a plain copy. Separating the channels here would take
ten times as long; `normalise_patches` does it on the device, together with the temporal copies.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.pixels.grey import is_grey
from wdstream.records import CHANNELS, Pixels

BAND_PIXELS = 160 << 10
"""Grey pixels handled at a time, about: with what is made of them they stay in a core's own cache."""
_WORD = np.dtype("<u2")


def patchify(image: Pixels, *, patch_size: int, merge_size: int, out: NDArray[np.uint8]) -> None:
    """Write the patches of an image into a buffer. A grey image (channel stride 0) is read once, not three times.

    Args:
        image: uint8 (height, width, 3); both sides multiples of `patch_size * merge_size`.
        patch_size: P, pixels of a patch's side.
        merge_size: m, patches of a merged block's side.
        out: uint8 (num_patches, P * P * 3), contiguous; rows of a larger buffer will do.

    Raises:
        ValueError: sides that are no such multiples, or a buffer of another shape.
    """
    block = patch_size * merge_size
    height, width, num_channels = image.shape
    num_patches = (height // patch_size) * (width // patch_size)
    if num_channels != CHANNELS or height % block or width % block or not num_patches:
        raise ValueError(f"patchify wants an image of (height, width, 3) in multiples of {block} px; got {image.shape}")
    wanted = (num_patches, patch_size * patch_size * CHANNELS)
    if out.shape != wanted or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"patchify wants a contiguous uint8 buffer of {wanted}; got {out.dtype} {out.shape}")
    if is_grey(image):
        _patchify_grey(image[..., :1], patch_size, merge_size, out)
    else:
        _gather(image, patch_size, merge_size, out)


def _patchify_grey(plane: NDArray[np.uint8], patch_size: int, merge_size: int, out: NDArray[np.uint8]) -> None:
    """(h, w, 1) -> (num_patches, P * P * 3): patches of one channel, then that channel three times."""
    height, width, _ = plane.shape
    block = patch_size * merge_size
    band_height = max(1, BAND_PIXELS // (width * block)) * block
    for top in range(0, height, band_height):
        band = plane[top : top + band_height]
        grey = np.empty(band.size, np.uint8)
        _gather(band, patch_size, merge_size, grey)
        _as_rgb(grey, out.reshape(-1)[CHANNELS * top * width :][: CHANNELS * band.size])


def _as_rgb(grey: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write every byte three times, two pixels as three words: aa ab bb; a sixth of one broadcast assignment's time."""
    num_pairs = len(grey) // 2
    pairs = grey[: 2 * num_pairs].view(_WORD)
    words = out[: 6 * num_pairs].view(_WORD).reshape(-1, 3)
    first, second = pairs & _WORD.type(255), pairs >> _WORD.type(8)
    words[:, 0] = np.multiply(first, _WORD.type(257), out=first)
    words[:, 1] = pairs
    words[:, 2] = np.multiply(second, _WORD.type(257), out=second)
    out[6 * num_pairs :] = grey[2 * num_pairs :]


def _gather(pixels: NDArray[np.uint8], patch_size: int, merge_size: int, out: NDArray[np.uint8]) -> None:
    """(h, w, c) pixels -> patch order, in a contiguous buffer of as many bytes; c is 3, or 1 for grey."""
    height, width, num_channels = pixels.shape
    if not pixels[0].flags.c_contiguous:  # a crop will do, but each of its rows must be in one piece
        pixels = np.ascontiguousarray(pixels)
    rows, columns = height // (patch_size * merge_size), width // (patch_size * merge_size)
    row_bytes = patch_size * num_channels
    row_of_patch = np.dtype((np.void, row_bytes))  # moves as one item
    stored = pixels.reshape(rows, merge_size, patch_size, columns, merge_size, row_bytes).view(row_of_patch)[..., 0]
    ordered = out.reshape(rows, columns, merge_size, merge_size, patch_size, row_bytes).view(row_of_patch)[..., 0]
    ordered[:] = stored.transpose(0, 3, 1, 4, 2)
