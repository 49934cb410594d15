"""Gemma 4: sizes, patches and masks against transformers' own; both kinds of models."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText
from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

from tests.helpers.draw import POLICIES
from tests.helpers.hugging_face import load_both
from tests.helpers.paths import PAGES
from tests.helpers.tiled_pages import tile_page
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.gemma4 import Gemma4
from wdstream.families.reference.processor import processor_ids, run_processor
from wdstream.families.registry import load_family
from wdstream.families.shared.resize_rules import BudgetSize
from wdstream.families.shared.resized import one_size
from wdstream.proofs.isolation import without_compiler
from wdstream.records import Sample
from wdstream.testing import assert_no_leak, make_document, make_samples

BUDGETS = [70, 140, 280, 560, 1120]
RULES = {blocks: BudgetSize(factor=48, max_blocks=blocks) for blocks in BUDGETS}


def reference(width: int, height: int, blocks: int) -> tuple[int, int]:
    high, wide = get_aspect_ratio_preserving_size(
        height=height, width=width, patch_size=16, max_patches=9 * blocks, pooling_kernel_size=3
    )
    return wide, high


@pytest.mark.parametrize("blocks", BUDGETS)
@given(st.integers(1, 4096), st.integers(1, 4096))
@settings(deadline=None, max_examples=400)
def test_sizes_are_transformers_rule(blocks: int, width: int, height: int) -> None:
    assert one_size(RULES[blocks], width, height) == reference(width, height, blocks)


@pytest.mark.parametrize("blocks", BUDGETS)
def test_columns_of_sizes(blocks: int) -> None:
    """All small sides, and sides where the exact factor is a whole number: there rounding decides."""
    sides = sorted({*range(1, 60), *range(48, 4097, 144), *(2**power for power in range(13)), 4095, 20000})
    widths, heights = (side.ravel() for side in np.meshgrid(sides, sides))
    wide, high = RULES[blocks].sizes(widths.astype(np.int64), heights.astype(np.int64))
    for place in range(0, len(widths), 2):
        expected = reference(int(widths[place]), int(heights[place]), blocks)
        assert (wide[place], high[place]) == expected, (widths[place], heights[place])


def test_literal_sizes() -> None:
    assert one_size(RULES[280], 1654, 2339) == (672, 912)  # 14 x 19 blocks: 266 tokens
    assert one_size(RULES[280], 1, 1) == (768, 768)
    assert one_size(RULES[280], 4000, 10) == (13440, 48)
    assert one_size(RULES[70], 10, 4000) == (48, 3360)
    assert one_size(RULES[280], 0, 5) is None
    assert [side.tolist() for side in RULES[70].sizes(np.array([0, 9]), np.array([5, 0]))] == [[-1, -1]] * 2


@pytest.fixture(scope="module")
def both(tiny_models: dict[str, Path]) -> tuple[Family, Any]:
    return load_both(tiny_models["gemma4"])


def inputs_of(family: Family, rows: list[list[Sample]]) -> dict[str, Any]:
    batch = collate([encode_pack(row, family) for row in rows], family)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def test_ids_of_a_page(both: tuple[Family, Any]) -> None:
    family, _ = both
    sample = build_sample(make_document("k", [(400, 200), "some text"]), family)
    bos, start, image, end = (family.encoder.find_id(token) for token in ("<bos>", "<|image>", "<|image|>", "<image|>"))
    text = family.encoder.encode("some text")
    assert sample.input_ids.tolist() == [bos, start, *[image] * 55, end, *text, family.eos_id]  # 11 x 5 blocks
    assert (sample.num_patches, family.prefix_tokens) == (495, 1)


def test_ids_are_the_processors(both: tuple[Family, Any]) -> None:
    family, processor = both
    for size, text in [((620, 877), "Ein Text.\nMit Zeilen.\n"), ((80, 900), ""), ((500, 500), "漢字 <|image|> 😀")]:
        for policy in POLICIES.values():
            page = tile_page(size, text.replace("<|image|>", ""), policy)
            ours = build_sample(page, family).input_ids.tolist()
            assert ours == [*processor_ids(processor, family, page), family.eos_id]


def crops(sizes: list[tuple[int, int]]) -> list[np.ndarray[Any, Any]]:
    """Crops of a shipped page."""
    path = max(PAGES.rglob("*.jpg"), key=lambda file: file.stat().st_size)
    page = np.asarray(Image.open(path).convert("RGB")).copy()
    return [
        page[place * 9 : place * 9 + high, place * 7 : place * 7 + wide] for place, (wide, high) in enumerate(sizes)
    ]


def pixel_inputs(family: Family, tiles: list[Any]) -> dict[str, Any]:
    sample = build_sample(make_document("k", [(tile.shape[1], tile.shape[0]) for tile in tiles]), family)
    batch = collate([encode_pack([replace(sample, tiles=tuple(tiles))], family)], family)
    assert batch["pixel_values"].dtype == torch.uint8
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def test_patches_and_their_places_are_the_processors(both: tuple[Family, Any]) -> None:
    """Where nothing is resized every value is where the processor has it; its padding fills the budget."""
    family, _ = both
    tiles = crops([(480, 336), (336, 480), (384, 384)])
    theirs = AutoImageProcessor.from_pretrained(family.model_dir)(
        images=[Image.fromarray(tile) for tile in tiles], return_tensors="pt"
    )
    ours = pixel_inputs(family, tiles)
    longest = ours["pixel_values"].shape[1]
    assert longest == 630
    torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"][:, :longest], rtol=0, atol=5e-7)
    assert torch.equal(ours["image_position_ids"], theirs["image_position_ids"][:, :longest])
    assert (ours["image_position_ids"][2, 576:] == -1).all()


def test_resize_is_within_two_grey_levels(both: tuple[Family, Any]) -> None:
    family, _ = both
    tiles = crops([(700, 520), (430, 900)])
    theirs = AutoImageProcessor.from_pretrained(family.model_dir)(
        images=[Image.fromarray(tile) for tile in tiles], return_tensors="pt"
    )
    ours = pixel_inputs(family, tiles)["pixel_values"]
    levels = 255 * (ours - theirs["pixel_values"][:, : ours.shape[1]]).abs()
    assert float(levels.max()) <= 2.01
    assert float(levels.mean()) <= 0.05


@pytest.fixture(scope="module")
def causal(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as the smaller published models are: no attention in both directions."""
    copy = Path(shutil.copytree(tiny_models["gemma4"], tmp_path_factory.mktemp("causal") / "gemma4"))
    return edit(copy, None)


def edit(path: Path, kind: str | None) -> Path:
    tree = json.loads((path / "config.json").read_text(encoding="utf-8"))
    tree["text_config"]["use_bidirectional_attention"] = kind
    (path / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    return path


def load(path: Path, attention: str) -> torch.nn.Module:
    """The tiny model with weights scaled by 3, so that attention matters in its logits."""
    model: torch.nn.Module = AutoModelForImageTextToText.from_pretrained(
        path, attn_implementation=attention, dtype=torch.float32
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3.0)
    return model.eval()


def test_causal_models_need_positions_only(causal: Path) -> None:
    family = load_family(causal)
    assert type(family) is Gemma4
    samples = make_samples(family)
    assert "attention_mask" not in inputs_of(family, [samples])
    for attention in family.attention:
        with without_compiler():
            assert_no_leak(load(causal, attention), family.for_attention(attention), samples)
    with pytest.raises(FamilyError, match="wider than the kernels of flash attention take"):
        family.for_attention("flash_attention_2")


@pytest.mark.parametrize("kind", ["vision", "causal"])
def test_alone_is_what_transformers_computes(kind: str, tiny_models: dict[str, Path], causal: Path) -> None:
    """One document longer than the window, by our inputs and by the processor's; its images need no resizing."""
    path = tiny_models["gemma4"] if kind == "vision" else causal
    family, processor = load_both(path)
    assert (family.masks is not None) == (kind == "vision")
    page = make_document("k", ["Before " * 9, (480, 336), "after it " * 9, (336, 480), "the end."])
    theirs = run_processor(processor, family, page, return_tensors="pt")
    model = load(path, "sdpa")
    with torch.no_grad():
        expected = model(**theirs, use_cache=False).logits[0]
        found = model(**inputs_of(family.for_attention("sdpa"), [[build_sample(page, family)]])).logits[0, :-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_settings_that_do_not_fit_are_refused(causal: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(causal, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")))
    edit(copy, "all")
    with pytest.raises(FamilyError, match="use_bidirectional_attention is 'all'"):
        load_family(copy)
    edit(copy, None)
    settings = json.loads((copy / "preprocessor_config.json").read_text(encoding="utf-8"))
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": True}), encoding="utf-8")
    with pytest.raises(FamilyError, match="switch do_normalize on"):
        load_family(copy)
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "patch_size": 14}), encoding="utf-8")
    with pytest.raises(FamilyError, match=r"are 16 and 3 in config\.json \(vision_config\), 14 and 3"):
        load_family(copy)
