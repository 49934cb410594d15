"""Pixels against the family's own image processor on the same tiles: layout exact, resize within 2 grey levels.

Spans: families, pixels, batches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from tests.helpers.paths import PAGES
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.records import ImageSegment, LabelledPage, Pixels, Size

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl"]


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[Family, Any]:
    path = tiny_models[request.param]
    return load_family(path), AutoImageProcessor.from_pretrained(path)


def real_page() -> Pixels:
    """A shipped page, one with photographs or colour where there is one."""
    path = max(PAGES.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    return np.asarray(Image.open(path).convert("RGB")).copy()


def our_inputs(family: Family, tiles: list[Pixels]) -> dict[str, Any]:
    """Through sample, pack, collate and model_inputs, as in training."""
    page = LabelledPage(
        key="k", tiles=tuple(tiles), segments=tuple(ImageSegment(index=number) for number in range(len(tiles)))
    )
    batch = collate([encode_pack([build_sample(page, family)], family)], family)
    assert batch["pixel_values"].dtype == torch.uint8
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def processor_inputs(processor: Any, tiles: list[Pixels]) -> dict[str, Any]:
    return dict(processor(images=[Image.fromarray(tile) for tile in tiles], return_tensors="pt"))


def crops(page: Pixels, sizes: list[Size]) -> list[Pixels]:
    """Crops of a page at these sizes, from places spread over it."""
    tiles = []
    for number, (width, height) in enumerate(sizes):
        top = (number * 131) % max(1, page.shape[0] - height)
        left = (number * 57) % max(1, page.shape[1] - width)
        tiles.append(page[top : top + height, left : left + width])
    return tiles


def test_layout_is_exact_where_nothing_is_resized(both: tuple[Family, Any]) -> None:
    family, processor = both
    unit = family.size_multiple
    tiles = crops(real_page(), [(unit * 12, unit * 20), (unit * 25, unit * 11), (unit * 16, unit * 16)])
    ours, theirs = our_inputs(family, tiles), processor_inputs(processor, tiles)
    assert ours["image_grid_thw"].tolist() == theirs["image_grid_thw"].tolist()
    assert ours["pixel_values"].shape == theirs["pixel_values"].shape
    # One float32 rounding of values up to 2.2: no byte is in another place.
    torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"], rtol=0, atol=5e-7)


def grey_levels(family: Any, processor: Any, tiles: list[Pixels]) -> torch.Tensor:
    """Differences to the processor in grey levels of 0..255, for every value of every patch."""
    ours, theirs = our_inputs(family, tiles), processor_inputs(processor, tiles)
    assert ours["image_grid_thw"].tolist() == theirs["image_grid_thw"].tolist()
    std = torch.tensor(family.images.pixels.std).view(1, 3, 1)
    differences: torch.Tensor = (
        255 * std * (ours["pixel_values"] - theirs["pixel_values"]).view(len(ours["pixel_values"]), 3, -1).abs()
    )
    return differences


def test_resize_is_within_two_grey_levels(both: tuple[Family, Any]) -> None:
    """The same antialiased bicubic; intermediate values are rounded in another way."""
    family, processor = both
    page = real_page()
    unit = family.size_multiple
    near = [(unit * 17 - 3, unit * 25 - 5), (unit * 20 - 8, unit * 9 - 2), (unit * 8, unit * 12 - 9)]
    levels = grey_levels(family, processor, crops(page, [*near, (unit * 26 - 3, unit * 40 - 5)]))
    assert float(levels.max()) <= 2.01
    assert float(levels.mean()) <= 0.01


def test_resize_where_pillow_takes_the_height_first(both: tuple[Family, Any]) -> None:
    """torch (and so the processor's torchvision backend) always resizes the width first. Pillow 13 begins with the
    height where that shrinks while the width grows; what bicubic overshoots is then cut off at another place."""
    family, processor = both
    unit = family.size_multiple
    levels = grey_levels(family, processor, crops(real_page(), [(unit * 23 - 4, unit * 13 + 6)]))
    assert float(levels.max()) <= 10
    assert float(levels.mean()) <= 0.3


def test_half_precision_is_the_rounded_float(both: tuple[Family, Any]) -> None:
    family, _ = both
    page = LabelledPage(key="k", tiles=(real_page()[:320, :448],), segments=(ImageSegment(index=0),))
    batch = collate([encode_pack([build_sample(page, family)], family)], family)
    exact = family.model_inputs(batch, device="cpu", dtype=torch.float32)["pixel_values"]
    half = family.model_inputs(batch, device="cpu", dtype=torch.bfloat16)["pixel_values"]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, exact.to(torch.bfloat16), rtol=0, atol=0)
