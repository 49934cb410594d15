from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from wdstream.pixels.grey import grey_as_rgb
from wdstream.pixels.patches import patchify
from wdstream.records import Pixels

QWEN2_5 = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
QWEN3 = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}


def laid_out(image: Pixels, patch_size: int = 14, merge_size: int = 2, **_: Any) -> np.ndarray:
    num_patches = image.shape[0] * image.shape[1] // patch_size**2
    out = np.full((num_patches, 3 * patch_size**2), 77, np.uint8)
    patchify(image, patch_size=patch_size, merge_size=merge_size, out=out)
    return out


@pytest.mark.parametrize("family", [QWEN2_5, QWEN3], ids=["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("blocks", [(1, 1), (3, 5), (21, 2), (9, 17)])
def test_layout_is_the_processors(family: dict[str, int], blocks: tuple[int, int]) -> None:
    """Exactly: its patches with rescaling and normalising off are the same bytes, channels parted and repeated."""
    block = family["patch_size"] * family["merge_size"]
    image = np.random.default_rng(1).integers(0, 256, (blocks[0] * block, blocks[1] * block, 3), dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(**family, do_resize=False, do_rescale=False, do_normalize=False)
    processed = processor(image, return_tensors="np")
    patches = laid_out(image, **family)
    planes = patches.reshape(len(patches), 1, -1, 3).transpose(0, 3, 1, 2)
    temporal = np.repeat(planes, family["temporal_patch_size"], axis=2)
    assert np.array_equal(processed["pixel_values"], temporal.reshape(len(patches), -1))
    assert processed["image_grid_thw"].tolist() == [[1, blocks[0] * 2, blocks[1] * 2]]


def test_order_of_patches() -> None:
    """Blocks of 2x2 patches in reading order, patches in reading order inside a block, pixel by pixel."""
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, :, 0] = np.arange(32).reshape(4, 8)
    image[:, :, 1] = 100
    patches = laid_out(image, patch_size=1, merge_size=2)
    assert patches[:, 0].tolist() == [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15] + [
        16 + value for value in (0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15)
    ]
    assert patches[:, 1].tolist() == [100] * 32


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 6),
    patch_size=st.sampled_from([1, 2, 14, 16]),
    merge_size=st.sampled_from([1, 2, 4]),
    view=st.sampled_from(["plain", "grey", "crop", "mirrored", "turned"]),
)
def test_any_view_of_pixels(rows: int, columns: int, patch_size: int, merge_size: int, view: str) -> None:
    block = patch_size * merge_size
    height, width = rows * block, columns * block
    source = np.random.default_rng(0).integers(0, 256, (height + 9, width + 7, 3), dtype=np.uint8)
    image = {
        "plain": np.ascontiguousarray(source[:height, :width]),
        "grey": grey_as_rgb(source[:height, :width, 1]),
        "crop": source[5 : height + 5, 3 : width + 3],
        "mirrored": source[:height, :width][::-1, ::-1],
        "turned": np.ascontiguousarray(source[:height, :width].swapaxes(0, 1)).swapaxes(0, 1),
    }[view]
    parts = (rows, merge_size, patch_size, columns, merge_size, patch_size, 3)
    wanted = image.reshape(parts).transpose(0, 3, 1, 4, 2, 5, 6).reshape(-1, 3 * patch_size**2)
    assert np.array_equal(laid_out(image, patch_size, merge_size), wanted)


def test_writes_into_its_rows_of_a_larger_buffer_only() -> None:
    buffer = np.full((12, 588), 7, np.uint8)
    patchify(np.full((28, 56, 3), 200, np.uint8), patch_size=14, merge_size=2, out=buffer[2:10])
    assert buffer[:, 0].tolist() == [7, 7] + [200] * 8 + [7, 7]


@pytest.mark.parametrize("shape", [(28, 30, 3), (27, 28, 3), (0, 28, 3), (28, 28, 4), (14, 14, 3)])
def test_refuses_other_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"an image of \(height, width, 3\) in multiples of 28 px"):
        patchify(np.zeros(shape, np.uint8), patch_size=14, merge_size=2, out=np.zeros((4, 588), np.uint8))


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((3, 588), np.uint8),
        np.zeros((4, 587), np.uint8),
        np.zeros((4, 588), np.int8),
        np.zeros((588, 4), np.uint8).T,
    ],
)
def test_refuses_other_buffers(out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"a contiguous uint8 buffer of \(4, 588\)"):
        patchify(np.zeros((28, 28, 3), np.uint8), patch_size=14, merge_size=2, out=out)
