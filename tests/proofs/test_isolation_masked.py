"""Families that make their own masks: every known fault is flagged, and the masks have the form that is read."""

from collections.abc import Mapping

import pytest
import torch

from tests.helpers.isolation import FLAGGED, Fault, Inputs, documents, inputs_of, load, ones_mask
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.testing import assert_no_leak

CASES = [
    *((name, attention) for name in ("gemma3", "gemma4", "paligemma") for attention in ("sdpa", "eager")),
    ("paligemma2", "eager"),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def loaded(request: pytest.FixtureRequest, families: Mapping[str, Family]) -> tuple[torch.nn.Module, Family]:
    name, attention = request.param
    return load(families[name], attention), families[name].for_attention(attention)


def masks(inputs: Inputs) -> dict[str, torch.Tensor]:
    """The masks of a batch by the kind of their layers; a single one is of all layers."""
    given = inputs["attention_mask"]
    return given if isinstance(given, dict) else {"all": given}


def with_masks(inputs: Inputs, changed: dict[str, torch.Tensor]) -> Inputs:
    return {**inputs, "attention_mask": changed.get("all", changed)}


def without_masks(inputs: Inputs) -> Inputs:
    """Positions alone: no image and no prompt is seen both ways."""
    return {name: value for name, value in inputs.items() if name != "attention_mask"}


def whole_row(inputs: Inputs) -> Inputs:
    """Causal over the row, as if it held one document."""
    seen = {kind: torch.ones(mask.shape[-2:]).tril().bool() for kind, mask in masks(inputs).items()}
    return with_masks(
        inputs,
        {
            kind: seen[kind][None, None]
            if mask.dtype == torch.bool
            else mask.new_full(mask.shape, torch.finfo(mask.dtype).min).masked_fill(seen[kind], 0)
            for kind, mask in masks(inputs).items()
        },
    )


def boundary_off_by_one(inputs: Inputs) -> Inputs:
    """Every mask moved by one token: the first of a document counts as the last of the one before."""
    return with_masks(inputs, {kind: mask.roll((1, 1), (-2, -1)) for kind, mask in masks(inputs).items()})


FAULTS = [ones_mask, without_masks, whole_row, boundary_off_by_one]


def test_seeded_faults_are_flagged(loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    for fault in FAULTS:
        with pytest.raises(AssertionError, match=FLAGGED):
            assert_no_leak(model, family, documents(family)[:2], alter=fault)


def blocks_of_the_first_document(family: Family) -> Fault:
    """What transformers does with token types and packed positions: blocks looked up at places inside the document."""

    def change(inputs: Inputs) -> Inputs:
        key = "mm_token_type_ids" if family.name == "gemma4" else "token_type_ids"
        is_image = (inputs["input_ids"] == family.image_id).long()
        return {**without_masks(inputs), key: is_image}

    return change


@pytest.mark.parametrize("name", ["gemma3", "gemma4"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_image_blocks_looked_up_in_the_first_document_are_flagged(
    name: str, attention: str, families: Mapping[str, Family]
) -> None:
    """Nothing leaks, but images of later documents are seen as the first one's are: only the second figure shows it."""
    family = families[name].for_attention(attention)
    samples = documents(family)[1:3]
    with pytest.raises(AssertionError, match="computes something else in a pack than alone"):
        assert_no_leak(load(family, attention), family, samples, alter=blocks_of_the_first_document(family))


@pytest.mark.parametrize("name", ["gemma3", "gemma4", "paligemma", "paligemma2"])
def test_boolean_masks_are_flagged_under_eager(name: str, families: Mapping[str, Family]) -> None:
    """True is added as 1, False as 0: next to nothing is masked."""
    family = families[name].for_attention("eager")

    def boolean(inputs: Inputs) -> Inputs:
        return with_masks(inputs, {kind: mask == 0 for kind, mask in masks(inputs).items()})

    with pytest.raises(AssertionError, match="see each other"):
        assert_no_leak(load(family, "eager"), family, documents(family)[:2], alter=boolean)


@pytest.mark.parametrize("name", ["gemma3", "gemma4", "paligemma"])
def test_masks_have_the_form_that_the_attention_reads(name: str, families: Mapping[str, Family]) -> None:
    family = families[name]
    samples = documents(family)[:2]
    forms = {"sdpa": torch.bool, "eager": torch.float32}
    for attention, dtype in forms.items():
        inputs = inputs_of(family.for_attention(attention), [samples])
        length = inputs["input_ids"].shape[1]
        assert {mask.dtype for mask in masks(inputs).values()} == {dtype}
        assert {mask.shape for mask in masks(inputs).values()} == {(1, 1, length, length)}
    # A family that was not warned is right under both.
    assert {mask.dtype for mask in masks(inputs_of(family, [samples])).values()} == {torch.float32}
    assert_no_leak(load(family, "sdpa"), family, samples)


@pytest.mark.parametrize("name", ["gemma3", "gemma4", "paligemma", "paligemma2"])
@pytest.mark.parametrize("attention", ["flash_attention_2", "flash_attention_3"])
def test_other_attention_is_refused_with_the_reason(name: str, attention: str, families: Mapping[str, Family]) -> None:
    with pytest.raises(FamilyError, match=rf"{name} cannot be packed with attention '{attention}': .*both directions"):
        families[name].for_attention(attention)


def test_paligemma_2_is_refused_under_sdpa(families: Mapping[str, Family]) -> None:
    with pytest.raises(FamilyError, match=r"sdpa cannot cap attention scores.*; use eager or flex_attention"):
        families["paligemma2"].for_attention("sdpa")
