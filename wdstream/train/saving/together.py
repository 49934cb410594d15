"""What all ranks do together when they save: each its own part, and nobody continues before all of them are done.

The ranks meet in a process group of their own, over gloo, whatever the training uses: it may wait in a background
thread while the step's collectives run, and for as long as a slow disk needs, whatever `train.collective_minutes` is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.distributed.checkpoint.api import CheckpointException

from wdstream.errors import TrainError, WdstreamError
from wdstream.storage.atomic import naming
from wdstream.train.launch.statuses import lost_processes

_OF_ARCHIVES = "inline_container.cc"
Saved = TypeVar("Saved")
"""What an action of saving gives back."""

SAVE_HOURS = 3
"""A rank that waits longer than this for the others' files takes them for lost; one that died is noticed at once."""


class SaveGroup:
    """The ranks of a run, as they save; every method is called by all of them, in one order.

    Args:
        accelerator: the process group that trains.

    Raises:
        TrainError: they cannot meet.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._rank, self._size = accelerator.process_index, accelerator.num_processes
        self._group = _new_group() if self._size > 1 or accelerator.is_fsdp2 else None

    @property
    def processes(self) -> "dist.ProcessGroup | None":
        """The group that they meet in; None where there is one process, and no torch.distributed."""
        return self._group

    def gather(self, item: Saved) -> list[Saved]:
        """What each rank brings, in their order."""
        if self._group is None:
            return [item]
        found: list[Saved] = [item] * self._size
        with lost_processes(f"the {SAVE_HOURS} hours that a save may take"):
            dist.all_gather_object(found, item, group=self._group)
        return found

    def do(self, action: Callable[[], Saved]) -> list[Saved]:
        """What `action` returns on each rank.

        Raises:
            TrainError: it failed on one of them: the same error on all, which names the ranks and says why.
        """
        cause: Exception | None = None
        try:
            outcome: tuple[Saved | None, str | None] = (action(), None)
        except Exception as error:  # whatever it is, the other ranks must hear of it and not wait
            cause, outcome = error, (None, _describe(error))
        outcomes = self.gather(outcome)
        failed = [f"rank {rank}: {text}" for rank, (_, text) in enumerate(outcomes) if text is not None]
        if failed:
            raise TrainError("\n".join(["a checkpoint could not be written:", *failed])) from cause
        return [result for result, _ in outcomes]  # type: ignore[misc]  # None only where Saved is


@contextmanager
def naming_checkpoint(path: Path) -> Iterator[None]:
    """Inside, the error of a write that fails, as on a disk that is full, names this folder of a checkpoint."""
    with naming(path):
        try:
            yield
        except RuntimeError as error:
            if _OF_ARCHIVES not in str(error):
                raise
            raise TrainError(f"{path}: {_describe(error)}") from error


def alone(action: Callable[[], object], rank: int, path: Path) -> None:
    """Write what has collectives of its own in it to `path`, so that the ranks cannot meet where it fails on one: this
    one ends, which the others notice, and does not wait for them.

    Raises:
        TrainError: it failed here.
    """
    try:
        with lost_processes(f"the {SAVE_HOURS} hours that a save may take"):
            action()
    except CheckpointException as error:
        raise TrainError(f"{path}: a checkpoint could not be written:\n{describe_ranks(error)}") from error
    except Exception as error:
        raise TrainError(f"{path}: a checkpoint could not be written:\nrank {rank}: {_describe(error)}") from error


def describe_ranks(error: CheckpointException) -> str:
    """What torch.distributed.checkpoint says of the ranks that failed, which is the same on all: a line for each.

    It is no `Exception`, so nothing else takes it for an error of a run."""
    return "\n".join(f"rank {rank}: {_describe(failure)}" for rank, (failure, _) in sorted(error.failures.items()))


def _new_group() -> dist.ProcessGroup:
    try:
        group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(hours=SAVE_HOURS))
        return group
    except RuntimeError as error:
        raise TrainError(
            f"the processes cannot meet over gloo, as they do to save ({error}); GLOO_SOCKET_IFNAME names the network "
            "interface to use, such as eth0"
        ) from error


def from_main(action: Callable[[], Saved], *, is_main: bool) -> Saved:
    """What `action` returns on the main process, which may see another disk; all ranks call it together.

    Raises:
        WdstreamError: the one that it raised there.
        OSError: likewise.
    """
    found: list[tuple[Saved | None, WdstreamError | OSError | None]] = [(None, None)]
    if is_main:
        try:
            found = [(action(), None)]
        except (WdstreamError, OSError) as error:
            found = [(None, error)]
    broadcast_object_list(found)
    result, refusal = found[0]
    if refusal is not None:
        raise refusal
    return result  # type: ignore[return-value]  # None only where Saved is


def _describe(error: BaseException) -> str:
    if isinstance(error, WdstreamError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if _OF_ARCHIVES in str(error):  # torch's archives say of a failed write only where they are
        return f"a file could not be written whole, as on a disk that is full ({str(error).splitlines()[0]})"
    return f"{type(error).__name__}: {error}"
