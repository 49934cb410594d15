"""What a run trains on, step by step: a plan, or lanes of tars without an index; the loop treats both alike.

    stream = open_stream(config, world)                once
    with stream.open(state, known_bad):                from a saved state on
        batches = stream.take(step)                    this rank's micro-batches
        contents = stream.contents(step, batches)      of the step over all ranks; None after the last one
        stream.state()                                 after it, the same on every rank

A plan knows in advance what a step holds. For lanes one gather per step brings it together: its supervised tokens, by
which the loss is divided, and the keys of its pages, which are written down because nobody could compute them again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypedDict

from accelerate import PartialState
from accelerate.utils import gather_object

from wdstream.batches.batch import Batch
from wdstream.batches.form import BatchForm
from wdstream.config.build import lanes_from_config, plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import StateError, TrainError
from wdstream.families.base import Family
from wdstream.nodes.node import State
from wdstream.pipeline.loader import StreamLoader
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.planning.feed import SharedPlanner, plans_apart
from wdstream.pipeline.planning.place import make_socket_folder, this_machine
from wdstream.pipeline.streamed import Lanes
from wdstream.plan.deal import idle_note, packs_per_rank
from wdstream.plan.order import combine
from wdstream.plan.summary import held_out_notes
from wdstream.records import Failure, Ints, World
from wdstream.runs.record import DataSizes
from wdstream.train.contents import StepContents, join_contents, planned_contents, rank_contents
from wdstream.train.step.blank import batch_form

STATE_EVERY_PAGES = 8192
"""Between two states that are written down for `wdstream trace`: planned again in a tenth of a second."""
NOTED_AT_ONCE = 1 << 20
"""Samples whose images are counted before the first step, in some milliseconds."""


class LoaderSettings(TypedDict):
    """How this rank's loader works."""

    world: World
    workers: int
    prefetch: int
    micro_batch_size: int
    form: BatchForm


class Stream(ABC):
    """The training data of a run, on one rank.

    Args:
        config: of the run.
        world: which process this is.
        family: of the model, fitted to the tiling.
        fingerprints: of all that decides the stream.
        data: how large each dataset is.
    """

    def __init__(
        self, config: Config, world: World, *, family: Family, fingerprints: Mapping[str, str], data: DataSizes
    ) -> None:
        self.family = family
        self.fingerprints = fingerprints
        self.data = data
        micro_batch_size = config.train.micro_batch_size
        self._settings = LoaderSettings(
            world=world,
            workers=config.data.workers,
            prefetch=config.data.prefetch,
            micro_batch_size=micro_batch_size,
            form=batch_form(config, family),
        )
        num_packs = packs_per_rank(
            config.data.global_batch_size, world_size=world.size, micro_batch_size=micro_batch_size
        )
        self._num_batches = num_packs // micro_batch_size  # of this rank, per step
        self._loader: StreamLoader
        self._state: State  # of the loader, after the last step that held something

    @property
    def dataset_offsets(self) -> Ints | None:
        """int64 (datasets + 1,), sample numbers at which the datasets begin; None where no plan numbers samples."""
        return None

    def epochs(self) -> Mapping[str, float]:
        """Passes over each dataset, by name, until the last step; none where no plan tells."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the data before the first step."""
        return ()

    def slow_notes(self) -> tuple[str, ...]:
        """More of them, which take a while to find out."""
        return ()

    @abstractmethod
    def check(self, state: State) -> None:
        """Refuse a saved state that belongs to another stream. Raises StateError."""

    @property
    def counted_plan(self) -> Plan | None:
        """The plan whose epochs end the run; None where data have no end, or nobody knows it."""
        return None

    @abstractmethod
    def state(self) -> State:
        """The state after the last step, the same on every rank. All ranks call it together."""

    @abstractmethod
    def _open_loader(self, state: State | None, known_bad: Sequence[Failure]) -> StreamLoader:
        """This rank's loader."""

    @abstractmethod
    def _contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        """What the step holds over all ranks; None when the data ended before it."""

    @contextmanager
    def open(self, state: State | None, known_bad: Sequence[Failure]) -> Iterator[None]:
        """Read from a state on, None for the beginning; pages `known_bad` stay blank."""
        with self._open_loader(state, known_bad) as self._loader:
            self._state = self._loader.state_dict()
            yield

    def take(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step; none after the last one.

        Raises:
            TrainError: the loader is at another step.
        """
        batches = list(islice(self._loader, self._num_batches))
        steps = {batch.step for batch in batches}
        if batches and (len(batches) != self._num_batches or steps != {step}):
            raise TrainError(
                f"step {step}: expected {self._num_batches} micro-batches of it from the loader, found {len(batches)} "
                f"of steps {sorted(map(str, steps))}; the stream and the run have come apart, please report this"
            )
        return batches

    def is_over(self) -> bool:
        """Whether nothing comes after what was taken; a step that does is lost."""
        return next(self._loader, None) is None

    def contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        """What the step holds over all ranks; None when the data ended before it. All ranks call it together."""
        contents = self._contents(step, batches)
        if contents is not None:
            self._state = self._loader.state_dict()
        return contents


def open_stream(config: Config, world: World) -> Stream:
    """The training data: planned from an index, or streamed from tars that have none.

    Raises:
        WdstreamError: shards, model folder or token column are missing, or settings contradict each other.
    """
    if config.data.streaming is None:
        return PlannedStream(plan_from_config(config), config, world)
    return LaneStream(lanes_from_config(config), config, world)


class PlannedStream(Stream):
    """Shards with an index: batches bring the plan of their step."""

    def __init__(self, plan: Plan, config: Config, world: World) -> None:
        data: DataSizes = {
            dataset.name: {"shards": len(shards.shard_names), "pages": len(shards), "digest": shards.fingerprint[:16]}
            for dataset, shards in zip(plan.datasets, plan.shards, strict=True)
        }
        super().__init__(config, world, family=plan.family, fingerprints=plan.fingerprints, data=data)
        self._plan = plan
        self._planning = config.data.planning
        self._pages_since_state = 0

    @property
    def dataset_offsets(self) -> Ints:
        """Those of the plan."""
        return self._plan.mixture.offsets

    def epochs(self) -> Mapping[str, float]:
        """By how many samples of its order the plan has passed; those that wait in its pool count as passed."""
        return self._plan.epochs_at(self._state)

    @property
    def notes(self) -> tuple[str, ...]:
        """Places without a pack; how many samples are held out, and have no image, where that is counted at once."""
        held_out = held_out_notes(self._plan.datasets)
        return (*self._idle(), *(self._without_image() if self._is_small else ()), *held_out)

    def _idle(self) -> tuple[str, ...]:
        world_size, micro_batch_size = self._settings["world"].size, self._settings["micro_batch_size"]
        batch = self._plan.settings.global_batch_size
        note = idle_note(batch, world_size=world_size, micro_batch_size=micro_batch_size)
        return () if note is None else (note,)

    def slow_notes(self) -> tuple[str, ...]:
        """How many samples have no image, of an index that takes a while to be read through."""
        return () if self._is_small else self._without_image()

    @property
    def _is_small(self) -> bool:
        return sum(map(len, self._plan.shards)) <= NOTED_AT_ONCE

    def _without_image(self) -> tuple[str, ...]:
        """A dataset that lost its images looks like one of texts."""
        total = sum(map(len, self._plan.shards))
        without_image = sum(int((shards.num_images == 0).sum()) for shards in self._plan.shards)
        return (f"{without_image:,} of {total:,} samples have no image",)

    def check(self, state: State) -> None:
        """Refuse a state of another plan, unless `data.on_change` allows the difference. Raises StateError."""
        if "lanes" in state:
            raise StateError(
                "the saved state is of tars without an index (data.streaming), from which no plan can continue; bring "
                "the setting back, or begin a new run in another train.output"
            )
        self._plan.resume(state)

    @property
    def counted_plan(self) -> Plan | None:
        """The plan, where it has epochs."""
        return None if self._plan.settings.epochs is None else self._plan

    def state(self) -> State:
        """The plan's state, which every rank has."""
        return self._state

    def _open_loader(self, state: State | None, known_bad: Sequence[Failure]) -> StreamLoader:
        reasons = {failure.sample: failure.reason for failure in known_bad}
        return self._plan.loader(
            state=state, known_bad=reasons, planning=self._planning, shared=self._shared_planner(), **self._settings
        )

    def _shared_planner(self) -> SharedPlanner | None:
        is_apart = plans_apart(self._planning, self._plan.settings.global_batch_size)
        return shared_planner() if is_apart else None

    def _contents(self, step: int, batches: Sequence[Batch]) -> StepContents:
        planned = batches[0].step_plan
        assert planned is not None, "a plan's loader puts the plan of the step into every batch"
        contents = planned_contents(self._plan, planned)
        self._pages_since_state += contents.num_pages
        if self._pages_since_state < STATE_EVERY_PAGES:
            return contents
        self._pages_since_state = 0
        return replace(contents, state=self._loader.state_dict())


def shared_planner() -> SharedPlanner | None:
    """How this rank shares a planning process with the others of its machine; None where it has its own.

    Who shares a machine is found out, not taken from the environment: not every launcher says it. All ranks call it
    together.
    """
    rank, places = PartialState().process_index, gather_object([this_machine()])
    peers = [other for other, place in enumerate(places) if place == places[rank]]
    folders = gather_object([make_socket_folder() if rank == peers[0] < peers[-1] else ""])
    folder = folders[peers[0]]
    are_there = gather_object([bool(folder) and Path(folder).is_dir()])
    if not all(are_there[peer] for peer in peers):
        return None
    return SharedPlanner(folder=Path(folder), local_rank=peers.index(rank), local_size=len(peers))


class LaneStream(Stream):
    """Tars without an index. A step without a page on any rank is the end of the data, on all ranks alike."""

    def __init__(self, lanes: Lanes, config: Config, world: World) -> None:
        data = {"tars": {"shards": len(lanes.urls)}}
        super().__init__(config, world, family=lanes.settings.family, fingerprints=lanes.fingerprints, data=data)
        self._lanes = lanes
        text = "".join(lanes.fingerprints.values()).encode()
        self._digest = combine(*(int.from_bytes(text[start : start + 8]) for start in range(0, len(text), 8)))

    def check(self, state: State) -> None:
        """Refuse a state of other lanes. Raises StateError."""
        self._lanes.check(state)

    def state(self) -> State:
        """The lanes of all ranks as one state, by one gather."""
        return self._lanes.saved_state(gather_object([self._state]))

    def _open_loader(self, state: State | None, known_bad: Sequence[Failure]) -> StreamLoader:
        reasons = {failure.key: failure.reason for failure in known_bad}
        return self._lanes.loader(state=state, known_bad=reasons, **self._settings)

    def _contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        own = rank_contents(step, batches, digest=combine(self._digest, step))
        has_news = bool(own.num_pages or own.unfit or any(batch.failures for batch in batches))
        ranks: list[tuple[StepContents, bool]] = gather_object([(own, has_news)])
        return join_contents([contents for contents, _ in ranks]) if any(news for _, news in ranks) else None
