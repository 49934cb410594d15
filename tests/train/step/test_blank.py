"""The blank document: every micro-batch runs the vision tower, and nothing is supervised from it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.form import BatchForm
from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES, load_family
from wdstream.proofs.isolation import random_model
from wdstream.records import EncodedPack, Sample
from wdstream.testing import make_samples
from wdstream.train.step.blank import needs_dummy, row_length, with_dummy, with_dummy_inside
from wdstream.train.step.loss import LossHead, find_targets


@pytest.fixture(scope="module")
def family(tiny_model: Path) -> Family:
    return load_family(tiny_model)


@pytest.fixture(scope="module")
def text(family: Family) -> Sample:
    sample = make_samples(family)[1]
    assert not sample.tiles
    return sample


def pack(family: Family, *samples: Sample) -> EncodedPack:
    return encode_pack(samples, family)


def test_who_needs_one(family: Family, text: Sample) -> None:
    with_image = make_samples(family)[0]
    words, page, nothing = (collate([pack(family, *found)], family) for found in ([text], [with_image], []))
    assert needs_dummy(words, family, needs_images=True)
    assert not needs_dummy(words, family, needs_images=False)
    assert not needs_dummy(page, family, needs_images=True)
    assert needs_dummy(nothing, family, needs_images=False)


def test_shape_of_the_batch(family: Family, text: Sample) -> None:
    batch = collate([pack(family, text, text), pack(family, text)], family)
    length, num_tokens = batch["input_ids"].shape[1], text.num_tokens
    joined = with_dummy(batch, family)
    added = joined["input_ids"].shape[1] - length
    assert added == len(family.image_ids(56, 56)) + 1
    limits = [0, num_tokens, length, length + added]
    assert joined["cu_seq_lens_q"].tolist() == limits + [
        2 * length + added - num_tokens if limit == num_tokens else length + added + limit for limit in limits[1:]
    ]
    assert joined["cu_seq_lens_q"][-1] == joined["input_ids"].numel()
    assert joined["position_ids"].shape == (4, 2, length + added)
    assert joined["position_ids"][0, :, length].tolist() == [0, 0]
    assert joined["image_grid_thw"].tolist() == [[1, 4, 4], [1, 4, 4]]
    assert (joined["labels"][:, length:] == -100).all()
    assert joined["keys"] == batch["keys"]


def step_of(model: Any, family: Family, batch: Batch) -> tuple[float, dict[str, torch.Tensor | None]]:
    """Summed loss of a batch, and its gradients."""
    model.zero_grad()
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    inputs.pop("labels")
    loss = LossHead(model).loss_sum(model, inputs, find_targets(batch["labels"]))
    loss.backward()
    return float(loss.detach()), {name: parameter.grad for name, parameter in model.named_parameters()}


def test_vision_gets_a_gradient_of_exactly_zero(tiny_model: Path, family: Family, text: Sample) -> None:
    batch = collate([pack(family, text)], family)
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    _, plain = step_of(model, family, batch)
    _, joined = step_of(model, family, with_dummy(batch, family))
    for name, gradient in joined.items():
        assert gradient is not None
        if "visual" in name:
            assert plain[name] is None
            assert gradient.abs().max() == 0
        else:
            assert torch.allclose(gradient, plain[name], rtol=1e-4, atol=1e-6), name  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_blank_document_adds_exactly_nothing(name: str, tiny_models: dict[str, Path]) -> None:
    """Of every family, images cut or left whole: alone it has a loss and gradients of exactly 0, and the tower runs;
    after a text it changes the sums by nothing but their order over a longer row."""
    tiled = load_family(tiny_models[name]).for_attention("eager")
    whole = tiled.for_whole_images()
    for family in [tiled, whole] if whole.is_splitting else [tiled]:
        setting = family.attention_setting("eager")
        model = random_model(AutoConfig.from_pretrained(family.model_dir), seed=0, attn=setting)
        loss, alone = step_of(model, family, with_dummy(collate([pack(family)], family), family))
        assert loss == 0.0
        assert all(gradient is None or gradient.abs().max() == 0 for gradient in alone.values())
        reached = {parameter for parameter, gradient in alone.items() if gradient is not None}
        batch = collate([pack(family, make_samples(family)[1])], family)
        plain_loss, plain = step_of(model, family, batch)
        towers = {parameter for parameter in reached if plain[parameter] is None}
        assert any("vision" in parameter or "visual" in parameter for parameter in towers)
        joined_loss, joined = step_of(model, family, with_dummy(batch, family))
        assert joined_loss == pytest.approx(plain_loss, rel=1e-6)
        assert all(joined[parameter].abs().max() == 0 for parameter in towers)  # type: ignore[union-attr]
        for parameter, before in plain.items():
            if before is not None:
                after = joined[parameter]
                assert after is not None and (after - before).norm() <= 2e-5 * before.norm() + 1e-9, parameter


def test_row_without_tokens_runs_and_teaches_nothing(tiny_model: Path, family: Family) -> None:
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    loss, found = step_of(model, family, with_dummy(collate([pack(family)], family), family))
    assert loss == 0.0
    assert all(gradient is not None and gradient.abs().max() == 0 for gradient in found.values())


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3", "idefics3"])
def test_in_place_of_padding_it_changes_no_shape_and_no_sum(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name]).for_attention("sdpa")
    length = row_length(family, 512)
    assert length % 64 == 0
    setting = family.attention_setting("sdpa")
    model = random_model(AutoConfig.from_pretrained(family.model_dir), seed=0, attn=setting)
    text = make_samples(family)[1]
    packs = [pack(family, text, text), pack(family)]
    batch = BatchForm(row_length=length).batch(packs, family)
    joined = with_dummy_inside(batch, family)
    for key in ("input_ids", "labels", "position_ids", "cu_seq_lens_q"):
        assert joined[key].shape == batch[key].shape
    assert joined.cu_seq_lens_q[-1] == joined.input_ids.numel()
    assert (joined.max_length_q, joined.page_keys) == (length, batch.page_keys)
    after, gradients = step_of(model, family, with_dummy(collate(packs, family), family))
    inside, same = step_of(model, family, joined)
    assert inside == pytest.approx(after, rel=1e-6)
    for parameter, gradient in same.items():
        wanted = gradients[parameter]
        assert (gradient is None) == (wanted is None)
        if gradient is not None and wanted is not None:
            assert (gradient - wanted).norm() <= 2e-5 * wanted.norm() + 1e-9, parameter


def test_the_longest_pack_has_room_for_it(family: Family) -> None:
    for sequence_length in range(100, 230, 3):
        room = row_length(family, sequence_length) - sequence_length
        assert room >= len(family.image_ids(2 * family.size_multiple, 2 * family.size_multiple)) + 1
