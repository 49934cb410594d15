"""Weights and optimizer exactly as a real run has them; what ways of sharing divide; the table of `plan --memory`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.families.registry import load_family
from wdstream.train.memory.estimate import (
    GIB,
    ModelBytes,
    divided,
    estimate_memory,
    model_bytes,
    optimizer_bytes,
)
from wdstream.train.memory.fake_run import fake_model
from wdstream.train.memory.table import FIXED
from wdstream.train.model.load import load_model
from wdstream.train.optimizer.groups import freeze_parts
from wdstream.train.optimizer.optimizer import make_optimizer

LORA = {"adapter": {"kind": "lora", "r": 4}}
VISION_FROZEN = {"parts": {"vision": {"frozen": True}}}
LAST_STAGE = {"stages": [{"steps": 1, "train": ["projector"]}, {"train": ["projector", "language"]}]}


def make_config(path: Path, dtype: str = "float32", **train: Any) -> Config:
    data = {"train": [{"path": "none"}], "sequence_length": 1024, "max_patches": 1024}
    return Config.model_validate({"model": {"path": str(path), "dtype": dtype}, "data": data, "train": train})


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"freeze_vision": True, "optimizer": "adafactor"},
        VISION_FROZEN,
        {**LAST_STAGE, "optimizer": "muon"},
        pytest.param(LORA, marks=pytest.mark.slow),
    ],
    ids=["all", "language", "parts", "stages", "lora"],
)
def test_weights_and_optimizer_are_exact(train: dict[str, Any], tiny_model: Path) -> None:
    config = make_config(tiny_model, **train)
    family = load_family(tiny_model).for_attention("sdpa")
    sizes = model_bytes(fake_model(config, family, dtype=torch.float32, wanted=False), config, torch.float32)
    real = load_model(config, torch.device("cpu"))
    freeze_parts(real, config.train)
    trained = [parameter for parameter in real.parameters() if parameter.requires_grad]
    assert sizes.weights == sum(parameter.nbytes for parameter in real.parameters())
    assert sizes.trained == sum(parameter.numel() for parameter in trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(real, config.train)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    assert sizes.optimizer == sum(value.nbytes for value in states if isinstance(value, torch.Tensor))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quantized_parts": ["language", "vision", "projector"], "double_quant": False},
        {"quantized_parts": ["vision"], "modules_to_save": ["projector"]},
    ],
)
def test_weights_in_4_bits(settings: dict[str, Any], tiny_model: Path) -> None:
    import bitsandbytes

    config = make_config(tiny_model, adapter={"kind": "qlora", "r": 4, **settings})
    family = load_family(tiny_model).for_attention("sdpa")
    sizes = model_bytes(fake_model(config, family, dtype=torch.float32, wanted=False), config, torch.float32)
    wanted = 0
    for parameter in load_model(config, torch.device("cpu")).parameters():
        wanted += parameter.nbytes
        if isinstance(parameter, bitsandbytes.nn.Params4bit):
            state = parameter.quant_state
            wanted += state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
    assert sizes.weights == pytest.approx(wanted, rel=1e-3)


def test_what_cannot_be_trained_is_refused(tiny_model: Path) -> None:
    family = load_family(tiny_model).for_attention("sdpa")
    for train, said in (
        ({"patterns": {"nothing.*": {"frozen": True}}}, r"train\.patterns\.nothing"),
        ({"freeze_vision": True, "adapter": {"parts": ["vision"]}}, r"train\.freeze_vision"),
    ):
        with pytest.raises(ConfigError, match=said):
            fake_model(make_config(tiny_model, **train), family, dtype=torch.float32, wanted=False)


@pytest.mark.parametrize(
    ("way", "packs", "train", "wanted"),
    [
        ("ddp", 8, {}, {"gradients": 4000, "average": 0}),
        ("ddp", 16, {}, {"gradients": 8000}),
        ("ddp", 16, {"micro_batch_size": 2, "ema": {}}, {"gradients": 4000, "average": 4000}),
        ("fsdp2", 16, {"ema": {}}, {"gradients": 4000, "average": 500}),
        ("fsdp2", 16, {"micro_batch_size": 2}, {"gradients": 500}),
        ("fsdp2", 16, {"sync_each_micro_batch": True}, {"gradients": 500}),
    ],
)
def test_gradients_and_average(way: str, packs: int, train: dict[str, Any], wanted: dict[str, int]) -> None:
    """1,000 trained weights on 8 processes."""
    config = make_config(Path("m"), **train)
    config = config.replace(data=config.data.replace(global_batch_size=packs))
    sizes = ModelBytes(weights=4000, trained=1000, optimizer=8000, layer=100, outside=100, item=4, vocabulary=10)
    found = dict(divided(way, sizes, config, world=8, casts=0))
    assert {name: found[name] for name in wanted} == wanted


def test_states_of_8_bits(tiny_model: Path) -> None:
    config = make_config(tiny_model, optimizer="adamw_8bit")
    family = load_family(tiny_model).for_attention("sdpa")
    model = fake_model(config, family, dtype=torch.float32, wanted=False)
    whole = optimizer_bytes(model, make_config(tiny_model))
    assert whole / 5 < optimizer_bytes(model, config) < whole / 3


@pytest.mark.slow
def test_what_each_way_divides(tiny_model: Path) -> None:
    config, family = make_config(tiny_model, "bfloat16"), load_family(tiny_model)
    one, eight = (estimate_memory(config, family, world=world, gpu_gib=80).ways for world in (1, 8))
    assert eight["ddp"]["true"].weights == one["ddp"]["true"].weights
    assert eight["fsdp2"]["true"].weights == one["fsdp2"]["true"].weights // 8
    assert eight["fsdp2"]["true"].optimizer == one["fsdp2"]["true"].optimizer // 8
    assert eight["fsdp2"]["true"].gathered > 0
    whole = eight["fsdp2"]["true"].gradients  # 16 packs on 8 processes: two micro-batches
    synced = config.replace(train=config.train.replace(sync_each_micro_batch=True))
    less = estimate_memory(synced, family, world=8, gpu_gib=80).ways["fsdp2"]["true"].gradients
    assert less == whole // 8
    for way in eight.values():
        assert way["true"].per_pack < way["selective"].per_pack < way["false"].per_pack
        assert way["true"].largest_micro_batch > way["false"].largest_micro_batch > 0
    needed = one["ddp"]["true"]
    tight = (sum(getattr(needed, part) for part in FIXED) + 2.5 * needed.per_pack) / GIB + 1.5
    assert estimate_memory(config, family, world=1, gpu_gib=tight).ways["ddp"]["true"].largest_micro_batch == 2


def test_padding_counts(tiny_model: Path) -> None:
    config, family = make_config(tiny_model), load_family(tiny_model)
    full = config.replace(data=config.data.replace(pad_to="full"))
    longest, padded = (
        estimate_memory(each, family, world=1, gpu_gib=80, kinds=("false",)).ways["ddp"]["false"].per_pack
        for each in (config, full)
    )
    assert padded > 1.05 * longest  # 1,088 tokens for 1,024, and 1,160 patches for 1,024


@pytest.mark.parametrize("size", [1, 1.5, float("inf")])
def test_a_gpu_has_a_size(size: float, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"--gpu-gib .*: expected a number over 1\.5"):
        estimate_memory(make_config(tiny_model), load_family(tiny_model), world=1, gpu_gib=size)


def test_options_that_have_no_effect_are_refused(tmp_path: Path) -> None:
    for words, said in ((["--memory", "--rejects", "x"], "--memory makes no plan"), (["--gpu-gib", "24"], "--memory")):
        with pytest.raises(ConfigError, match=said):
            CliRunner().invoke(app, ["plan", str(tmp_path / "cfg.yaml"), *words], catch_exceptions=False)


def test_plan_prints_it(tiny_model: Path, tmp_path: Path) -> None:
    config = tmp_path / "cfg.yaml"
    settings = "data: {train: [{path: none}], sequence_length: 512, max_patches: 256}"
    config.write_text(f"model: {{path: {tiny_model}}}\n{settings}\n")
    command = ["plan", str(config), "--memory", "--world", "4", "--gpu-gib", "24"]
    shown = CliRunner().invoke(app, command).output
    for word in ("4 GPUs of 24 GiB", "DDP", "FSDP2", "ZeRO-3", "optimizer", "micro_batch_size, selective"):
        assert word in shown
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert found["world"] == 4
    assert found["ways"]["fsdp2"]["true"]["largest_micro_batch"] > 0
