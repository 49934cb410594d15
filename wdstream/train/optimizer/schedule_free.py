"""Schedule-free AdamW (the schedulefree package): it trains one set of weights; an average of them is the model.

Checkpoints hold the first, from which a run continues bit for bit. Evaluation and the result use the second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from wdstream.config.learning import LearningSettings
from wdstream.errors import TrainError, needs_extra


def schedule_free_kind() -> Any:
    """The package's optimizer.

    Raises:
        TrainError: the package is not installed.
    """
    with needs_extra("train.optimizer: schedule_free", "schedulefree", error_type=TrainError):
        from schedulefree import AdamWScheduleFree
    return AdamWScheduleFree


def make_schedule_free(groups: list[dict[str, Any]], settings: LearningSettings) -> Optimizer:
    """The optimizer, in training mode.

    Raises:
        TrainError: the package is not installed.
    """
    optimizer: Any = schedule_free_kind()(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    optimizer.train()
    found: Optimizer = optimizer
    return found


@contextmanager
def averaged_weights(optimizer: Optimizer) -> Iterator[None]:
    """Inside, the model has the averaged weights; afterwards its own again, bit for bit. Other optimizers have none.

    The weights are copied, because going there and back would round them: a run would then depend on how often it is
    evaluated.
    """
    inner: Any = getattr(optimizer, "optimizer", optimizer)  # of Accelerate's
    if not any(group.get("train_mode") for group in inner.param_groups):
        yield
        return
    parameters = [parameter for group in inner.param_groups for parameter in group["params"]]
    kept = [parameter.detach().clone() for parameter in parameters]
    inner.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        for group in inner.param_groups:
            group["train_mode"] = True
