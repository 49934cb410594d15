"""Settings that follow from the estimate of memory: `train.gradient_checkpointing: auto`.

What is chosen is the cheapest that fits into the smallest device of the run with a margin. It is a function of the
configuration, the number of processes and what is free on that device, made by the main process for all. None of the
choices changes a bit of what is computed, so a run may continue with another one.
"""

import time
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list, gather_object

from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.train.launch.zero import zero_stage
from wdstream.train.memory.estimate import CHECKPOINTING_KINDS, GIB, SET_ASIDE, estimate_memory
from wdstream.train.memory.fake_run import Kept

ROOMY_GIB = 512.0
"""Of the device that an estimate is made for: what fits is compared here, and one that is too small is not refused."""
MARGIN = 0.1
"""Share of a device that is left free: of what the estimate does not know, and of memory that is in pieces."""
CHOICES: tuple[tuple[str, bool | str], ...] = (("false", False), ("selective", "selective"), ("true", True))
"""By rising time, and falling memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a run has.

    Attributes:
        way: in which its processes share the model, as the estimate names it.
        world: how many there are.
        gib: memory that it may use of the smallest device.
    """

    way: str
    world: int
    gib: float


def settle_memory(config: Config, family: Family, accelerator: Accelerator, messages: list[str]) -> Config:
    """The configuration without `auto`, the same on all ranks, which call it together; says why in `messages`."""
    train = config.train
    if train.gradient_checkpointing != "auto":
        return config
    gib = smallest_gib(config, accelerator)
    found: list[tuple[bool | str, str | None]] = [(False, None)]
    if accelerator.is_main_process and gib is not None:
        found = [choose_checkpointing(config, family, device_of(accelerator, gib))]
    broadcast_object_list(found)
    chosen, note = found[0]
    messages += filter(None, [note])
    return config.replace(train=train.replace(gradient_checkpointing=chosen))


def smallest_gib(config: Config, accelerator: Accelerator) -> float | None:
    """Memory that the run may use of the device that has least free; None where one is not known. All ranks call it."""
    device = accelerator.device
    own = free_gib(device) if device.type == "cuda" else None
    sizes: list[float | None] = gather_object([usable_gib(own, config.train.gpu_gib)])
    known = [size for size in sizes if size is not None]
    return min(known) if len(known) == len(sizes) else None


def free_gib(device: torch.device) -> float:
    """Memory of a GPU that no other program holds: what is free, and what this process has of it for tensors already.

    CUDA's own memory in this process is not in it, and SET_ASIDE counts it again: half a GiB on the safe side.
    """
    free, _ = torch.cuda.mem_get_info(device)
    return float(free + torch.cuda.memory_reserved(device)) / GIB


def usable_gib(own: float | None, given: float | None) -> float | None:
    """Memory of a device with `own` GiB free of which a run may use `given`; None: neither is known."""
    return min((size for size in (own, given) if size is not None), default=None)


def device_of(accelerator: Accelerator, gib: float) -> Device:
    """How the processes of a run share its model."""
    stage, kind = zero_stage(accelerator), accelerator.distributed_type
    way = f"zero{stage}" if stage else "fsdp2" if kind == DistributedType.FSDP else "ddp"
    return Device(way=way, world=accelerator.num_processes, gib=gib)


def choose_checkpointing(config: Config, family: Family, device: Device) -> tuple[bool | str, str]:
    """(`train.gradient_checkpointing`, a line for the log)."""
    said, began = "train.gradient_checkpointing: auto: ", time.monotonic()
    packs, room = config.train.micro_batch_size, device.gib * (1 - MARGIN)
    counted: dict[str, Kept] = {}  # the others are counted only where `false` does not fit
    for number, (name, value) in enumerate(CHOICES):
        try:
            kinds = CHECKPOINTING_KINDS if number else (name,)
            found = estimate_memory(config, family, world=device.world, gpu_gib=ROOMY_GIB, kinds=kinds, counted=counted)
        except Exception as error:  # the model's own code, on tensors without numbers
            line = (str(error).strip().splitlines() or ["no reason"])[0]
            return True, f"{said}true, as the memory could not be estimated ({type(error).__name__}: {line})"
        needed = (found.ways[device.way][name].needed(packs) + SET_ASIDE) / GIB
        of = f"of {device.gib:.1f} GiB, by the estimate for {device.world} x {device.way}"
        of += f", which took {time.monotonic() - began:.0f} s"
        if needed <= room:
            return value, f"{said}{name}, with which a step takes {needed:.1f} {of}"
    return True, (
        f"{said}true, and even so a step takes {needed:.1f} {of}: {needed - room:.1f} more than fit with a margin of "
        f"{MARGIN:.0%}; a smaller data.sequence_length, data.max_patches or train.micro_batch_size, an adapter, or "
        "more processes under FSDP2 take less (wdstream plan CFG --memory)"
    )
