"""The optimizer over the groups of what learns, and its rates in a step."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from wdstream.config.training import TrainConfig
from wdstream.errors import TrainError, needs_extra
from wdstream.train.optimizer.groups import LearningGroup, Rates, learning_groups


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
        TrainError: nothing is trainable, or an 8-bit optimizer is asked for without bitsandbytes.
    """
    groups = learning_groups(model, config) if groups is None else groups
    parameters: list[dict[str, object]] = [
        {"params": [*group.parameters], "weight_decay": group.weight_decay} for group in groups
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, betas=config.betas, eps=config.eps)
    return _make_8bit_optimizer(parameters, config)


def keep_settings(optimizer: Optimizer, groups: Sequence[LearningGroup], config: TrainConfig) -> None:
    """After a checkpoint was loaded, which brings back the settings it was written with: those of now."""
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group["weight_decay"] = own.weight_decay
        group |= {name: value for name, value in (("betas", config.betas), ("eps", config.eps)) if name in group}


def _make_8bit_optimizer(groups: Iterable[dict[str, object]], config: TrainConfig) -> Optimizer:
    what, alternative = f"train.optimizer: {config.optimizer}", "or use train.optimizer: adamw"
    with needs_extra(what, "train", error_type=TrainError, alternative=alternative):
        import bitsandbytes as bnb
    # Pages move optimizer state between GPU and host memory; without a GPU there is nothing to move. Same numbers.
    is_paged = config.optimizer == "paged_adamw_8bit" and torch.cuda.is_available()
    kind = bnb.optim.PagedAdamW8bit if is_paged else bnb.optim.AdamW8bit
    optimizer: Optimizer = kind(groups, lr=config.lr, betas=config.betas, eps=config.eps)
    return optimizer
