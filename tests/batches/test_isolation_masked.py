"""Families that make their own masks: packed equals unpacked in logits and gradients, every known fault is flagged."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from wdstream.batches.collate import collate
from wdstream.batches.pack import encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.records import LabelledPage, Sample, TextSegment
from wdstream.testing import assert_no_leak, make_document

Inputs = dict[str, Any]
CASES = [
    *((name, attention) for name in ("gemma3", "gemma4", "paligemma") for attention in ("sdpa", "eager")),
    ("paligemma2", "eager"),
]


def load(family: Family, attention: str) -> torch.nn.Module:
    """The tiny model with weights scaled by 3, so that attention matters in its logits."""
    config = AutoConfig.from_pretrained(family.model_dir)
    model: torch.nn.Module = AutoModelForImageTextToText.from_pretrained(
        family.model_dir, config=config, attn_implementation=attention, dtype=torch.float32
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def loaded(request: pytest.FixtureRequest, families: Mapping[str, Family]) -> tuple[torch.nn.Module, Family]:
    name, attention = request.param
    return load(families[name], attention), families[name].for_attention(attention)


def unlearnt_labels(page: LabelledPage) -> LabelledPage:
    """Tile labels (texts that begin with a newline) as the plan has them: not learnt."""
    segments = tuple(
        replace(part, is_supervised=not part.text.startswith("\n")) if isinstance(part, TextSegment) else part
        for part in page.segments
    )
    return replace(page, segments=segments)


def documents(family: Family) -> list[Sample]:
    """No image; tiles with labels; a text longer than the tiny models' windows around an image; an image."""
    parts: dict[str, list[str | tuple[int, int]]] = {
        "text": ["Plain words, no image at all, and a few more of them."],
        "tiled": [(90, 60), "\n<row0_col0>", (60, 60), "The text of tiles."],
        "long": ["Before an image, " * 5, (70, 50), "a text that is long. " * 9],
        "image": [(60, 90)],
    }
    return [build_sample(unlearnt_labels(make_document(key, part)), family) for key, part in parts.items()]


def test_packed_is_unpacked(loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    found = assert_no_leak(model, family, documents(family), tolerance=1e-5, max_leak=0.0)
    assert found.leak == 0.0
    assert found.scale > 0.1


def inputs_of(family: Family, rows: list[list[Sample]], pad_to: int | None = None) -> Inputs:
    batch = collate([encode_pack(row, family) for row in rows], family, pad_to=pad_to)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def gradients(model: torch.nn.Module, batches: list[Inputs]) -> tuple[float, dict[str, torch.Tensor]]:
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
    samples = documents(family)
    alone_loss, alone = gradients(model, [inputs_of(family, [[sample]]) for sample in samples])
    packed_loss, packed = gradients(model, [inputs_of(family, [samples])])
    longest = max(sum(sample.num_tokens for sample in part) for part in (samples[:2], samples[2:]))
    rows_loss, rows = gradients(model, [inputs_of(family, [samples[:2], samples[2:]], pad_to=longest + 9)])
    assert packed.keys() == alone.keys() == rows.keys()
    size = torch.stack([gradient.norm() for gradient in alone.values()]).norm()
    for found_loss, found in ((packed_loss, packed), (rows_loss, rows)):
        assert found_loss == pytest.approx(alone_loss, rel=1e-6)
        # Over all parameters: some (a bias of keys) have a true gradient of 0, which is rounding alone.
        error = torch.stack([(found[name] - gradient).norm() for name, gradient in alone.items()]).norm()
        assert float(error / size) <= 1e-5


def test_padding_never_matters(loaded: tuple[torch.nn.Module, Family]) -> None:
    model, family = loaded
    samples = documents(family)[:2]
    length = sum(sample.num_tokens for sample in samples)
    with torch.no_grad():
        bare = model(**inputs_of(family, [samples])).logits
        inputs = inputs_of(family, [samples], pad_to=length + 7)
        padded = model(**inputs).logits
        inputs["input_ids"][:, length:] = family.eos_id
        changed = model(**inputs).logits
    torch.testing.assert_close(padded[:, :length], bare, rtol=0, atol=1e-5)
    assert torch.equal(changed[:, :length], padded[:, :length])


def masks(inputs: Inputs) -> dict[str, torch.Tensor]:
    """The masks of a batch by the kind of their layers; a single one is of all layers."""
    given = inputs["attention_mask"]
    return given if isinstance(given, dict) else {"all": given}


def with_masks(inputs: Inputs, changed: dict[str, torch.Tensor]) -> Inputs:
    return {**inputs, "attention_mask": changed.get("all", changed)}


def ones_mask(inputs: Inputs) -> Inputs:
    return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}


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
        with pytest.raises(AssertionError, match=r"see each other|something else in a pack"):
            assert_no_leak(model, family, documents(family)[:2], alter=fault)


def blocks_of_the_first_document(family: Family) -> Callable[[Inputs], Inputs]:
    """What transformers does with token types and packed positions: blocks looked up at places inside the document."""

    def change(inputs: Inputs) -> Inputs:
        key = "mm_token_type_ids" if family.name == "gemma4" else "token_type_ids"
        is_image = (inputs["input_ids"] == family.image_id).long()  # type: ignore[attr-defined]
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
    # A family that was not told is right under both.
    assert {mask.dtype for mask in masks(inputs_of(family, [samples])).values()} == {torch.float32}
    assert_no_leak(load(family, "sdpa"), family, samples)


@pytest.mark.parametrize("name", ["gemma3", "gemma4", "paligemma", "paligemma2"])
@pytest.mark.parametrize("attention", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_other_attention_is_refused_with_the_reason(name: str, attention: str, families: Mapping[str, Family]) -> None:
    with pytest.raises(FamilyError, match=rf"{name} cannot be packed with attention '{attention}': .*both directions"):
        families[name].for_attention(attention)


def test_paligemma_2_is_refused_under_sdpa(families: Mapping[str, Family]) -> None:
    with pytest.raises(FamilyError, match=r"sdpa cannot cap attention scores.*; use eager"):
        families["paligemma2"].for_attention("sdpa")
