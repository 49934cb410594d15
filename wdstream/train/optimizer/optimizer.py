"""The optimizer, and the learning rate as a pure function of the step: there is no scheduler state to lose."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from wdstream.config.training import TrainConfig
from wdstream.errors import TrainError, needs_extra


def learning_rate(step: int, config: TrainConfig, *, total_steps: int) -> float:
    """Linear warm-up to `lr`, then a cosine down to `lr * min_lr_ratio` at the last step.

    `step` counts from 0; the first warm-up step has lr / (warmup_steps + 1), so no step is lost at rate 0.
    """
    peak, warmup_steps, min_ratio = config.lr, config.warmup_steps, config.min_lr_ratio
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return peak * (min_ratio + (1.0 - min_ratio) * cosine)


def needs_total(step: int, config: TrainConfig) -> bool:
    """Whether the rate of a step depends on how many steps the run has: not in the warm-up, nor without a decay."""
    return step >= config.warmup_steps and config.min_lr_ratio < 1


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group the same rate; works on a prepared optimizer, too."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer over all trainable parameters; weight decay only on matrices, not on norms and biases.

    Raises:
        TrainError: nothing is trainable, or an 8-bit optimizer is asked for without bitsandbytes.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainError(
            "no parameter is trainable: train.freeze_vision and train.adapter leave nothing to train; "
            "check train.adapter.target_modules"
        )
    groups: list[dict[str, object]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    return _make_8bit_optimizer(groups, config)


def _make_8bit_optimizer(groups: Iterable[dict[str, object]], config: TrainConfig) -> Optimizer:
    what, alternative = f"train.optimizer: {config.optimizer}", "or use train.optimizer: adamw"
    with needs_extra(what, "train", error_type=TrainError, alternative=alternative):
        import bitsandbytes as bnb
    # Pages move optimizer state between GPU and host memory; without a GPU there is nothing to move. Same numbers.
    is_paged = config.optimizer == "paged_adamw_8bit" and torch.cuda.is_available()
    kind = bnb.optim.PagedAdamW8bit if is_paged else bnb.optim.AdamW8bit
    optimizer: Optimizer = kind(groups, lr=config.lr, betas=config.betas)
    return optimizer
