"""Muon and AdamW as one optimizer: each moves its own, and the state of both is one."""

import io
from typing import Any

import torch
from torch import Tensor, nn

from wdstream.config.training import TrainConfig
from wdstream.train.optimizer.groups import learning_groups
from wdstream.train.optimizer.optimizer import make_optimizer, set_learning_rate


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 4))


def step(model: nn.Module, optimizer: Any) -> None:
    model(torch.linspace(-1, 1, 16).reshape(2, 8)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def config(**settings: object) -> TrainConfig:
    return TrainConfig.of({"optimizer": "muon", "lr": 0.01, **settings})


def test_matrices_are_moved_by_muon_and_vectors_by_adamw() -> None:
    model, wanted = small(), small()
    matrices = [each for each in wanted.parameters() if each.ndim == 2]
    vectors = [each for each in wanted.parameters() if each.ndim < 2]
    of_muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.5, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(vectors, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    optimizer = make_optimizer(model, config(muon={"lr": 0.02, "weight_decay": 0.5, "momentum": 0.9}))
    set_learning_rate(optimizer, [0.02, 0.01])
    references: list[Any] = [of_muon, adamw]
    for _ in range(3):
        step(model, optimizer)
        wanted(torch.linspace(-1, 1, 16).reshape(2, 8)).square().sum().backward()
        for each in references:
            each.step()
            each.zero_grad()
    assert all(map(torch.equal, model.parameters(), wanted.parameters()))


def test_its_groups_come_first_with_their_own_rate_and_decay() -> None:
    groups = learning_groups(small(), config(muon={"lr": 0.5, "weight_decay": 0.25}, weight_decay=0.125))
    found = [(group.is_orthogonal, len(group.parameters), group.lr, group.weight_decay) for group in groups]
    assert found == [(True, 2, 0.5, 0.25), (False, 4, None, 0.0)]


def saved(optimizer: Any) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def test_one_kind_alone_and_a_saved_state() -> None:
    only = nn.Linear(8, 8, bias=False)
    optimizer = make_optimizer(only, config())
    before = only.weight.detach().clone()
    step(only, optimizer)
    assert not torch.equal(before, only.weight)
    again = nn.Linear(8, 8, bias=False)
    again.load_state_dict(only.state_dict())
    other = make_optimizer(again, config())
    other.load_state_dict(saved(optimizer))
    for model, its in ((only, optimizer), (again, other)):
        step(model, its)
    assert torch.equal(only.weight, again.weight)
    rows: Tensor = other.state[again.weight]["momentum_buffer"]
    assert rows.any()
