"""Planner: the plan of a run, a pure function of index, family, tiling policy, settings and seed.

planner = Planner(shards, family, tiling, sequence_length=8192, max_patches=40_000, global_batch_size=16)
planner.total_steps()                    # before step 0
planner.step(41_337)                     # the samples of any step
steps = planner.steps(state)             # from a state on ...
for step in steps: steps.state()         # ... with the state after each
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture
from wdstream.plan.deal import Assigner, packs_per_rank
from wdstream.plan.protocols import (
    Dataset,
    DatasetColumns,
    LengthModel,
    Mix,
    TileModel,
    check_members,
)
from wdstream.plan.settings import OnChange, PlanSettings
from wdstream.plan.state import KEEPS_PAGES, KEEPS_PARTS, StreamState
from wdstream.plan.steps import Snapshots, Steps
from wdstream.plan.summary import PlanSummary, summarise
from wdstream.records import StepPlan
from wdstream.settings import takes_settings

StateLike = StreamState | Mapping[str, object]
LAST = 1 << 62
"""After every step of a run."""


class Planner:
    """The plan of datasets under one family, tiling policy and settings.

    It pickles. A run plans each step once, in its loader's thread; other threads may ask meanwhile, without a lock,
    since what is remembered only saves time and is replaced as a whole.

    Attributes:
        settings: of the plan.
        mixture: its datasets, with the numbers of samples.
        fingerprints: of all that decides it; part of every state.

    Raises:
        ConfigError: settings out of range, or that contradict each other.
        PlanError: a dataset is empty.
        ShardIndexError: a dataset lacks the family's token column.
        TypeError: datasets, family or tiling are something else.
    """

    @takes_settings(PlanSettings)
    def __init__(
        self,
        datasets: DatasetColumns | Dataset | Mix | Sequence[DatasetColumns | Dataset | Mix],
        family: LengthModel,
        tiling: TileModel,
        **settings: object,
    ) -> None:
        """`datasets`: one index (`Shards`) or several, or `Dataset`s and `Mix`es with weights; settings:
        PlanSettings."""
        check_members("family", family, LengthModel, "a model family, such as load_family(PATH)")
        check_members("tiling", tiling, TileModel, "a tiling policy, such as TilingPolicy()")
        self.settings = PlanSettings.of(settings)
        self._family, self._tiling = family, tiling
        entries = [datasets] if isinstance(datasets, str) or not isinstance(datasets, Sequence) else datasets
        self.mixture = Mixture(entries, family, tiling, self.settings)
        self.fingerprints = self.mixture.fingerprints
        self._snapshots = Snapshots()
        self._total_steps: int | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "mixture": self.datasets, "_snapshots": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        datasets = self.__dict__["mixture"]
        self.mixture = Mixture(datasets, self._family, self._tiling, self.settings)
        self._snapshots = Snapshots()

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The datasets, mixes flattened, in the order of sample numbers."""
        return self.mixture.datasets

    def locate(self, sample: int) -> tuple[int, int]:
        """(dataset, row) of a sample number; parts of a page that is split are where the page is."""
        return self.mixture.locate(sample)

    def initial_state(self) -> StreamState:
        """The state before step 0."""
        return StreamState(
            step=0, passes=0, cursors=self.mixture.pass_start(0), pool=(), fingerprints=self.fingerprints
        )

    def epochs_at(self, state: StateLike) -> dict[str, float]:
        """Passes over each dataset that are done at a state, with the part of the last one, by its name."""
        saved = state if isinstance(state, StreamState) else StreamState.from_json(state)
        epochs = {}
        for planned, cursor in zip(self.mixture.planned, saved.cursors, strict=True):
            is_inside = cursor.block < planned.order.num_blocks
            start = planned.order.block_range(cursor.epoch, cursor.block)[0] + cursor.position if is_inside else None
            share = 1.0 if start is None else start / planned.order.num_samples
            epochs[planned.dataset.name] = cursor.epoch + share
        return epochs

    def resume(self, state: StateLike, *, on_change: OnChange | None = None) -> StreamState:
        """A saved state, checked, as a state of this plan.

        Args:
            state: a StreamState or its JSON object.
            on_change: what to do when settings or data differ (PlanSettings); None takes the plan's setting.

        Raises:
            StateError: names each difference that is not allowed, or says why the state is none.
        """
        saved = state if isinstance(state, StreamState) else StreamState.from_json(state)
        on_change = on_change or self.settings.on_change
        if on_change == "new_epoch" and self.fingerprints.differences(saved.fingerprints):
            cursors = self.mixture.start_after(saved.passes, max(cursor.epoch for cursor in saved.cursors))
            return replace(self.initial_state(), step=saved.step, passes=saved.passes + 1, cursors=cursors)
        kept = KEEPS_PARTS if self.mixture.holds_parts(saved) else KEEPS_PAGES
        self.fingerprints.check(
            saved.fingerprints,
            step=saved.step,
            stream="plan",
            remedy="allow the change: on_change 'keep' continues where it is (not when index or order differ, nor in "
            "the middle of split pages that would now be cut elsewhere), 'new_epoch' starts a new pass over the data",
            allow=kept if on_change == "keep" else (),
        )
        self.mixture.check_cursors(saved.cursors)
        return replace(saved, fingerprints=self.fingerprints)

    def steps(self, state: StateLike | None = None, *, world_size: int = 1, micro_batch_size: int = 1) -> Steps:
        """The steps after a state, their packs assigned to ranks; to the end of the run, or without end.

        Raises:
            PlanError: a step cannot be divided so.
            StateError: the state belongs to another plan (see `resume`).
        """
        assigner = self._assigner(world_size, micro_batch_size)
        if state is None:
            return self._from_start(self.initial_state(), assigner)
        return Steps(self.mixture, self.resume(state), self.fingerprints, assigner=assigner)

    def step(
        self, number: int, *, world_size: int = 1, micro_batch_size: int = 1, state_near: StateLike | None = None
    ) -> StepPlan:
        """One step of the run, as it is from its beginning, or from `state_near`, if there is one.

        Fast when a state shortly before it is known: from a dry run (total_steps), or passed in (a checkpoint's). After
        settings were changed in the middle of a run (`on_change`), only a state saved later leads to its steps.

        Raises:
            PlanError: the run has no such step.
        """
        assigner = self._assigner(world_size, micro_batch_size)
        with self._steps_at(number, state_near, assigner, wanted=number) as steps:
            return next(steps)

    def state_after(self, step: int, *, state_near: StateLike | None = None) -> StreamState:
        """The state after a step, which is the one before the next; -1 gives the initial state. See `step`.

        Raises:
            PlanError: the run has no such step.
        """
        with self._steps_at(step + 1, state_near, self._assigner(1, 1), wanted=step) as steps:
            return steps.state()

    def total_steps(self, state: StateLike | None = None) -> int | None:
        """Steps of the run, by a dry run of all its epochs; None when it has no end.

        Args:
            state: count on from here; needed only when settings or data were changed in the middle of the run.
        """
        if self.settings.epochs is None:
            return None
        if state is not None:
            return self.steps(state).count()
        if self._total_steps is None:
            start = self._snapshots.before(LAST) or self.initial_state()
            self._total_steps = self._from_start(start, self._assigner(1, 1)).count()
        return self._total_steps

    def rejects(self) -> Iterator[tuple[int, str]]:
        """(sample, reason) of every sample that the first epoch leaves out, by number."""
        return ((sample, code.reason) for sample, code in self.mixture.rejects())

    def exceptions(self) -> Iterator[tuple[int, str, bool]]:
        """(sample, why, whether it is packed) of every sample that the first epoch leaves out, shrinks or splits."""
        return self.mixture.exceptions()

    def summary(self, world_size: int = 1, micro_batch_size: int = 1) -> PlanSummary:
        """A dry run of one epoch: what is packed, how well, what is left out, how even the ranks are.

        Raises:
            PlanError: a step cannot be divided so, or every sample is rejected.
        """
        assigner = self._assigner(world_size, micro_batch_size)
        summary = summarise(self.mixture, self._from_start(self.initial_state(), assigner), assigner, self._total_steps)
        self._total_steps = summary.total_steps
        return summary

    def imbalance(self, step: StepPlan, *, micro_batch_size: int = 1) -> float:
        """Slowest rank / mean of a step, by predicted cost."""
        return self._assigner(len(step.assignment), micro_batch_size).imbalance(step)

    def _assigner(self, world_size: int, micro_batch_size: int) -> Assigner:
        packs_per_rank(
            self.settings.global_batch_size, world_size=world_size, micro_batch_size=micro_batch_size
        )  # refused before anything is planned
        policy, cost = self.settings.deal, self._family.cost
        return Assigner(cost=cost, policy=policy, world_size=world_size, micro_batch_size=micro_batch_size)

    def _from_start(self, state: StreamState, assigner: Assigner) -> Steps:
        """Steps from a state to which the plan leads from its beginning; states on the way are kept."""
        return Steps(self.mixture, state, self.fingerprints, assigner=assigner, snapshots=self._snapshots)

    @contextmanager
    def _steps_at(
        self, number: int, state_near: StateLike | None, assigner: Assigner, *, wanted: int
    ) -> Iterator[Steps]:
        """Steps of which the next has this number, from `state_near` or the nearest known state before it.

        Raises:
            PlanError: the run ends before; names the step that is wanted.
        """
        if number < 0:
            raise PlanError(f"step {number}: steps are numbered from 0")
        start = None if state_near is None else self.resume(state_near)
        if start is not None and start.step <= number:
            steps = Steps(self.mixture, start, self.fingerprints, assigner=assigner)
        else:
            steps = self._from_start(self._snapshots.before(number) or self.initial_state(), assigner)
        with closing(steps):
            try:
                steps.skip(number - steps.number)
                yield steps
            except StopIteration:
                raise PlanError(f"step {wanted}: the run has {self.total_steps()} steps, numbered from 0") from None
