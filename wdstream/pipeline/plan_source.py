"""PlanSource: this rank's packs of the plan, step by step; and how such a pack is read from its shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wdstream.errors import PageError, RowError
from wdstream.nodes.node import JsonState, Stage, State, dataloader_share
from wdstream.pipeline.build_pack import PackSlots, Slot
from wdstream.pipeline.planning.feed import Planning, SharedPlanner, StepFeed
from wdstream.plan.datasets import Mixture
from wdstream.plan.planner import Planner
from wdstream.plan.sample_lengths import FULL_SCALE
from wdstream.records import NO_PACK, PackPlan, Page, StepPlan, World
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row

IDLE = PackPlan(number=NO_PACK, samples=(), tokens=(), patches=(), supervised=())
"""What a rank builds in a place without a pack: a row of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackTask:
    """One pack to be built.

    Attributes:
        pack: its plan.
        step: the plan of the step it belongs to, over all ranks; None outside a run.
    """

    pack: PackPlan
    step: StepPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReader:
    """Reads the pages of a planned pack, those of one dataset together: a remote storage then answers side by side.

    Attributes:
        datasets: the datasets of the plan.
        mixture: what sample numbers stand for: rows of datasets, and parts of pages that are split.
        known_bad: reasons of pages that failed before, by sample number; they are not read again.
    """

    datasets: Sequence[Shards]
    mixture: Mixture
    known_bad: Mapping[int, str]

    def __call__(self, task: PackTask) -> PackSlots:
        """The slots of a pack, in plan order.

        Raises:
            ShardError: a shard is missing or damaged as a whole.
        """
        pack = task.pack
        places = [self.mixture.locate(sample) for sample in pack.samples]  # of each page: (dataset, row)
        pages: dict[tuple[int, int], Page | PageError] = {}
        wanted: dict[int, list[int]] = {}  # rows of each dataset
        for dataset, row in dict.fromkeys(places):
            reason = self.known_bad.get(int(self.mixture.offsets[dataset]) + row)
            if reason is None:
                wanted.setdefault(dataset, []).append(row)
            else:
                pages[dataset, row] = RowError(reason)
        for dataset, rows in wanted.items():
            pages |= zip(((dataset, row) for row in rows), self.datasets[dataset].read_pages(rows), strict=True)
        slots = []
        for index, (dataset, row) in enumerate(places):
            shards, page = self.datasets[dataset], pages[dataset, row]
            images = slice(int(shards.by_row.image_start[row]), int(shards.by_row.image_start[row + 1]))
            widths, heights = shards.by_row.image_width[images].tolist(), shards.by_row.image_height[images].tolist()
            slots.append(
                Slot(
                    key=page.key if isinstance(page, Page) else name_of_row(shards, row),
                    image_sizes=tuple(zip(widths, heights, strict=True)),
                    tokens=pack.tokens[index],
                    patches=pack.patches[index],
                    page=page,
                    scale=pack.scales[index] if pack.scales else FULL_SCALE,
                    part=self.mixture.part_of(pack.samples[index]),
                    sample=int(self.mixture.offsets[dataset]) + row,
                    shards=shards.path,
                )
            )
        return PackSlots(number=pack.number, slots=tuple(slots), step=task.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFetcher:
    """Brings the pages of a planned pack into this machine's cache, before they are read.

    Attributes:
        datasets, mixture: as of a PackReader.
    """

    datasets: Sequence[Shards]
    mixture: Mixture

    def __call__(self, task: PackTask) -> None:
        """Fetch what the cache lacks of a pack.

        Raises:
            ShardError: the store cannot be read; reading the pack will say so again.
        """
        rows: dict[int, list[int]] = {}
        for dataset, row in {self.mixture.locate(sample) for sample in task.pack.samples}:
            rows.setdefault(dataset, []).append(row)
        for dataset, those in rows.items():
            self.datasets[dataset].fetch(those)


class PlanSource(Stage[PackTask]):
    """The packs that the plan deals to one rank, in order, and an empty one in each idle place; ends with the plan.

    Its state is the plan's state before the current step, which is the same on every rank, and how many packs of that
    step this rank has given. Between two steps the second is 0, and any world continues from the first.

    In several workers of a DataLoader each gives every so manieth batch: they take turns, so all come in their order.

    Args:
        plan: what is dealt.
        world: which rank this is.
        micro_batch_size: packs per forward pass; decides the deal together with the world.
        start: a saved state of the stream where `reset()` begins; the plan's beginning when left out.
        planning: where steps are planned (planning/feed.py); no influence on what comes.
        shared: the ranks of this machine, where they share the process that plans.

    Raises:
        StateError: `start` belongs to another plan.
    """

    _feed: StepFeed | None = None
    STREAM_KEY, EMITTED_KEY, DEALT_KEY = "stream", "emitted", "dealt"

    def __init__(
        self,
        plan: Planner,
        *,
        world: World,
        micro_batch_size: int = 1,
        start: JsonState | None = None,
        planning: Planning = "auto",
        shared: SharedPlanner | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.world = world
        self.micro_batch_size = micro_batch_size
        self._planning: Planning = planning
        self._shared = shared
        self.start_at(start)

    def __repr__(self) -> str:
        return f"<PlanSource of rank {self.world.rank} of {self.world.size}: {self.plan!r}>"

    def start_at(self, state: JsonState | None) -> None:
        """Let `reset()` begin at a saved state of the stream.

        Raises:
            StateError: it belongs to another plan.
        """
        self.start = self.plan.initial_state() if state is None else self.plan.resume(state)

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state of this node, or at the start."""
        super().reset(initial_state)
        self._end_feed()
        begin = self.start if initial_state is None else self.plan.resume(initial_state[self.STREAM_KEY])
        self._emitted = 0 if initial_state is None else int(initial_state[self.EMITTED_KEY])
        self._feed = StepFeed(
            self.plan,
            begin,
            world_size=self.world.size,
            micro_batch_size=self.micro_batch_size,
            planning=self._planning,
            shared=self._shared,
        )
        self._before = self._after = self._feed.state
        self._step: StepPlan | None = None
        self._share: tuple[int, int] | None = None  # not known yet where a worker is only being started
        self._dealt = int((initial_state or {}).get(self.DEALT_KEY, 0))  # packs, to all workers, since they began

    def advance(self) -> PackTask:
        """The next pack of this rank, in a worker of a DataLoader of this worker."""
        self._share = worker, workers = self._share or dataloader_share()
        while True:
            task, batch = self._next_of_rank(), self._dealt // self.micro_batch_size
            self._dealt += 1
            if batch % workers == worker:
                return task

    def _next_of_rank(self) -> PackTask:
        if self._step is None:
            assert self._feed is not None, "a node is reset before it is asked for items"
            self._step, self._after = next(self._feed)
        step, places = self._step, self._step.assignment[self.world.rank]
        place = places[self._emitted]
        pack = IDLE if place == NO_PACK else step.packs[place]
        self._emitted += 1
        if self._emitted == len(places):
            self._before, self._emitted, self._step = self._after, 0, None
        return PackTask(step=step, pack=pack)

    def get_state(self) -> State:
        """The stream's state before the current step, and the packs of that step given since."""
        state: State = {self.STREAM_KEY: self._before, self.EMITTED_KEY: self._emitted}
        return state if self._share in (None, (0, 1)) else {**state, self.DEALT_KEY: self._dealt}

    def completed(self, state: State) -> State | None:
        """The stream's state, when a state of this node is between two steps."""
        return None if state[self.EMITTED_KEY] or self.DEALT_KEY in state else state[self.STREAM_KEY]

    def close(self) -> None:
        """End the plan's reading ahead."""
        super().close()
        self._end_feed()

    def _end_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None
