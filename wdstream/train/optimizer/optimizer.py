"""The optimizer over the groups of what learns, and its rates in a step."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from wdstream.config.learning import LearningSettings, MuonConfig
from wdstream.config.training import TrainConfig
from wdstream.errors import TrainError, needs_extra
from wdstream.train.optimizer.groups import LearningGroup, Rates, learning_groups
from wdstream.train.optimizer.muon import MuonWithAdamW
from wdstream.train.optimizer.rates import parts_before
from wdstream.train.optimizer.schedule_free import make_schedule_free, schedule_free_kind


def set_learning_rate(optimizer: Optimizer, rate: float | Rates) -> None:
    """Give every parameter group the same rate, or each its own; works on a prepared optimizer, too.

    A group whose rate is None keeps what it has: `set_aside` takes its gradient.
    """
    groups = optimizer.param_groups
    rates = [rate] * len(groups) if isinstance(rate, float | int) else rate
    for group, own in zip(groups, rates, strict=True):
        if own is not None:
            group["lr"] = own


def set_aside(optimizer: Optimizer, rates: float | Rates) -> None:
    """Drop the gradients of groups that do not learn in this step, before they are measured and clipped.

    Without a gradient an optimizer passes over a parameter: no momentum, no weight decay moves it, and no state is
    made for it. It keeps `requires_grad`, because DDP waits for the same gradients in every step of a run.
    """
    if isinstance(rates, float | int):
        return
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        for parameter in group["params"] if rate is None else ():
            parameter.grad = None


def make_optimizer(model: nn.Module, config: TrainConfig, groups: Sequence[LearningGroup] | None = None) -> Optimizer:
    """The optimizer over all trainable parameters.

    Args:
        model: not yet wrapped by Accelerate.
        config: of the run.
        groups: of `learning_groups`; None makes them.

    Raises:
        TrainError: nothing is trainable, or an optimizer's package is not installed.
    """
    groups = learning_groups(model, config) if groups is None else groups
    parameters: list[dict[str, Any]] = [
        {"params": [*group.parameters], "weight_decay": group.weight_decay} for group in groups
    ]
    if config.optimizer in ("adamw", "adamw_fused"):
        fused = {"fused": True} if config.optimizer == "adamw_fused" else {}
        return torch.optim.AdamW(parameters, lr=config.lr, betas=config.betas, eps=config.eps, **fused)
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(parameters, lr=config.lr)
    if config.optimizer == "muon":
        num_matrices = sum(group.is_orthogonal for group in groups)
        return MuonWithAdamW(parameters[:num_matrices], parameters[num_matrices:], config)
    if config.optimizer == "schedule_free":
        return make_schedule_free(parameters, config)
    return _make_8bit_optimizer(parameters, config)


@contextmanager
def trained_alone(
    optimizer: Optimizer,
    groups: Sequence[LearningGroup],
    settings: LearningSettings,
    step: int,
    with_state: int | None = None,
) -> Iterator[None]:
    """While a checkpoint of `step` is loaded: only what was trained before it asks for a gradient.

    All else has no state yet, which FSDP2 takes for a loss where a parameter asks for one. `with_state` is the
    checkpoint's own `groups_with_state`: stages may have been moved since, or all steps of one skipped.
    """
    trained = parts_before(step, settings)
    resting: list[nn.Parameter] = []
    pairs = [] if trained is None else zip(optimizer.param_groups, groups, strict=True)
    for number, (group, own) in enumerate(pairs):
        has_state = own.part in (trained or ()) if with_state is None else with_state >> number & 1
        resting += [] if has_state else group["params"]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)


def groups_with_state(optimizer: Optimizer) -> int:
    """A bit for each group, from the lowest on: 1 where the optimizer has state of it."""
    held = [any(each in optimizer.state for each in group["params"]) for group in optimizer.param_groups]
    return sum(1 << number for number, is_held in enumerate(held) if is_held)


def keep_settings(optimizer: Optimizer, groups: Sequence[LearningGroup], config: TrainConfig) -> None:
    """After a checkpoint was loaded, which brings back the settings it was written with: those of now."""
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group["weight_decay"] = own.weight_decay
        if "betas" in group:
            group |= {"betas": config.betas, "eps": config.eps}
        if own.is_orthogonal:
            group["momentum"] = (config.muon or MuonConfig()).momentum


def require_package(config: LearningSettings) -> None:
    """Refuse an optimizer whose package is absent, before weights are loaded.

    Raises:
        TrainError: says what to install.
    """
    if config.optimizer == "schedule_free":
        schedule_free_kind()
    elif config.optimizer.endswith("8bit"):
        _kind_8bit(config)


def _kind_8bit(config: LearningSettings) -> Any:
    what, alternative = f"train.optimizer: {config.optimizer}", "or use train.optimizer: adamw"
    with needs_extra(what, "train", error_type=TrainError, alternative=alternative):
        import bitsandbytes as bnb
    # Pages move optimizer state between GPU and host memory; without a GPU there is nothing to move. Same numbers.
    is_paged = config.optimizer == "paged_adamw_8bit" and torch.cuda.is_available()
    return bnb.optim.PagedAdamW8bit if is_paged else bnb.optim.AdamW8bit


def _make_8bit_optimizer(groups: Iterable[dict[str, object]], config: TrainConfig) -> Optimizer:
    optimizer: Optimizer = _kind_8bit(config)(groups, lr=config.lr, betas=config.betas, eps=config.eps)
    return optimizer
