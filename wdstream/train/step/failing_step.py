"""A step that fails says which it was: its number, its packs and pages, what helps, and the two ways to continue."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.records import NO_PACK
from wdstream.text.characters import short_name

_SHOWN_KEYS = 8
_NO_MEMORY_ON_CPU = "can't allocate memory"


@contextmanager
def named_step(step: int, batches: Sequence[Batch], output: Path) -> Iterator[None]:
    """Name the step and this rank's packs and pages in what goes wrong with it.

    Args:
        step: its number.
        batches: this rank's micro-batches.
        output: of the run, for the command that lists the pages of all ranks.

    Raises:
        TrainError: the step failed by itself, or memory did not suffice.
    """
    try:
        yield
    except TrainError as error:
        raise TrainError(f"step {step}: {error}; {_contents(step, batches, output)}") from error
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        most = max((batch.input_ids.numel() for batch in batches), default=0)
        raise TrainError(
            f"step {step}: out of memory ({_first_line(error)}); its largest micro-batch on this rank "
            f"has {most} tokens. Lower train.micro_batch_size, data.sequence_length or data.max_patches, or set "
            f"train.gradient_checkpointing; {_contents(step, batches, output)}"
        ) from error


@contextmanager
def named_loading(what: str) -> Iterator[None]:
    """Inside, too little memory is an error that says what did not fit.

    Raises:
        TrainError: memory did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise TrainError(
            f"out of memory while {what} ({_first_line(error)}); `wdstream plan CFG --memory` says what a GPU "
            "needs, and other programs may hold some of it"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY_ON_CPU in str(error)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)  # Python's own MemoryError says nothing


def _contents(step: int, batches: Sequence[Batch], output: Path) -> str:
    packs = [str(pack) for batch in batches for pack in batch.packs if pack != NO_PACK]
    keys = [key for batch in batches for row in batch.page_keys for key in row if key]
    shown = ", ".join(map(short_name, keys[:_SHOWN_KEYS]))
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return (
        f"this rank had its packs {', '.join(packs)} with {len(keys)} pages: {shown}{more} (wdstream trace {output} "
        f"--step {step} lists those of all ranks). To continue, pass over the step (train.skip_steps: [{step}]), or go "
        f"back to a checkpoint before the trouble began (wdstream run list {output}; wdstream run rollback {output} "
        "--to STEP) and change what led to it, such as train.lr"
    )
