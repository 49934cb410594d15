"""What is saved of a run, all ranks together: its training states.

A checkpoint, which runs/checkpoint.py makes complete or absent:

    model.safetensors | adapter_model.safetensors     of one process or DDP (whole_weights.py)
    optimizer.bin, random_states_<rank>.pkl
    ema.safetensors                                   with `train.ema`
    pytorch_model_fsdp_0/, optimizer_0/               under FSDP2, instead (sharded_weights.py)
    pytorch_model/, pytorch_model_fsdp.bin, ...       under DeepSpeed, FSDP1, FULL_STATE_DICT, by Accelerate

Every rank writes, syncs and measures its own files (together.py). With `train.async_checkpoints` a thread does it, from
a copy in host memory (background.py), and the next save waits for it. All processes must see the folder. Accelerate
also keeps each rank's random generators, and silently passes over them when the world has changed; that is harmless
here, because every micro-batch seeds its own numbers (step/step.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.checkpoint.api import CheckpointException

from wdstream.errors import TrainError
from wdstream.nodes.node import State
from wdstream.runs.best import BestCheckpoint, read_best, write_best
from wdstream.runs.checkpoint import (
    Checkpoint,
    Measures,
    Retention,
    begin_checkpoint,
    checkpoint_path,
    finish_checkpoint,
    measure_own_files,
    partial_path,
    remove_old_checkpoints,
    require_newest,
)
from wdstream.runs.layout import RunLayout
from wdstream.train.launch.zero import describe_zero, zero_stage
from wdstream.train.model.ema import AverageWeights
from wdstream.train.saving.background import Background
from wdstream.train.saving.sharded_weights import ShardedWeights, begin_optimizer_state, writes_shards
from wdstream.train.saving.together import Saved, SaveGroup, alone, describe_ranks, from_main, naming_checkpoint
from wdstream.train.saving.weights import HOLDS_ADAPTER, HOLDS_ALL, HOLDS_SHARDS, weights_form
from wdstream.train.saving.whole_weights import HostCopies, WholeWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTimes:
    """How long a checkpoint took, on the main process.

    Attributes:
        step: of the checkpoint.
        written_s: seconds from its begin until it was complete.
        waited_s: seconds of it in which no step could run, with the wait for the checkpoint before.
    """

    step: int
    written_s: float
    waited_s: float


class Checkpoints:
    """The checkpoints of one run; every method is called by all ranks together.

    Args:
        files: of the run.
        accelerator: what is prepared by it is saved and loaded.
        keep: which ones are kept; the best one as well, where the run records one.
        is_adapter_only: the model is under PEFT, and its frozen base is left out.
        is_async: write while training continues, where the files are not those of an engine of others.

    Attributes:
        is_async: whether it does.
        average: that is saved with the rest; set when there is a model.
    """

    def __init__(
        self,
        files: RunLayout,
        accelerator: Accelerator,
        *,
        keep: Retention,
        is_adapter_only: bool = False,
        is_async: bool = False,
    ) -> None:
        self._files = files
        self._accelerator = accelerator
        self._keep = keep
        self.average: AverageWeights | None = None
        self._zero_stage = zero_stage(accelerator)
        is_sharded = accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        self._form = HOLDS_SHARDS if is_sharded else HOLDS_ADAPTER if is_adapter_only else HOLDS_ALL
        self._group = SaveGroup(accelerator)
        self._whole = None if is_sharded else WholeWeights(accelerator, is_adapter_only=is_adapter_only)
        group = self._group.processes
        self._shards = ShardedWeights(accelerator, group) if group is not None and writes_shards(accelerator) else None
        self.is_async = is_async and not (is_sharded and self._shards is None)
        self._copies = HostCopies()
        self._background = Background(is_threaded=self.is_async)
        self._waited: dict[int, float] = {}
        self._done: list[tuple[int, float]] = []

    def reserve(self) -> None:
        """After the first step of a start: begin to ask for the memory of copies, so that no save waits for it."""
        own = self._whole or self._shards
        if own is not None and self.is_async:
            self._background.add(partial(self._group.do, partial(_ask_for_memory, own.reserve())))

    def save(self, step: int, *, stream: State, trainer: Mapping[str, int]) -> None:
        """Write the state before `step`; those that are not to be kept are removed when it is complete.

        Raises:
            TrainError: it cannot be written on a rank, or the one before could not.
        """
        began = perf_counter()
        self._background.wait()
        path, accelerator = checkpoint_path(self._files.checkpoints, step), self._accelerator
        self._group.do(partial(begin_checkpoint, path) if accelerator.is_main_process else _nothing)
        write = self._begin(partial_path(path))
        facts = {"world_size": accelerator.num_processes, "zero_stage": self._zero_stage}
        checkpoint = Checkpoint(path=path, step=step, stream=stream, trainer=trainer, **facts)
        self._background.add(partial(self._finish, checkpoint, write, began))
        self._waited[step] = perf_counter() - began

    def _begin(self, folder: Path) -> Callable[[], object]:
        """`_take`, after which the ranks meet where no collective is in it that one of them could be missing in."""
        if self._whole is None:
            with naming_checkpoint(folder):
                return self._take(folder)
        taken: list[Callable[[], object]] = []  # stays here: it cannot be sent to the others
        self._group.do(lambda: taken.append(self._take(folder)))
        return taken[0]

    def _take(self, folder: Path) -> Callable[[], object]:
        """What writes this rank's files of the state as it is now."""
        own, writes = self._whole or self._shards, list[Callable[[], object]]()
        if own is not None:
            writes.append(own.take(folder, is_copied=self.is_async))
        else:
            options = {} if self._zero_stage is None else {"exclude_frozen_parameters": True}
            if self._accelerator.is_fsdp2:  # and whole weights are asked for
                begin_optimizer_state(self._accelerator)
            writes.append(partial(self._accelerator.save_state, str(folder), **options))
        if self.average is not None:
            writes.append(partial(self.average.take(self._copies if self.is_async else None), folder))
        return lambda: [write() for write in writes]

    def _finish(self, checkpoint: Checkpoint, write: Callable[[], object], began: float) -> None:
        """Write and measure on every rank, then seal."""
        is_main, rank = self._accelerator.is_main_process, self._accelerator.process_index

        def write_own() -> Measures:
            with naming_checkpoint(checkpoint.path):
                write()
            return measure_own_files(checkpoint.path, rank)

        if self._whole is None:
            alone(write, rank, checkpoint.path)
            write = _nothing

        measured = self._group.do(write_own)
        self._group.do(partial(self._seal, checkpoint, measured) if is_main else _nothing)
        self._done.append((checkpoint.step, perf_counter() - began))

    def _seal(self, checkpoint: Checkpoint, measured: list[Measures]) -> None:
        finish_checkpoint(checkpoint, measured=measured, keep=self._kept())

    def _kept(self) -> Retention:
        best = read_best(self._files)
        return self._keep if best is None else replace(self._keep, best=best.step)

    def note_best(self, best: BestCheckpoint) -> None:
        """Record the newest checkpoint as the best one so far, once it is complete, and let go of the one before."""

        def note() -> None:
            write_best(self._files, best)
            remove_old_checkpoints(checkpoint_path(self._files.checkpoints, best.step), self._kept())

        self._background.add(partial(self._group.do, note if self._accelerator.is_main_process else _nothing))

    @property
    def has_failed(self) -> bool:
        """Whether a save in the background failed on this rank; the others may not know it yet."""
        return self._background.has_failed

    def fail(self) -> None:
        """End a run in which `has_failed` holds on a rank.

        Raises:
            TrainError: always; says what failed.
        """
        self.wait()
        raise TrainError("a checkpoint could not be written by another process; its message says why")

    def wait(self) -> None:
        """Return when all that was saved is complete.

        Raises:
            TrainError: a part of it could not be written.
        """
        self._background.wait()

    def abandon(self) -> None:
        """Leave what is being written unfinished: `close` does not wait for it."""
        self._background.abandon()

    def close(self) -> None:
        """Wait for what is being written, whatever becomes of it; a run that ends in an error does."""
        self._background.close()

    def times(self) -> list[SaveTimes]:
        """Of the checkpoints that were completed since the last call."""
        found: list[SaveTimes] = []
        while self._done:  # a thread may add to it
            step, seconds = self._done.pop(0)
            found.append(SaveTimes(step=step, written_s=seconds, waited_s=self._waited.pop(step)))
        return found

    def from_main(self, action: Callable[[], Saved]) -> Saved:
        """What `action` returns, or raises, on the main process."""
        return from_main(action, is_main=self._accelerator.is_main_process)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint, the same on every rank, and a message on each one passed over.

        Raises:
            TrainError: there are checkpoints, and none is whole.
        """
        return self.from_main(partial(require_newest, self._files.checkpoints))

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint whose shards this start cannot put together.

        Raises:
            TrainError: it was written under another ZeRO stage, or under one by another number of processes, under FSDP
                or not, or it is of an adapter or not.
        """
        ours, theirs, world = self._zero_stage, checkpoint.zero_stage, self._accelerator.num_processes
        if theirs != ours:
            raise TrainError(
                f"{checkpoint.path} was written {describe_zero(theirs)}, and this start is {describe_zero(ours)}; "
                "start it as before, or begin a new run in another train.output"
            )
        if ours is not None and checkpoint.world_size != world:
            raise TrainError(
                f"{checkpoint.path} holds DeepSpeed's shards of {checkpoint.world_size} processes, which {world} "
                f"cannot read; start {checkpoint.world_size} processes, or begin a new run in another train.output"
            )
        found, wanted = weights_form(checkpoint.path), self._form
        if ours is None and found is not None and found != wanted:
            raise TrainError(
                f"{checkpoint.path} holds {found}, and this start reads {wanted}: bring train.adapter and the launch "
                "(FSDP or not) back as they were, or begin a new run in another train.output"
            )

    def load(self, checkpoint: Checkpoint) -> None:
        """Put the weights and the optimizer's state into what was prepared.

        Raises:
            TrainError: shards of it cannot be read.
        """
        # DeepSpeed left the frozen weights out; they are those of `model.path`, as under PEFT without it.
        options = {} if self._zero_stage is None else {"load_module_strict": False}
        try:
            self._accelerator.load_state(str(checkpoint.path), **options)
        except CheckpointException as error:
            raise TrainError(f"{checkpoint.path} cannot be read:\n{describe_ranks(error)}") from error


def _ask_for_memory(reserve: Callable[[], None]) -> None:
    try:
        reserve()
    except (MemoryError, RuntimeError) as error:
        raise TrainError(
            f"train.async_checkpoints: weights and optimizer's state do not fit into host memory once more ({error}); "
            "set it to false"
        ) from error


def _nothing() -> None:
    """What the ranks do that have no part in it."""
