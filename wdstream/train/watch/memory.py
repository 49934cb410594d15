"""How much memory a process has used at most."""

import resource
import sys
from typing import NamedTuple

import torch

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class PeakMemory(NamedTuple):
    """Of one process, or of the one that used most, since it began; bytes.

    `cpu` is what it held of the machine's memory, `allocated` what tensors took on its GPU, `reserved` what PyTorch
    held there for them; the last two are 0 without a GPU.
    """

    cpu: float
    allocated: float = 0.0
    reserved: float = 0.0


NO_MEMORY = PeakMemory(0.0)
"""Where nobody measured."""


def peak_memory() -> PeakMemory:
    """Of this process, until now."""
    cpu = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT)
    if not torch.cuda.is_available():
        return PeakMemory(cpu)
    return PeakMemory(cpu, float(torch.cuda.max_memory_allocated()), float(torch.cuda.max_memory_reserved()))
