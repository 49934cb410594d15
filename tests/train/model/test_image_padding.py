"""Images of padding: one shape for all batches, and not a loss or gradient that is another."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from wdstream.batches.batch import Batch
from wdstream.batches.collate import encode_pack
from wdstream.batches.form import IMAGES_TOGETHER, BatchForm, padded_patches, padding_grids
from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES, load_family
from wdstream.testing import make_samples
from wdstream.train.model.compiling import compile_layers
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.step.blank import needs_dummy, row_length, row_patches, with_dummy_inside
from wdstream.train.step.loss import LossHead, find_targets

QUICK = "qwen2_5_vl"
PADDED = (QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_vl", "qwen3_vl")))
MAX_TOKENS, MAX_PATCHES = 1024, 1024


def forms(family: Family) -> tuple[BatchForm, BatchForm]:
    length, patches = row_length(family, MAX_TOKENS), row_patches(family, MAX_PATCHES)
    return BatchForm(row_length=length), BatchForm(row_length=length, row_patches=patches)


def batches(family: Family, form: BatchForm) -> list[Batch]:
    samples = make_samples(family)
    words = [sample for sample in samples if not sample.tiles] or [samples[0]]
    packs = [encode_pack(part, family) for part in (samples[:2], samples[1:3], [samples[1]] * 3, words[:1])]
    made = [form.batch([pack], family) for pack in packs]
    return [with_dummy_inside(one, family) if needs_dummy(one, family, needs_images=True) else one for one in made]


def open_model(path: Path, attention: str = "sdpa") -> Any:
    return AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32, attn_implementation=attention).train()


def step_of(model: Any, head: LossHead, family: Family, batch: Batch) -> tuple[float, torch.Tensor]:
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    inputs.pop("labels")
    model.zero_grad()
    loss = head.loss_sum(model, inputs, find_targets(batch.labels))
    loss.backward()
    return loss.item(), torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


@pytest.mark.parametrize("side", [2, 3])
def test_grids_fill_what_is_missing(side: int) -> None:
    for num_images in (0, 1, 15, 16, 40):
        for used in range(0, 800, 7):
            missing = padded_patches(800 * side**2, side) - used * side**2
            grids = padding_grids(missing, num_images, side)
            assert sum(frames * rows * columns for frames, rows, columns in grids) == missing
            assert (num_images + len(grids)) % IMAGES_TOGETHER == 0
            assert all(frames > 1 and rows == side and columns % side == 0 < columns for frames, rows, columns in grids)


@pytest.mark.parametrize("name", PADDED)
def test_losses_and_gradients_are_the_same(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name]).for_attention("sdpa")
    found = []
    for form, drops in zip(forms(family), (False, True), strict=True):
        model = open_model(tiny_models[name])
        if drops:
            drop_image_padding(model)
        head = LossHead(model)
        found.append([step_of(model, head, family, batch) for batch in batches(family, form)])
    for (wanted, plain), (loss, gradient) in zip(*found, strict=True):
        assert loss == pytest.approx(wanted, rel=1e-6)
        assert gradient.shape == plain.shape
        assert (gradient - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("name", PADDED)
def test_all_batches_have_one_shape(name: str, tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models[name]).for_attention("sdpa")
    plain, padded = (
        {str({key: tuple(one.shape) for key, one in batch.items() if isinstance(one, torch.Tensor)}) for batch in made}
        for made in (batches(family, form) for form in forms(family))
    )
    assert len(plain) > 1
    assert len(padded) == 1


@pytest.mark.parametrize("name", PADDED)
def test_the_vision_tower_is_compiled_once(name: str, tiny_models: dict[str, Path]) -> None:
    from torch._dynamo.utils import counters

    family = load_family(tiny_models[name]).for_attention("sdpa")
    data = {"train": [{"path": "none"}], "pad_to": "full"}
    train = {"compile": True, "compile_backend": "aot_eager"}
    config = Config.model_validate({"model": {"path": "m"}, "data": data, "train": train})
    found, graphs = [], list[int]()
    for compiles in (False, True):
        torch._dynamo.reset()
        counters.clear()
        model = open_model(tiny_models[name])
        drop_image_padding(model)
        head = LossHead(model)
        if compiles:
            compile_layers(model, config, has_fixed_images=True)
        for batch in batches(family, forms(family)[1]):
            found.append(step_of(model, head, family, batch))
            graphs.append(counters["stats"]["unique_graphs"])
    half = len(found) // 2
    for (wanted, plain), (loss, gradient) in zip(found[:half], found[half:], strict=True):
        assert loss == pytest.approx(wanted, rel=1e-6)
        assert (gradient - plain).norm() <= 1e-5 * plain.norm()
    assert graphs[half] > 1
    assert graphs[half + 1 :] == graphs[half + 1 : half + 2] * (half - 1)


def test_families_say_whether_they_take_them(tiny_models: dict[str, Path]) -> None:
    taking = {name for name in FAMILIES if load_family(tiny_models[name]).padding_side is not None}
    assert taking == {"qwen2_vl", "qwen2_5_vl", "qwen3_vl"}
