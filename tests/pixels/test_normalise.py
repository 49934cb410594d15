from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from wdstream.pixels.normalise import normalise_patches
from wdstream.pixels.patches import patchify

CLIP: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}  # Qwen2.5-VL
HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def every_value(patch_size: int) -> np.ndarray:
    """An image in which every channel has every grey level."""
    block = 2 * patch_size
    width = block * -(-256 // block)
    levels = np.resize(np.arange(256, dtype=np.uint8), (block, width))
    return np.stack([levels, levels[:, ::-1], np.roll(levels, 100, axis=1)], axis=2)


@pytest.mark.parametrize(("patch_size", "statistics"), [(14, CLIP), (16, HALF)], ids=["qwen2_5_vl", "qwen3_vl"])
def test_equals_the_processor_within_one_float32_rounding(
    patch_size: int, statistics: dict[str, tuple[float, ...]]
) -> None:
    image = every_value(patch_size)
    processor = Qwen2VLImageProcessorPil(
        patch_size=patch_size, do_resize=False, image_mean=statistics["mean"], image_std=statistics["std"]
    )
    wanted = processor(image, return_tensors="pt")["pixel_values"]
    patches = torch.empty((len(wanted), 3 * patch_size**2), dtype=torch.uint8)
    patchify(image, patch_size=patch_size, merge_size=2, out=patches.numpy())
    found = normalise_patches(patches, **statistics, temporal_patch_size=2, dtype=torch.float32, is_interleaved=True)
    assert found.shape == wanted.shape
    one_rounding = np.spacing(np.float32(wanted.abs().max()))
    assert (found - wanted).abs().max() <= one_rounding
    assert len(wanted.unique()) > 250  # the test saw the grey levels it speaks of


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    patches = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 768)
    exact = normalise_patches(patches, **CLIP, temporal_patch_size=1, dtype=torch.float32)
    assert torch.equal(normalise_patches(patches, **CLIP, temporal_patch_size=1, dtype=dtype), exact.to(dtype))


def test_order_of_the_temporal_copies() -> None:
    patches = torch.tensor([[0, 255, 0, 255, 0, 255]], dtype=torch.uint8)  # three channels of two pixels
    found = normalise_patches(patches, **HALF, temporal_patch_size=2, dtype=torch.float32)
    assert found.tolist() == [pytest.approx([-1, 1] * 6, abs=1.2e-7)]
    split = normalise_patches(
        torch.tensor([[10, 20, 30]], dtype=torch.uint8),
        mean=(0, 0, 0),
        std=(1 / 255,) * 3,
        temporal_patch_size=2,
        dtype=torch.float32,
    )
    assert split.round().tolist() == [[10, 10, 20, 20, 30, 30]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_interleaved_patches_give_the_same_values(dtype: torch.dtype) -> None:
    planes = torch.randint(0, 256, (5, 3, 196), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = {**CLIP, "temporal_patch_size": 2, "dtype": dtype}
    wanted = normalise_patches(planes.view(5, 588), **settings)
    found = normalise_patches(planes.transpose(1, 2).reshape(5, 588), **settings, is_interleaved=True)
    assert torch.equal(found, wanted)


def test_no_patches() -> None:
    empty = torch.empty((0, 588), dtype=torch.uint8)
    assert normalise_patches(empty, **CLIP, temporal_patch_size=2, dtype=torch.bfloat16).shape == (0, 1176)


def test_input_is_left_alone() -> None:
    patches = torch.arange(12, dtype=torch.uint8).view(1, 12)
    normalise_patches(patches, **CLIP, temporal_patch_size=2, dtype=torch.float32)
    assert patches.tolist() == [list(range(12))]


class OperationsSeen(TorchDispatchMode):
    """The names of the torch operations that make or write tensors; views and allocations cost nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in ("view", "transpose", "unsqueeze", "expand", "empty"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_interleaved", [False, True])
def test_one_operation_on_a_device(dtype: torch.dtype, is_interleaved: bool) -> None:
    """Off the CPU one kernel reads the bytes and writes `dtype`; the meta device stands for a GPU."""
    settings = {**CLIP, "temporal_patch_size": 2, "dtype": dtype, "is_interleaved": is_interleaved}
    patches = torch.empty((7, 588), dtype=torch.uint8, device="meta")
    normalise_patches(patches, **settings)  # mean and std are brought to the device once
    with OperationsSeen() as seen:
        found = normalise_patches(patches, **settings)
    assert seen.found == ["addcmul"]
    assert (found.shape, found.dtype, found.device.type) == ((7, 1176), dtype, "meta")
