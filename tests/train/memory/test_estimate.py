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
from wdstream.train.memory.estimate import GIB, estimate_memory, model_bytes, optimizer_bytes
from wdstream.train.memory.fake_run import fake_model
from wdstream.train.model.load import load_model
from wdstream.train.optimizer.optimizer import make_optimizer

LORA = {"adapter": {"kind": "lora", "r": 4}}


def make_config(path: Path, dtype: str = "float32", **train: Any) -> Config:
    data = {"train": [{"path": "none"}], "sequence_length": 1024, "max_patches": 1024}
    return Config.model_validate({"model": {"path": str(path), "dtype": dtype}, "data": data, "train": train})


@pytest.mark.parametrize("train", [{}, {"freeze_vision": True}, LORA], ids=["all", "language", "lora"])
def test_weights_and_optimizer_are_exact(train: dict[str, Any], tiny_model: Path) -> None:
    config = make_config(tiny_model, **train)
    family = load_family(tiny_model).for_attention("sdpa")
    sizes = model_bytes(fake_model(config, family, dtype=torch.float32, wanted=False), config, torch.float32)
    real = load_model(config, torch.device("cpu"))
    trained = [parameter for parameter in real.parameters() if parameter.requires_grad]
    assert sizes.weights == sum(parameter.nbytes for parameter in real.parameters())
    assert sizes.trained == sum(parameter.numel() for parameter in trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(real, config.train)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    assert sizes.optimizer == sum(value.nbytes for value in states if isinstance(value, torch.Tensor))


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
    tight = (needed.fixed + 2.5 * needed.per_pack) / GIB + 1.5
    assert estimate_memory(config, family, world=1, gpu_gib=tight).ways["ddp"]["true"].largest_micro_batch == 2
    with pytest.raises(ConfigError, match=r"--gpu-gib 1.* expected more than 1\.5"):
        estimate_memory(config, family, world=1, gpu_gib=1)


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
