"""The optimizer over its groups, and their rates in a step."""

import pytest
import torch
from torch import nn

from wdstream.config.training import TrainConfig
from wdstream.errors import TrainError
from wdstream.train.optimizer.optimizer import make_optimizer, set_learning_rate


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


def test_nothing_to_train_is_an_error() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(TrainError, match="no parameter is trainable"):
        make_optimizer(model, TrainConfig())
