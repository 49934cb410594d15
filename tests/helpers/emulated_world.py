"""Accelerate shards on GPUs only; made to believe that this world is one of GPUs, it takes the same path over gloo."""

from typing import Any

import accelerate.state as state
import torch
from accelerate.utils import DistributedType


def pretend_gpus() -> None:
    """For this process, before its first Accelerator; ACCELERATE_TORCH_DEVICE has to be cpu."""

    def backend(self: Any, cpu: bool = False, sm: bool = False, backend: str | None = None) -> tuple[str, Any]:
        return "gloo", DistributedType.MULTI_GPU

    state.PartialState._prepare_backend = backend
    state.PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
