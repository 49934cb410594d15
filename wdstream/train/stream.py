"""What a run trains on, step by step: a plan, or lanes (lane_stream.py); the loop treats both alike.

stream = PlannedStream(...)                        once
with stream.open(state, known_bad) as steps:       from a saved state on
    batches = steps.take(step)                     this rank's micro-batches
    contents = steps.contents(step, batches)       of the step over all ranks; None after the last one
    steps.state()                                  after it, the same on every rank
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Protocol

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config
from wdstream.errors import StateError, TrainError
from wdstream.families.base import Family
from wdstream.nodes.node import State
from wdstream.pipeline.loader import StreamLoader
from wdstream.pipeline.planned import Plan
from wdstream.plan.hashing import step_digest
from wdstream.records import Failure, StepPlan, World

STATE_EVERY_PAGES = 8192
"""Between two states that are written down for `wdstream trace`: planned again in a tenth of a second."""


class Share(NamedTuple):
    """What a data set gave."""

    pages: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContents:
    """A step over all ranks, the same on each.

    Attributes:
        step: its number.
        num_packs: in it, those without pages included.
        num_supervised, num_pages, num_tokens, num_patches: in all its packs.
        digest: 64 bits over what the ranks must agree on: the plan of the step, or the settings of the stream.
        imbalance: cost of the busiest rank over the mean; predicted from the plan, or by tokens where there is none.
        mix: what each of several data sets gave, by name; empty for a single one.
        keys: pack number to the keys of its pages, where no plan could name them later; else None.
        unfit: pages that were passed over on the way to it, because no pack takes them.
        state: the plan's state after the step, once in a while: what `wdstream trace` starts from.
    """

    step: int
    num_packs: int
    num_supervised: int
    num_pages: int
    num_tokens: int
    num_patches: int
    digest: int
    imbalance: float
    mix: Mapping[str, Share] = field(default_factory=dict)
    keys: Mapping[int, Sequence[str]] | None = None
    unfit: tuple[Failure, ...] = ()
    state: State | None = None


class OpenStream(Protocol):
    """A stream from a state on, on one rank."""

    def take(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step."""

    def contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        """What the step holds over all ranks; None when the data ended before it. All ranks call it together."""

    def state(self) -> State:
        """The state after the last step taken, the same on every rank. All ranks call it together."""


class Stream(Protocol):
    """The training data of a run."""

    @property
    def family(self) -> Family:
        """Of the model."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of all that decides the stream."""

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """How large each data set is, by name: what tells a person how it changed."""

    def check(self, state: State) -> None:
        """Refuse a saved state that belongs to another stream. Raises StateError."""

    def total_steps(self, state: State | None) -> int | None:
        """Steps of the whole run, when it goes on from `state`; None where nobody knows."""

    def open(self, state: State | None, known_bad: Sequence[Failure]) -> AbstractContextManager[OpenStream]:
        """From a state on, None for the beginning; pages `known_bad` stay blank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStream:
    """Shards with an index.

    Attributes:
        plan: of the training data.
        config: of the run.
        world: which process this is.
    """

    plan: Plan
    config: Config
    world: World

    @property
    def family(self) -> Family:
        """Of the model."""
        return self.plan.family

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the plan."""
        return self.plan.fingerprints

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]:
        """Shards and pages of each data set, and a digest of its index."""
        return {
            dataset.name: {
                "shards": len(shards.shard_names),
                "pages": len(shards),
                "digest": shards.fingerprint[:16],
            }
            for dataset, shards in zip(self.plan.datasets, self.plan.shards, strict=True)
        }

    def check(self, state: State) -> None:
        """Refuse a state of another plan, unless `data.on_change` allows the difference. Raises StateError."""
        if "lanes" in state:
            raise StateError(
                "the saved state is of tars without an index (data.streaming), which no plan can go on from; bring the "
                "setting back, or begin a new run in another train.output"
            )
        self.plan.resume(state)

    def total_steps(self, state: State | None) -> int | None:
        """From the state on, because data or settings may have changed before it (`data.on_change`)."""
        return self.plan.total_steps(state)

    @contextmanager
    def open(self, state: State | None, known_bad: Sequence[Failure]) -> Iterator["PlannedSteps"]:
        """This rank's loader, whose batches bring the plan of their step."""
        micro_batch_size = self.config.train.micro_batch_size
        bad = {failure.sample: failure.reason for failure in known_bad}
        loader = self.plan.loader(
            world=self.world,
            state=state,
            workers=self.config.data.workers,
            prefetch=self.config.data.prefetch,
            micro_batch_size=micro_batch_size,
            known_bad=bad,
        )
        with loader:
            yield PlannedSteps(self, loader)


class PlannedSteps:
    """An open PlannedStream."""

    def __init__(self, stream: PlannedStream, loader: StreamLoader) -> None:
        self._stream = stream
        self._loader = loader
        self._pages_since_state = 0
        self._micro_batches = micro_batches(stream.config, stream.world)

    def take(self, step: int) -> list[Batch]:
        """This rank's micro-batches of a step."""
        return take(self._loader, step, self._micro_batches)

    def contents(self, step: int, batches: Sequence[Batch]) -> StepContents | None:
        """As planned."""
        planned = batches[0].step_plan
        assert planned is not None, "a plan's loader puts the plan of the step into every batch"
        contents = planned_contents(self._stream.plan, planned, self._stream.config)
        self._pages_since_state += contents.num_pages
        if self._pages_since_state < STATE_EVERY_PAGES:
            return contents
        self._pages_since_state = 0
        return replace(contents, state=self.state())

    def state(self) -> State:
        """The plan's state after the last step taken."""
        return self._loader.state_dict()


def planned_contents(plan: Plan, step: StepPlan, config: Config) -> StepContents:
    """What the plan says of a step."""
    return StepContents(
        step=step.step,
        num_packs=len(step.packs),
        num_supervised=step.num_supervised,
        num_pages=sum(len(pack.samples) for pack in step.packs),
        num_tokens=sum(sum(pack.tokens) for pack in step.packs),
        num_patches=sum(sum(pack.patches) for pack in step.packs),
        digest=step_digest(step),
        imbalance=plan.imbalance(step, micro_batch_size=config.train.micro_batch_size),
        mix=planned_mix(plan, step),
    )


def planned_mix(plan: Plan, step: StepPlan) -> dict[str, Share]:
    """What each of several data sets gives to a step."""
    if len(plan.datasets) == 1:
        return {}
    pages, tokens = [0] * len(plan.datasets), [0] * len(plan.datasets)
    for pack in step.packs:
        for sample, count in zip(pack.samples, pack.tokens, strict=True):
            owner, _ = plan.locate(sample)
            pages[owner] += 1
            tokens[owner] += count
    return {
        dataset.name: Share(pages=pages[number], tokens=tokens[number]) for number, dataset in enumerate(plan.datasets)
    }


def micro_batches(config: Config, world: World) -> int:
    """Micro-batches of each rank a step."""
    return config.data.global_batch_size // (world.size * config.train.micro_batch_size)


def take(loader: Iterator[Batch], step: int, count: int) -> list[Batch]:
    """`count` micro-batches of a step.

    Raises:
        TrainError: the loader is at another step, or at its end.
    """
    batches = list(islice(loader, count))
    steps = {batch.step for batch in batches}
    if len(batches) != count or steps != {step}:
        raise TrainError(
            f"step {step}: expected {count} micro-batches of it from the loader, found {len(batches)} of steps "
            f"{sorted(map(str, steps))}; the stream and the run have come apart, please report this"
        )
    return batches
