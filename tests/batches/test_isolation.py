"""Packed equals unpacked, in logits and gradients; every known way to leak is flagged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from wdstream.batches.collate import collate
from wdstream.batches.pack import encode_pack
from wdstream.families.base import Family
from wdstream.records import Sample
from wdstream.testing import assert_no_leak, make_samples

MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl")
OTHERS = ("llava", "mistral3", "aya_vision")
PLAIN = ("idefics3", "smolvlm", "llava_onevision", "internvl", "got_ocr2", "lighton_ocr", *OTHERS)
SPLITTING = ("idefics3", "smolvlm", "llava_onevision", "internvl", "aya_vision")
ATTENTION = ("sdpa", "eager")
MROPE_CASES = [(name, attention) for name in MROPE for attention in ATTENTION]
CASES = [*MROPE_CASES, *((name, attention) for name in PLAIN for attention in ATTENTION)]
FAULT_CASES = [*MROPE_CASES, *((name, "sdpa") for name in PLAIN)]


def load(family: Family, attention: str) -> torch.nn.Module:
    """The tiny model with weights scaled by 3, so that attention matters in its logits."""
    config = AutoConfig.from_pretrained(family.model_dir)
    setting = family.attention_setting(attention)
    model = AutoModelForImageTextToText.from_pretrained(
        family.model_dir, config=config, attn_implementation=setting, dtype=torch.float32
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def loaded(request: pytest.FixtureRequest, families: dict[str, Family]) -> tuple[torch.nn.Module, Family]:
    name, attention = request.param
    return load(families[name], attention), families[name].for_attention(attention)


def test_packed_is_unpacked(loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    found = assert_no_leak(model, family, make_samples(family), tolerance=1e-5, max_leak=0.0)
    assert found.leak == 0.0
    assert found.scale > 0.1


@pytest.mark.parametrize("name", SPLITTING)
def test_whole_images_packed_are_unpacked(name: str, families: dict[str, Family]) -> None:
    """Images that wdstream leaves whole, several squares each, and the text between them."""
    family = families[name].for_whole_images()
    samples = [sample for sample in make_samples(family) if sample.key in ("image-first", "text-only", "image-last")]
    assert len(family.layout(samples[0].tiles)["pixel_values"]) > 1
    assert assert_no_leak(load(family, "sdpa"), family, samples, tolerance=1e-5, max_leak=0.0).leak == 0.0


def inputs_of(family: Family, rows: list[list[Sample]], pad_to: int | None = None) -> dict[str, Any]:
    batch = collate([encode_pack(row, family) for row in rows], family, pad_to=pad_to)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def gradients(model: torch.nn.Module, batches: list[dict[str, Any]]) -> tuple[float, dict[str, torch.Tensor]]:
    """Summed token loss over batches, and its gradient per parameter."""
    model.zero_grad(set_to_none=True)
    total = 0.0
    for inputs in batches:
        loss = model(**inputs, num_items_in_batch=torch.tensor(1)).loss
        loss.backward()
        total += float(loss.detach())
    return total, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_gradients_of_a_pack_are_the_sum_of_its_documents(loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    samples = make_samples(family)
    alone_loss, alone = gradients(model, [inputs_of(family, [[sample]]) for sample in samples])
    packed_loss, packed = gradients(model, [inputs_of(family, [samples])])
    # Two rows, both padded: neither rows nor padding change anything.
    length = sum(sample.num_tokens for sample in samples[:3]) + 9
    rows_loss, rows = gradients(model, [inputs_of(family, [samples[:3], samples[3:]], pad_to=length)])
    assert packed.keys() == alone.keys() == rows.keys()
    whole = float(torch.stack([gradient.norm() for gradient in alone.values()]).norm())
    for found_loss, found in ((packed_loss, packed), (rows_loss, rows)):
        assert found_loss == pytest.approx(alone_loss, rel=1e-6)
        for name, gradient in alone.items():
            # Some (biases of keys without rotary positions) have a true gradient of 0 and show rounding alone.
            size = max(float(gradient.norm()), 0.1 * whole)
            assert float((found[name] - gradient).norm()) <= 1e-5 * size, name


def ones_mask(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}


def with_cache(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "use_cache": True}


def without_text_row(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "position_ids": inputs["position_ids"][1:]}


def without_mrope(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "position_ids": inputs["position_ids"][0]}


def without_restart(inputs: dict[str, Any]) -> dict[str, Any]:
    positions = inputs["position_ids"].clone()
    positions[0] = torch.arange(positions.shape[-1])  # the text row of M-RoPE, or the only row of the batch
    return {**inputs, "position_ids": positions}


def one_boundary_lost(inputs: dict[str, Any]) -> dict[str, Any]:
    """Document 1 goes on where document 0 ended: the others stay apart."""
    positions = inputs["position_ids"].clone()
    first = int(inputs["cu_seq_lens_q"][1])
    second = int(inputs["cu_seq_lens_q"][2])
    positions[..., first:second] += first
    return {**inputs, "position_ids": positions}


def boolean_block_mask(inputs: dict[str, Any]) -> dict[str, Any]:
    """A 4-D mask of True where attention is allowed: right for sdpa, added as 0 and 1 by eager."""
    number = torch.bucketize(torch.arange(inputs["input_ids"].shape[1]), inputs["cu_seq_lens_q"][1:].long(), right=True)
    same = number[:, None] == number[None, :]
    return {**inputs, "attention_mask": (same & same.new_ones(same.shape).tril())[None, None]}


FAULTS = [ones_mask, with_cache, without_restart, one_boundary_lost]
MROPE_FAULTS = [without_text_row, without_mrope]
Fault = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize("loaded", FAULT_CASES, indirect=True, ids="-".join)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_seeded_faults_are_flagged(fault: Fault, loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    with pytest.raises(AssertionError, match=r"see each other|something else in a pack"):
        assert_no_leak(model, family, make_samples(family)[:3], alter=fault)


@pytest.mark.parametrize("loaded", MROPE_CASES, indirect=True, ids="-".join)
@pytest.mark.parametrize("fault", MROPE_FAULTS, ids=lambda fault: fault.__name__)
def test_lost_rows_of_mrope_are_flagged(fault: Fault, loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    with pytest.raises(AssertionError, match=r"see each other|something else in a pack"):
        assert_no_leak(model, family, make_samples(family)[:3], alter=fault)


def test_boolean_block_mask_is_flagged_under_eager_only(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    assert_no_leak(load(family, "sdpa"), family, make_samples(family)[:3], alter=boolean_block_mask)
    with pytest.raises(AssertionError, match="see each other"):
        assert_no_leak(load(family, "eager"), family, make_samples(family)[:3], alter=boolean_block_mask)
