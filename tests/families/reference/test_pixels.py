"""`pixels: reference` against `fast`: the processor's own values, within 2 grey levels, in the same places."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.reference.pixels import with_reference_pixels
from wdstream.families.registry import load_family
from wdstream.pixels.grey import grey_as_rgb
from wdstream.records import ImageSegment, LabelledPage, Pixels, Segment, TextSegment

FAMILIES = [
    *("qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3", "got_ocr2"),
    *("gemma4", "paligemma", "glm4v", "paddleocr_vl", "lighton_ocr", "mistral3", "aya_vision"),
]


def page_tiles() -> list[Pixels]:
    """Crops of a colour page and a grey one, of sizes that every family resizes."""
    path = max(PAGES.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    page = np.asarray(Image.open(path).convert("RGB")).copy()
    grey = grey_as_rgb(np.ascontiguousarray(page[:300, :500, 1]))
    return [page[200:620, 100:573], grey, page[900:1340, 300:739]]


def batch_of(family: Family, tiles: list[Pixels]) -> Batch:
    segments: tuple[Segment, ...] = (
        TextSegment(text="Some words."),
        *(ImageSegment(index=number) for number in range(len(tiles))),
    )
    page = LabelledPage(key="k", tiles=tuple(tiles), segments=segments)
    return collate([encode_pack([build_sample(page, family)], family)] * 2, family)


def inputs_of(family: Family, tiles: list[Pixels]) -> dict[str, Any]:
    return family.model_inputs(batch_of(family, tiles), device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[Family, Family]:
    family = load_family(tiny_models[request.param])
    return family, with_reference_pixels(family)


def test_values_are_within_two_grey_levels(both: tuple[Family, Family]) -> None:
    fast, reference = (inputs_of(family, page_tiles()) for family in both)
    assert fast.keys() == reference.keys()
    for name in fast.keys() - {"pixel_values", "max_length_q", "max_length_k", "use_cache"}:
        torch.testing.assert_close(fast[name], reference[name], rtol=0, atol=0)
    ours, theirs = fast["pixel_values"], reference["pixel_values"]
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    std = float(max(both[0].images.pixels.std))
    levels = 255 * std * (ours - theirs).abs()
    if "image_sizes" in fast:  # padded in other colours, which no tower reads
        sizes = fast["image_sizes"].tolist()
        levels = torch.cat([image[:, :h, :w].flatten() for image, (h, w) in zip(levels, sizes, strict=True)])
    assert float(levels.mean()) < 0.3
    # All but one in a thousand: where Pillow resizes the height first, what bicubic overshoots is cut off elsewhere.
    assert float(np.quantile(levels.numpy(), 0.999)) <= 2.01


def test_text_alone_and_half_precision(both: tuple[Family, Family]) -> None:
    fast, reference = both
    assert inputs_of(reference, []).keys() == inputs_of(fast, []).keys()
    empty = reference.layout([])
    assert {name: len(array) for name, array in empty.items()} == dict.fromkeys(fast.layout([]), 0)
    mixed = collate([encode_pack([], reference), encode_pack([], reference)], reference)
    assert len(mixed["pixel_values"]) == 0
    batch = batch_of(reference, page_tiles()[:1])
    assert batch["pixel_values"].dtype == torch.float32
    half = reference.model_inputs(batch, device="cpu", dtype=torch.bfloat16)["pixel_values"]
    exact = reference.model_inputs(batch, device="cpu", dtype=torch.float32)["pixel_values"]
    assert torch.equal(half, exact.to(torch.bfloat16))


def test_the_family_itself_is_left_alone(both: tuple[Family, Family]) -> None:
    fast, reference = both
    assert fast.layout(page_tiles()[:1])["pixel_values"].dtype == np.uint8
    assert reference.fingerprint == fast.fingerprint
    assert isinstance(reference, type(fast))


def test_a_processor_of_other_shapes_is_refused(tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models["qwen2_5_vl"])
    layout = family.layout
    family.layout = lambda tiles: {**layout(tiles), "pixel_values": np.zeros((7, 5), np.uint8)}  # type: ignore[method-assign]
    with pytest.raises(
        FamilyError, match=r"reference cannot serve family qwen2_5_vl: .*\(16, 1176\), the family \(7, 5\)"
    ):
        with_reference_pixels(family)


@pytest.mark.parametrize("name", ["internvl", "aya_vision", "idefics3"])
def test_images_left_whole_are_split_by_both_alike(name: str, tiny_models: dict[str, Path]) -> None:
    """Whatever the image processor's settings say by themselves: here its processor decides."""
    fast = load_family(tiny_models[name]).for_whole_images()
    assert fast.is_splitting
    tiles = page_tiles()[:2]
    ours, theirs = (inputs_of(family, tiles)["pixel_values"] for family in (fast, with_reference_pixels(fast)))
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().mean()) < 0.01
