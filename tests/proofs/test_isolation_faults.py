"""Every known way to let documents of a pack mix is flagged, for the causal families; others: test_isolation_masked."""

import pytest
import torch

from tests.helpers.isolation import FLAGGED, Fault, Inputs, load, ones_mask
from wdstream.families.base import Family
from wdstream.testing import assert_no_leak, make_samples

MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "paddleocr_vl")
PLAIN = (
    "idefics3",
    "smolvlm",
    "llava_onevision",
    "internvl",
    "got_ocr2",
    "lighton_ocr",
    "llava",
    "mistral3",
    "aya_vision",
)
MROPE_CASES = [(name, attention) for name in MROPE for attention in ("sdpa", "eager")]
CASES = [*MROPE_CASES, *((name, "sdpa") for name in PLAIN)]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def loaded(request: pytest.FixtureRequest, families: dict[str, Family]) -> tuple[torch.nn.Module, Family]:
    name, attention = request.param
    return load(families[name], attention), families[name].for_attention(attention)


def with_cache(inputs: Inputs) -> Inputs:
    return {**inputs, "use_cache": True}


def without_text_row(inputs: Inputs) -> Inputs:
    return {**inputs, "position_ids": inputs["position_ids"][1:]}


def without_mrope(inputs: Inputs) -> Inputs:
    return {**inputs, "position_ids": inputs["position_ids"][0]}


def without_restart(inputs: Inputs) -> Inputs:
    positions = inputs["position_ids"].clone()
    positions[0] = torch.arange(positions.shape[-1])  # the text row of M-RoPE, or the only row of the batch
    return {**inputs, "position_ids": positions}


def one_boundary_lost(inputs: Inputs) -> Inputs:
    """Document 1 continues where document 0 ended: the others stay apart."""
    positions = inputs["position_ids"].clone()
    first = int(inputs["cu_seq_lens_q"][1])
    second = int(inputs["cu_seq_lens_q"][2])
    positions[..., first:second] += first
    return {**inputs, "position_ids": positions}


def boolean_block_mask(inputs: Inputs) -> Inputs:
    """A 4-D mask of True where attention is allowed: right for sdpa, added as 0 and 1 by eager."""
    number = torch.bucketize(torch.arange(inputs["input_ids"].shape[1]), inputs["cu_seq_lens_q"][1:].long(), right=True)
    same = number[:, None] == number[None, :]
    return {**inputs, "attention_mask": (same & same.new_ones(same.shape).tril())[None, None]}


FAULTS = [ones_mask, with_cache, without_restart, one_boundary_lost]
MROPE_FAULTS = [without_text_row, without_mrope]


@pytest.mark.parametrize("loaded", CASES, indirect=True, ids="-".join)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_seeded_faults_are_flagged(fault: Fault, loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    with pytest.raises(AssertionError, match=FLAGGED):
        assert_no_leak(model, family, make_samples(family)[:3], alter=fault)


@pytest.mark.parametrize("loaded", MROPE_CASES, indirect=True, ids="-".join)
@pytest.mark.parametrize("fault", MROPE_FAULTS, ids=lambda fault: fault.__name__)
def test_lost_rows_of_mrope_are_flagged(fault: Fault, loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    with pytest.raises(AssertionError, match=FLAGGED):
        assert_no_leak(model, family, make_samples(family)[:3], alter=fault)


def test_boolean_block_mask_is_flagged_under_eager_only(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    assert_no_leak(load(family, "sdpa"), family, make_samples(family)[:3], alter=boolean_block_mask)
    with pytest.raises(AssertionError, match="see each other"):
        assert_no_leak(load(family, "eager"), family, make_samples(family)[:3], alter=boolean_block_mask)
