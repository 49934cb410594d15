"""The optimizer over its groups, and their rates in a step."""

import io
import sys

import pytest
import torch
from torch import nn

from wdstream.config.learning import ModelPart
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.train.optimizer.groups import LearningGroup, learning_groups
from wdstream.train.optimizer.optimizer import (
    groups_with_state,
    keep_settings,
    make_optimizer,
    set_learning_rate,
    trained_alone,
)


def test_decay_spares_vectors() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.1))
    assert [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups] == [(1, 0.1), (3, 0.0)]
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_8bit_optimizer_keeps_8bit_state(name: str) -> None:
    layer = nn.Linear(128, 64, bias=False)  # 8,192 weights: bitsandbytes keeps smaller ones in 32 bits
    optimizer = make_optimizer(layer, TrainConfig(optimizer=name))  # type: ignore[arg-type]
    layer(torch.ones(1, 128)).sum().backward()
    before = layer.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(before, layer.weight)
    assert optimizer.state[layer.weight]["state1"].dtype == torch.uint8


OPTIMIZERS = ["adamw", "adamw_fused", "adamw_8bit", "adafactor", "muon", "schedule_free"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_optimizer_continues_bit_for_bit(name: str) -> None:
    if name == "schedule_free":
        pytest.importorskip("schedulefree")
    schedule = "constant" if name == "schedule_free" else "cosine"
    config = TrainConfig.of({"optimizer": name, "schedule": schedule, "lr": 0.01, "weight_decay": 0.1})
    models = [nn.Sequential(nn.Linear(128, 64), nn.LayerNorm(64)) for _ in range(2)]
    optimizers = [make_optimizer(model, config) for model in models]
    before = next(models[0].parameters()).detach().clone()
    for number in range(4):
        if number == 2:
            models[1].load_state_dict(models[0].state_dict())
            saved = io.BytesIO()
            torch.save(optimizers[0].state_dict(), saved)
            optimizers[1].load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
            keep_settings(optimizers[1], learning_groups(models[1], config), config)
        for model, optimizer in zip(models, optimizers, strict=True):
            model(torch.linspace(-1, 1, 256).reshape(2, 128)).pow(3).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert not torch.equal(next(models[0].parameters()), before)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"muon": {"lr": 1}}, "muon is of optimizer: muon, and optimizer is adamw"),
        ({"optimizer": "adafactor", "betas": [0.9, 0.99]}, "betas has no effect on optimizer: adafactor"),
        ({"optimizer": "adafactor", "eps": 1e-6}, "eps has no effect on optimizer: adafactor"),
        ({"optimizer": "schedule_free"}, "in place of a schedule, and schedule is cosine: set constant"),
        (
            {"optimizer": "schedule_free", "schedule": "constant", "stages": [{"train": ["language"]}]},
            "averages over all steps, so it has no stages",
        ),
        ({"optimizer": "schedule_free", "schedule": "constant", "ema": {}}, "averages the weights already"),
    ],
)
def test_what_an_optimizer_would_ignore_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.of(settings)


def test_an_optimizer_whose_package_is_absent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    config = TrainConfig.of({"optimizer": "schedule_free", "schedule": "constant"})
    with pytest.raises(TrainError, match=r"train.optimizer: schedule_free.*pip install 'wdstream\[schedulefree\]'"):
        make_optimizer(nn.Linear(2, 2), config)


def test_nothing_to_train_is_an_error() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(TrainError, match="no parameter is trainable"):
        make_optimizer(model, TrainConfig())


def test_what_has_no_state_asks_for_none_wherever_stages_are_now() -> None:
    """FSDP2 takes the absence of a state for a loss: the checkpoint says what it has, not the stages of now."""
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    parts: tuple[ModelPart, ...] = ("projector", "language")
    groups = [
        LearningGroup(parameters=(one,), part=part, lr=None, weight_decay=0.0)
        for one, part in zip(parameters, parts, strict=True)
    ]
    optimizer = torch.optim.AdamW([{"params": [one]} for one in parameters])
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    settings = TrainConfig.of({"stages": [{"steps": 1, "train": ["projector"]}, {"train": ["projector", "language"]}]})
    assert groups_with_state(optimizer) == 1
    for with_state, asking in ((1, [True, False]), (None, [True, True])):
        with trained_alone(optimizer, groups, settings, 2, with_state):
            assert [one.requires_grad for one in parameters] == asking
        assert all(one.requires_grad for one in parameters)
