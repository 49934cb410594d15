"""FSDP2, two ranks, a micro-batch without images on one of them: no hang, the same gradient, exact resume.

Spans: train.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import documents_alone, make_config
from wdstream.batches.collate import collate, encode_pack
from wdstream.errors import ConfigError
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.launch.fsdp import check_average, check_optimizer, check_sync
from wdstream.train.model.load import load_model
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, train_step

WORKER = str(ROOT / "tests/workers/fsdp.py")


LAYERS = {"model.language_model.layers.0", "model.language_model.layers.1", "model.visual.blocks.0"}


def sharded(model: Path, work: Path, precision: str, *options: str) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    run_world(WORKER, [str(model), str(work), precision, *options], size=2)
    found: dict[str, Any] = json.loads((work / "found.json").read_text())
    return found


@pytest.mark.slow
def test_sharded_training_is_the_same_training(tiny_model: Path, tmp_path: Path) -> None:
    found = sharded(tiny_model, tmp_path, "no")
    wanted = documents_alone(tiny_model).double().norm().item()
    assert found["straight"][0] == pytest.approx(wanted, rel=1e-5)
    assert found["again"] == found["straight"][2:]
    assert {*found["units"]} >= LAYERS
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "final", dtype=torch.float32)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.slow
def test_the_loss_of_bfloat16_is_not_rounded_to_bfloat16(tiny_model: Path, tmp_path: Path) -> None:
    exact = sharded(tiny_model, tmp_path / "float32", "no")["losses"][0]
    found = sharded(tiny_model, tmp_path / "bfloat16", "bf16")
    assert found["losses"][0] == pytest.approx(exact, rel=1e-3)  # bfloat16's own steps are 8e-3 wide
    rounded = torch.tensor(found["losses"], dtype=torch.float64).to(torch.bfloat16).double().tolist()
    assert found["losses"] != rounded
    assert {*found["units"]} >= LAYERS


@pytest.mark.slow
def test_gradients_summed_after_each_micro_batch_are_the_same_and_less_is_kept(
    tiny_model: Path, tmp_path: Path
) -> None:
    once = sharded(tiny_model, tmp_path / "once", "no")
    each = sharded(tiny_model, tmp_path / "each", "no", "each")
    assert each["straight"] == pytest.approx(once["straight"], rel=1e-5)
    assert each["losses"] == pytest.approx(once["losses"], rel=1e-6)
    assert each["again"] == each["straight"][2:]
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    assert each["kept"] == [0] * 4
    assert once["kept"][::2] == [0, 0]
    assert min(once["kept"][1::2]) >= sum(parameter.numel() for parameter in model.parameters())


def test_it_is_refused_where_it_saves_nothing() -> None:
    accelerator = Accelerator(cpu=True)
    check_sync(accelerator, is_wanted=False)
    with pytest.raises(ConfigError, match=r"train\.sync_each_micro_batch: only FSDP2.*this run is under NO"):
        check_sync(accelerator, is_wanted=True)


def alone(path: Path, adapter: dict[str, Any]) -> list[float]:
    """Gradient norms of the worker's four steps on one process, which DDP is held to elsewhere."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator, family = Accelerator(cpu=True), load_family(path)
    config = make_config(path, adapter=adapter)
    torch.manual_seed(0)
    bare = load_model(config, torch.device("cpu"))
    head = LossHead(bare)
    model, optimizer = accelerator.prepare(bare, make_optimizer(bare, config.train))
    engine = TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=family,
        dtype=torch.float32,
        max_grad_norm=1e9,
        seed=0,
        needs_images=True,
    )
    samples = make_samples(family)
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    encoded = [encode_pack(pack, family, number=number) for number, pack in enumerate(packs)]
    supervised = sum(int((pack.labels != -100).sum()) for pack in encoded)
    batches = [collate([pack], family) for pack in encoded]
    return [train_step(engine, batches, num_supervised=supervised, rate=1e-2).grad_norm for _ in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [{}, {"dora": True}, {"modules_to_save": ["projector", "lm_head"]}])
def test_adapters_are_the_same_sharded(tiny_model: Path, tmp_path: Path, chosen: dict[str, Any]) -> None:
    adapter = {"r": 4, "parts": ["language", "vision"], **chosen}
    found = sharded(tiny_model, tmp_path, "no", json.dumps(adapter))
    assert found["again"] == found["straight"][2:]
    assert found["straight"] == pytest.approx(alone(tiny_model, adapter), rel=1e-4)


@pytest.mark.slow
def test_the_average_of_the_weights_is_the_same_sharded(tiny_model: Path, tmp_path: Path) -> None:
    """In evaluation, in checkpoints and in the result; training does not notice."""
    found = sharded(tiny_model, tmp_path, "no", "ema")
    assert found["again"] == found["straight"][2:]
    straight, again = (load_file(tmp_path / name) for name in ("straight-0.safetensors", "ema.safetensors"))
    assert straight.keys() == again.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in straight.items())
    final = AutoModelForImageTextToText.from_pretrained(tmp_path / "final", dtype=torch.float32)
    assert all(torch.equal(final.get_parameter(name), tensor) for name, tensor in straight.items())


def test_an_average_of_flat_weights_is_refused() -> None:
    class State:
        fsdp_plugin = object()

    class Flat:
        state = State()
        is_fsdp2 = False

    check_average(Accelerator(cpu=True), is_wanted=True)
    check_average(Flat(), is_wanted=False)
    with pytest.raises(ConfigError, match=r"train.ema: FSDP1 keeps its weights as parts of one flat tensor"):
        check_average(Flat(), is_wanted=True)


def test_optimizers_that_are_not_proven_on_shards_are_refused() -> None:
    class State:
        fsdp_plugin = object()

    class Sharded:
        state = State()

    for name in ("adamw", "adamw_fused"):
        check_optimizer(Sharded(), name)
    for name in ("muon", "adafactor", "adamw_8bit", "schedule_free"):
        with pytest.raises(ConfigError, match=rf"train.optimizer: {name}: is not proven under FSDP"):
            check_optimizer(Sharded(), name)
