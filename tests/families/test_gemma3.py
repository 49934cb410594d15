"""Gemma 3: blocks, masks against transformers' own, and the figure by which its processor differs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from tests.helpers.hugging_face import load_both
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.families.reference.processor import load_processor, processor_ids, run_processor
from wdstream.proofs.doctor import run_doctor
from wdstream.proofs.isolation import measure_isolation
from wdstream.records import Sample
from wdstream.testing import assert_no_leak, make_document, make_samples


@pytest.fixture(scope="module")
def both(tiny_models: dict[str, Path]) -> tuple[Family, Any]:
    return load_both(tiny_models["gemma3"])


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> torch.nn.Module:
    loaded = AutoModelForImageTextToText.from_pretrained(
        tiny_models["gemma3"], attn_implementation=request.param, dtype=torch.float32
    )
    with torch.no_grad():
        for name, weight in loaded.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3.0)
    evaluated: torch.nn.Module = loaded.eval()
    return evaluated


def inputs_of(family: Family, rows: list[list[Sample]]) -> dict[str, Any]:
    batch = collate([encode_pack(row, family) for row in rows], family)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def test_ids_of_a_page(both: tuple[Family, Any]) -> None:
    family, _ = both
    sample = build_sample(make_document("k", [(300, 200), "some text"]), family)
    bos, start, soft, end, newlines = (
        family.encoder.find_id(token)
        for token in ("<bos>", "<start_of_image>", "<image_soft_token>", "<end_of_image>", "\n\n")
    )
    text = family.encoder.encode("some text")
    block = [newlines, start, *[soft] * 4, end, newlines]
    assert sample.input_ids.tolist() == [bos, *block, *text, family.eos_id]
    assert sample.labels.tolist() == [-100] * 9 + [*text, family.eos_id]
    assert sample.num_patches == 16
    assert family.prefix_tokens == 1


def test_newline_runs_and_tags_of_the_tokenizer_stay_text(both: tuple[Family, Any]) -> None:
    family, _ = both
    ids = family.encoder.encode("a\n\n\n<table><td>b")
    tokens = [family.encoder.find_id(token) for token in ("\n\n\n", "<table>", "<td>")]
    assert [number for number in ids if number in tokens] == tokens
    assert family.structural_ids.isdisjoint(tokens)
    assert family.structural_ids.isdisjoint(
        family.encoder.encode("<start_of_image><image_soft_token><end_of_turn><bos>")
    )


def test_processor_joins_newlines_with_those_of_the_text(both: tuple[Family, Any]) -> None:
    """wdstream builds one token more for each side of an image next to a newline: its blocks are constant."""
    family, processor = both
    page = make_document("k", [(56, 56), "\n<row0_col0>", (56, 56), "\nText"])
    theirs = run_processor(processor, family, page)["input_ids"][0]
    assert len(build_sample(page, family).input_ids) == len(theirs) + 2 + 1  # two joins, and the EOS


def test_images_left_whole_are_one_canvas(both: tuple[Family, Any]) -> None:
    """Also where the settings ask for pan and scan: its processor overrides them at every call."""
    family, processor = both[0], load_processor(both[0])
    settings = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 28, "pan_and_scan_max_num_crops": 4}
    for name, value in {**settings, "pan_and_scan_min_ratio_to_activate": 1.2}.items():
        setattr(processor.image_processor, name, value)
    page = make_document("k", [(600, 200), "text"])
    ours = build_sample(page, family.for_whole_images()).input_ids.tolist()
    assert ours == [*processor_ids(processor, family, page), family.eos_id]


def test_alone_is_what_transformers_computes(both: tuple[Family, Any], model: torch.nn.Module) -> None:
    """Our masks on one document against the model's own, made from token types; longer than the sliding window."""
    family, processor = both
    page = make_document("k", ["Before " * 12, (56, 56), "and after it " * 10, (56, 56), "the end."])
    theirs = run_processor(processor, family, page, return_tensors="pt")
    sample = build_sample(page, family)
    assert sample.input_ids[:-1].tolist() == theirs["input_ids"][0].tolist()
    assert sample.num_tokens > 32
    with torch.no_grad():
        expected = model(**theirs, use_cache=False).logits[0]
        found = model(**inputs_of(family, [[sample]])).logits[0, :-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_packed_is_unpacked(both: tuple[Family, Any], model: torch.nn.Module) -> None:
    family, _ = both
    samples = make_samples(family)
    assert_no_leak(model, family, samples)
    rows = inputs_of(family, [samples[:2], samples[2:]])
    with torch.no_grad():
        logits = model(**rows).logits
        alone = model(**inputs_of(family, [[samples[3]]])).logits[0]
    start = samples[2].num_tokens
    torch.testing.assert_close(logits[1, start : start + samples[3].num_tokens], alone, rtol=0, atol=1e-5)


def test_positions_alone_are_not_enough(both: tuple[Family, Any], model: torch.nn.Module) -> None:
    """Without our masks, images of later documents are looked up in the first: no leak, but other logits."""
    family, _ = both

    def token_types_only(inputs: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in inputs.items() if key != "attention_mask"}
        return {**kept, "token_type_ids": (inputs["input_ids"] == family.image_id).long()}

    found = measure_isolation(model, family, make_samples(family), alter=token_types_only)
    assert found.difference > 1e-3


def test_mask_of_ones_is_flagged(both: tuple[Family, Any], model: torch.nn.Module) -> None:
    family, _ = both

    def ones(inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}

    with pytest.raises(AssertionError, match="see each other"):
        assert_no_leak(model, family, make_samples(family), alter=ones)


def test_pixels_are_the_processors(both: tuple[Family, Any]) -> None:
    family, processor = both
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    theirs = processor.image_processor(images=[Image.fromarray(noise)], return_tensors="pt")["pixel_values"]
    sample = replace(build_sample(make_document("k", [(56, 56)]), family), tiles=(noise,))
    ours = inputs_of(family, [[sample]])["pixel_values"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-7)


def test_doctor_passes(tiny_models: dict[str, Path]) -> None:
    report = run_doctor(tiny_models["gemma3"])
    assert report.ok, report
    assert not run_doctor(tiny_models["gemma3"], attn="flash_attention_2").ok
