"""`train.sync_each_micro_batch: auto`: whether whole gradients fit between the micro-batches of a step under FSDP2.

One exchange per step is faster, and is taken where the estimate says that it fits into the smallest GPU with a margin.
The main process decides for all.
"""

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.train.memory.automatic import MARGIN, ROOMY_GIB, settle_memory, smallest_gib
from wdstream.train.memory.estimate import CHECKPOINTING_KINDS, GIB, SET_ASIDE, estimate_memory


def settle_estimated(config: Config, family: Family, accelerator: Accelerator, messages: list[str]) -> Config:
    """The configuration without any `auto` that follows from the estimate of memory; all ranks call it together."""
    settled = settle_memory(config, family, accelerator, messages)
    return settle_sync(settled, family, accelerator, messages)


def settle_sync(config: Config, family: Family, accelerator: Accelerator, messages: list[str]) -> Config:
    """The configuration without `auto`, the same on all ranks, which call it together; says why in `messages`.

    Without a GPU (and `train.gpu_gib`), and where nothing would be saved, it is false.
    """
    if config.train.sync_each_micro_batch != "auto":
        return config
    found: list[tuple[bool, str | None]] = [(False, None)]
    if accelerator.is_fsdp2:
        gib = smallest_gib(config, accelerator)
        if accelerator.is_main_process and gib is not None:
            found = [choose_sync(config, family, world=accelerator.num_processes, gib=gib)]
        broadcast_object_list(found)
    chosen, note = found[0]
    messages += [] if note is None else [note]
    return config.replace(train=config.train.replace(sync_each_micro_batch=chosen))


def choose_sync(config: Config, family: Family, *, world: int, gib: float) -> tuple[bool, str | None]:
    """(`train.sync_each_micro_batch`, a line for the log).

    Args:
        config: of the run.
        family: of its model.
        world: processes.
        gib: memory of the smallest GPU.
    """
    train, said = config.train, "train.sync_each_micro_batch: auto: "
    if config.data.global_batch_size <= world * train.micro_batch_size:
        return False, None  # a step has one micro-batch
    once = config.replace(train=train.replace(sync_each_micro_batch=False))
    again = train.gradient_checkpointing
    name = "selective" if again == "selective" else "true" if again is True else "false"
    try:
        kinds = ("false",) if name == "false" else CHECKPOINTING_KINDS
        ways = estimate_memory(once, family, world=world, gpu_gib=ROOMY_GIB, kinds=kinds).ways["fsdp2"]
    except Exception as error:  # the model's own code runs on tensors without numbers; the main process alone is here
        line = (str(error).strip().splitlines() or ["no reason"])[0]
        return True, f"{said}true, as the memory could not be estimated ({type(error).__name__}: {line})"
    fits = ways[name].needed(train.micro_batch_size) + SET_ASIDE <= gib * (1 - MARGIN) * GIB
    whole = f"{ways[name].gradients / GIB:.1f} GiB of whole gradients"
    chosen = f"false, as {whole} fit" if fits else f"true, as {whole} do not fit"
    return not fits, f"{said}{chosen} into {gib:.1f} GiB with the rest of a step"
