"""Gemma 4's images: padded to one another on the device, and what the tower costs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CHANNELS = 3
NO_POSITION = -1

VISION_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "patch_size": 16,
    "pooling_kernel_size": 3,
}
"""Of `Gemma4VisionConfig`."""


def padded_images(
    patches: "torch.Tensor", grids: "torch.Tensor", *, device: "torch.device | str", dtype: "torch.dtype"
) -> dict[str, "torch.Tensor"]:
    """Keyword arguments of the model, each image padded to the longest; the padding is made on the device.

    Args:
        patches: uint8 (N, P * P * 3) of K images below each other, on the host.
        grids: int64 (K, 2), columns and rows of patches of each image, on the host.
        device: to move to.
        dtype: of the pixels, 0 to 1.

    Returns:
        pixel_values `dtype` (K, longest, P * P * 3) and image_position_ids int64 (K, longest, 2): column and row of a
        patch, -1 where there is none.
    """
    import torch

    from wdstream.pixels.normalise import normalise_patches

    counts = grids.prod(dim=1)  # on the host: reading the longest from a device would wait for it
    longest = int(counts.max())
    places = torch.arange(longest)
    is_real = places < counts[:, None]
    columns = grids[:, :1]
    positions = torch.stack([places % columns, places // columns], dim=-1)
    positions = torch.where(is_real[..., None], positions, NO_POSITION)
    targets = torch.nonzero(is_real.flatten()).flatten()
    moved = patches.to(device, non_blocking=True)
    flat = normalise_patches(moved, mean=(0.0,), std=(1.0,), temporal_patch_size=1, dtype=dtype)
    pixels = torch.zeros((len(grids) * longest, patches.shape[1]), dtype=dtype, device=device)
    pixels.index_copy_(0, targets.to(device, non_blocking=True), flat)
    return {
        "pixel_values": pixels.view(len(grids), longest, -1),
        "image_position_ids": positions.to(device, non_blocking=True),
    }


def tower_shape(vision: Mapping[str, Any]) -> dict[str, int]:
    """The vision part of `plan.cost.training_flops`: grouped queries and gated MLPs, attention over the whole image."""
    width, layers = vision["hidden_size"], vision["num_hidden_layers"]
    heads, key_heads, head_size = (vision[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    block = 2 * width * head_size * (heads + key_heads) + 3 * width * vision["intermediate_size"]
    embed = CHANNELS * vision["patch_size"] ** 2 * width
    return {
        "vision_parameters": embed + layers * block,
        "vision_layers": layers,
        "vision_width": heads * head_size,
    }
