"""digest: one line per step over every byte that is trained on, through the real loader of every rank.

    step  sha256 over its packs in plan order, each: sha256 over ids, labels, positions, pixels (type, shape, content)

The lines are the same for every number of ranks and threads, every micro-batch size, with and without a resume.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, StateError
from wdstream.pipeline.planned import Plan
from wdstream.plan.deal import packs_per_rank
from wdstream.records import NO_PACK, Failure, World

if TYPE_CHECKING:
    from wdstream.batches.batch import Batch
    from wdstream.nodes.node import State
    from wdstream.pipeline.loader import StreamLoader

OnFailure = Callable[[int, Failure], None]


def digest(
    config: Config,
    *,
    steps: range,
    world: int = 1,
    workers: int = 2,
    resume_at: int | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[tuple[int, str]]:
    """(step, hexadecimal sha256) of each of `steps`; ends with the run if that is earlier.

    Args:
        config: of the run; its `train.micro_batch_size` is used too.
        steps: consecutive numbers.
        world: ranks, all run in this process, in turn.
        workers: threads of each rank's loader.
        resume_at: stop before this step, save, and continue from the saved state with everything built again.
        on_failure: called with the step and each page that failed and is blank in its digest.

    Raises:
        ConfigError: `resume_at` is not among the steps.
        WdstreamError: no plan can be made, or a shard is bad.
    """
    if resume_at is not None and resume_at not in steps:
        raise ConfigError(f"--resume-at {resume_at}: expected one of the steps {steps.start}:{steps.stop}")
    plan = plan_from_config(config)
    state: State | None = plan.state_after(steps.start - 1).to_json() if steps.start else None
    stops = [steps.stop] if resume_at is None else [resume_at, steps.stop]
    for stop in stops:
        micro_batch_size = config.train.micro_batch_size
        with Ranks(plan, world=world, state=state, micro_batch_size=micro_batch_size, workers=workers) as ranks:
            while ranks.step < stop and (packs := ranks.next_step()) is not None:
                if on_failure is not None:
                    for failure in ranks.failures:
                        on_failure(ranks.step - 1, failure)
                yield ranks.step - 1, join_digests(packs)
            state = json.loads(json.dumps(ranks.state()))
        plan = plan_from_config(config)


class Ranks:
    """The loaders of all ranks, side by side in one process.

    Args:
        plan: of the run.
        world: how many ranks.
        state: where to begin; None for the beginning.
        micro_batch_size: packs per batch of each loader.
        workers: threads of each loader.
        prefetch: batches ready ahead in each loader.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        world: int,
        state: "State | None" = None,
        micro_batch_size: int = 1,
        workers: int = 0,
        prefetch: int = 1,
    ) -> None:
        self._stack = ExitStack()
        packs = packs_per_rank(plan.settings.global_batch_size, world_size=world, micro_batch_size=micro_batch_size)
        self._per_step = packs // micro_batch_size
        loader = partial(
            plan.loader, state=state, workers=workers, prefetch=prefetch, micro_batch_size=micro_batch_size
        )
        self._loaders: list[StreamLoader] = [
            self._stack.enter_context(loader(world=World(rank=rank, size=world))) for rank in range(world)
        ]
        self.step = int(self.state()["step"])
        self.failures: list[Failure] = []  # of the last step

    def next_step(self) -> dict[int, str] | None:
        """Digests of the next step's packs by number; None after the last step."""
        batches = [batch for loader in self._loaders for _, batch in zip(range(self._per_step), loader, strict=False)]
        if not batches:
            return None
        digests = {number: text for batch in batches for number, text in pack_digests(batch).items()}
        wrong = {batch.step for batch in batches} - {self.step}
        if wrong:
            raise StateError(
                f"expected batches of step {self.step} from all ranks, found some of {sorted(map(str, wrong))}"
            )
        self.step += 1
        self.failures = [failure for batch in batches for failure in batch.failures]
        return digests

    def state(self) -> "State":
        """The state after the last step.

        Raises:
            StateError: the ranks do not agree on it.
        """
        states = [loader.state_dict() for loader in self._loaders]
        for rank, state in enumerate(states):
            if state != states[0]:
                raise StateError(f"rank {rank} of {len(states)} has another state than rank 0: {state} != {states[0]}")
        return states[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def pack_digests(batch: "Batch") -> dict[int, str]:
    """Pack number to digest, for each pack of a batch; padding and places without a pack are left out."""
    found = {}
    ends = dict.fromkeys(batch.pixel_shapes[0], 0)
    for row, number in enumerate(batch.packs):
        length = sum(batch.lengths[row])
        arrays = {name: batch[name][..., row, :length].numpy() for name in ("input_ids", "labels", "position_ids")}
        for name, shape in batch.pixel_shapes[row].items():
            begin, ends[name] = ends[name], ends[name] + shape[0]
            arrays[name] = batch.arrays[name][(slice(begin, ends[name]), *map(slice, shape[1:]))].numpy()
        if number != NO_PACK:
            found[number] = arrays_digest(arrays)
    return found


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over names, types, shapes and contents."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        content.update(array.data)
    return content.hexdigest()


def join_digests(packs: Mapping[int, str]) -> str:
    """One digest of a step from those of its packs."""
    return hashlib.sha256("".join(packs[number] for number in sorted(packs)).encode()).hexdigest()
