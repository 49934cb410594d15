"""M-RoPE positions equal the models' own get_rope_index, document by document."""

from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Glm4vModel, PaddleOCRVLModel, Qwen2_5_VLModel, Qwen2VLModel, Qwen3VLModel

from wdstream.errors import FamilyError
from wdstream.families.shared.attention import MropePositions

MODELS = {
    "qwen2_vl": Qwen2VLModel,
    "qwen2_5_vl": Qwen2_5_VLModel,
    "qwen3_vl": Qwen3VLModel,
    "glm4v": Glm4vModel,
    "paddleocr_vl": PaddleOCRVLModel,
}


def model_positions(model: Any, is_image: np.ndarray, grids: list[tuple[int, int]]) -> np.ndarray:
    """`get_rope_index` of a model class on a document, without building the model."""
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=4)
    stub = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    stub.get_vision_position_ids = MethodType(model.get_vision_position_ids, stub)
    grid_thw = torch.tensor([(1, 2 * rows, 2 * columns) for columns, rows in grids], dtype=torch.long)
    ids = torch.zeros(1, len(is_image), dtype=torch.long)
    types = torch.from_numpy(is_image.astype(np.int32))[None]
    positions, _ = model.get_rope_index(stub, ids, types, image_grid_thw=grid_thw if grids else None)
    text: np.ndarray = positions[:, 0].numpy()
    return text


def document(parts: list[int | tuple[int, int]]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """is_image and grids of text runs (numbers of tokens) and images (columns, rows)."""
    runs = [np.zeros(p, bool) if isinstance(p, int) else np.ones(p[0] * p[1], bool) for p in parts]
    return np.concatenate([np.zeros(0, bool), *runs]), [p for p in parts if not isinstance(p, int)]


def mrope_positions(is_image: np.ndarray, grids: list[tuple[int, int]]) -> np.ndarray:
    return MropePositions(1, lambda columns, rows: (columns, rows)).positions(is_image.astype(np.int64), grids)


GRID = st.tuples(st.integers(1, 12), st.integers(1, 12))


@pytest.mark.parametrize("name", MODELS)
@given(st.lists(st.tuples(GRID, st.integers(1, 9)), max_size=6), st.integers(0, 9))
@settings(deadline=None, max_examples=120)
def test_equal_to_the_model(name: str, images: list[tuple[tuple[int, int], int]], lead: int) -> None:
    is_image, grids = document([lead, *(part for image in images for part in image)])
    if not len(is_image):
        return
    positions = mrope_positions(is_image, grids)
    assert positions[0].tolist() == list(range(len(is_image)))
    np.testing.assert_array_equal(positions[1:], model_positions(MODELS[name], is_image, grids))


def test_literal_positions() -> None:
    is_image, grids = document([2, (3, 2), 2])
    assert mrope_positions(is_image, grids).tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


def test_ids_and_images_of_different_pages_are_refused() -> None:
    is_image, _ = document([2, (3, 2), 2])
    with pytest.raises(FamilyError, match=r"runs of \[6\] tokens, the images need \[4\]"):
        mrope_positions(is_image, [(2, 2)])
