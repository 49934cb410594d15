"""uint8 patches -> what a vision tower takes, on the device: rescale, normalise and temporal copies in one operation.

A processor does this in float32 on the host and ships 4 x T bytes for every byte of pixels (T temporal copies); here
the bytes travel and the device does the arithmetic: (x / 255 - mean) / std = x * scale + shift, rounded once to the
dtype wanted. The result is within one float32 rounding of the processor's.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch

_HIGHEST = 255.0


def normalise_patches(
    patches: torch.Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    temporal_patch_size: int,
    dtype: torch.dtype,
    is_interleaved: bool = False,
) -> torch.Tensor:
    """Rescale to 0..1, normalise each channel, and repeat every patch T times, on the device of the input.

    Args:
        patches: uint8 (num_patches, 3 * P * P), channel by channel, or pixel by pixel when `is_interleaved`.
        mean, std: of each channel, for values in 0..1.
        temporal_patch_size: T.
        dtype: float32, bfloat16 or float16; the arithmetic is float32 in any case.
        is_interleaved: a patch is (P * P, 3), as `patchify` writes it, and its channels are parted here.

    Patches that are floats come from the model's own processor (families/reference/pixels.py): only `dtype` is new.

    Returns:
        `dtype` (num_patches, 3 * T * P * P), for each channel T copies of its P * P values.
    """
    if patches.is_floating_point():
        return patches.to(dtype)
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), patches.device)
    num_patches, patch_bytes = patches.shape
    channels, pixels = len(mean), patch_bytes // len(mean)
    planes = patches.view(num_patches, channels, pixels)
    if is_interleaved:
        planes = patches.view(num_patches, pixels, channels).transpose(1, 2)
        if (
            patches.device.type == "cpu"
        ):  # vector code wants neighbours; on a GPU the strided read costs next to nothing
            planes = planes.contiguous()
    planes = planes.unsqueeze(2).expand(-1, -1, temporal_patch_size, -1)
    normalised = torch.empty(planes.shape, dtype=dtype, device=patches.device)
    # One kernel: reads the bytes, computes in float32 by type promotion, writes `dtype`; the copies are a stride of 0.
    torch.addcmul(shift, planes, scale, out=normalised)
    return normalised.view(num_patches, temporal_patch_size * patch_bytes)


@lru_cache(maxsize=32)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 (channels, 1, 1) each, computed in double; kept, so that a step needs no copy to the device for them."""
    means, stds = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    scale, shift = 1.0 / (_HIGHEST * stds), -means / stds
    shape = (len(mean), 1, 1)
    return scale.float().view(shape).to(device), shift.float().view(shape).to(device)
