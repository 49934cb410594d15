"""Muon for matrices and AdamW for all else, as one optimizer: both are PyTorch's."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from wdstream.config.learning import LearningSettings, MuonConfig

Groups = list[dict[str, Any]]
_OF_MUON = "ns_steps"
"""A key that every group of Muon has, and none of AdamW's."""


class MuonWithAdamW(Optimizer):
    """One list of groups and one state, so that checkpoints, rates and clipping see a single optimizer.

    Args:
        matrices: groups that Muon moves, of two dimensions.
        others: groups that AdamW moves; one of the two may be empty.
        settings: of both.
    """

    def __init__(self, matrices: Groups, others: Groups, settings: LearningSettings) -> None:
        muon = settings.muon or MuonConfig()
        self._inner: list[Optimizer] = []
        if matrices:
            # Scaled to the size of AdamW's updates, so that one rate, and one schedule, fit both.
            options: dict[str, Any] = {"momentum": muon.momentum, "adjust_lr_fn": "match_rms_adamw"}
            self._inner.append(torch.optim.Muon(matrices, lr=settings.lr, weight_decay=0.0, **options))
        if others:
            self._inner.append(torch.optim.AdamW(others, lr=settings.lr, betas=settings.betas, eps=settings.eps))
        super().__init__([group for inner in self._inner for group in inner.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Both updates. Groups and state are handed on each time: loading a checkpoint replaces them."""
        for inner in self._inner:
            is_muon = isinstance(inner, torch.optim.Muon)
            inner.param_groups = [group for group in self.param_groups if (_OF_MUON in group) == is_muon]
            inner.state = self.state
            inner.step()
