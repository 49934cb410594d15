"""PaliGemma: BOS after the images, prompts both ways, positions from 1, and documents within the window."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from tests.helpers.draw import POLICIES
from tests.helpers.hugging_face import load_both
from tests.helpers.tiled_pages import tile_page
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.paligemma import PaliGemma
from wdstream.families.reference.processor import run_processor
from wdstream.families.registry import load_family
from wdstream.records import Sample, TextSegment
from wdstream.testing import make_document

NAMES = ["paligemma", "paligemma2"]


@pytest.fixture(scope="module", params=NAMES)
def both(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> tuple[Family, Any]:
    return load_both(tiny_models[request.param])


def inputs_of(family: Family, rows: list[list[Sample]]) -> dict[str, Any]:
    batch = collate([encode_pack(row, family) for row in rows], family)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def test_generation_is_read_from_the_language_model(tiny_models: dict[str, Path]) -> None:
    assert type(load_family(tiny_models["paligemma"])) is PaliGemma
    second = load_family(tiny_models["paligemma2"])
    assert (type(second), second.name, second.max_document_tokens) == (PaliGemma, "paligemma2", 512)


def test_ids_of_a_page(both: tuple[Family, Any]) -> None:
    family, _ = both
    image, bos, newline = (family.encoder.find_id(token) for token in ("<image>", "<bos>", "\n"))
    text, label = family.encoder.encode("some text"), family.encoder.encode("\n<row0_col1>")
    page = make_document("k", [(300, 200), "\n<row0_col1>", (20, 20), "some text"])
    page = replace(
        page, segments=(page.segments[0], TextSegment(text="\n<row0_col1>", is_supervised=False), *page.segments[2:])
    )
    sample = build_sample(page, family)
    opening = [*[image] * 16, *label, *[image] * 16, bos, newline]
    assert sample.input_ids.tolist() == [*opening, *text, family.eos_id]
    assert sample.labels.tolist() == [*[-100] * len(opening), *text, family.eos_id]
    assert sample.num_patches == 32
    assert family.prefix_tokens == 2
    assert family.position_rule.positions(sample.input_ids, []).tolist() == [list(range(1, len(sample.input_ids) + 1))]


def test_a_prompt_is_between_bos_and_newline(both: tuple[Family, Any]) -> None:
    family, processor = both
    page = make_document("k", [(50, 50), "what is it?", "a cat"])
    page = replace(
        page, segments=(page.segments[0], TextSegment(text="what is it?", is_supervised=False), page.segments[2])
    )
    theirs = processor(text=["<image>what is it?"], images=[[Image.new("RGB", (50, 50))]], suffix=["a cat"])
    sample = build_sample(page, family)
    assert sample.input_ids.tolist() == theirs["input_ids"][0]
    assert sample.labels.tolist() == np.array(theirs["labels"][0]).tolist()


def test_text_before_images_never_sees_itself(both: tuple[Family, Any]) -> None:
    """Supervised text first: BOS and newline open the document, and what follows is causal."""
    family, _ = both
    sample = build_sample(make_document("k", ["text first", (50, 50), "and after"]), family)
    bos, newline = family.encoder.find_id("<bos>"), family.encoder.find_id("\n")
    assert sample.input_ids[:2].tolist() == [bos, newline]
    mask = inputs_of(family.for_attention("eager"), [[sample]])["attention_mask"][0, 0] == 0
    expected = torch.ones_like(mask).tril()
    expected[0, 1] = True
    assert torch.equal(mask, expected)


def test_planned_is_built_is_the_processors(both: tuple[Family, Any]) -> None:
    family, processor = both
    for size, text in [((620, 877), "Ein Text.\nMit Zeilen.\n"), ((80, 900), ""), ((500, 500), "漢字 <loc0001> 😀")]:
        for policy in POLICIES.values():
            page = tile_page(size, text, policy)
            sample = build_sample(page, family)
            theirs = run_processor(processor, family, page)
            assert sample.input_ids.tolist() == theirs["input_ids"][0]
            assert sample.labels.tolist() == np.array(theirs["labels"][0]).tolist()


def test_alone_is_what_transformers_computes(both: tuple[Family, Any]) -> None:
    """Our mask on one document against the model's own, made from the processor's token types."""
    family, processor = both
    page = tile_page((56, 56), "Some text that is supervised. " * 3, POLICIES["none"])
    sample = build_sample(page, family)
    theirs = {name: torch.as_tensor(np.array(value)) for name, value in run_processor(processor, family, page).items()}
    theirs.pop("labels")
    model = AutoModelForImageTextToText.from_pretrained(
        family.model_dir, attn_implementation="eager", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        expected = model(**theirs, use_cache=False).logits
        found = model(**inputs_of(family.for_attention("eager"), [[sample]])).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_document_longer_than_the_window_is_refused(tiny_models: dict[str, Path]) -> None:
    long = make_document("the/page", [(50, 50), "word " * 600])
    with pytest.raises(FamilyError, match=r"page 'the/page' has \d+ tokens, more than the 512 that family paligemma2"):
        build_sample(long, load_family(tiny_models["paligemma2"]))
    assert build_sample(long, load_family(tiny_models["paligemma"])).num_tokens > 512


def test_canvas_and_tower_must_agree(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("*.safetensors")
    copy = Path(shutil.copytree(tiny_models["paligemma"], tmp_path / "model", ignore=ignored))
    settings = json.loads((copy / "preprocessor_config.json").read_text(encoding="utf-8"))
    settings["size"] = {"height": 448, "width": 448}
    (copy / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(FamilyError, match="makes images of 448 pixels, the vision tower wants 56"):
        load_family(copy)
