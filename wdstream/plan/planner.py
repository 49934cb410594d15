"""Planner: the plan of a run, a pure function of index, family, tiling policy, settings and seed.

planner = Planner(shards, family, tiling, sequence_length=8192, max_patches=40_000, global_batch_size=16)
planner.total_steps()                    # before step 0
planner.step(41_337)                     # the samples of any step
steps = planner.steps(state)             # from a state on ...
for step in steps: steps.state()         # ... with the state after each
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture
from wdstream.plan.deal import Assigner
from wdstream.plan.packer import Item
from wdstream.plan.packs import PackRun
from wdstream.plan.protocols import Dataset, DatasetColumns, LengthModel, Mix, TileModel
from wdstream.plan.settings import OnChange, PlanSettings
from wdstream.plan.snapshots import Snapshots
from wdstream.plan.state import KEEPS_PAGES, KEEPS_PARTS, StreamState
from wdstream.plan.summary import PlanSummary, summarise
from wdstream.records import StepPlan
from wdstream.settings import takes_settings

State = StreamState | Mapping[str, Any]
LAST = 1 << 62
"""After every step of a run."""


class Planner:
    """The plan of data sets under one family, tiling policy and settings.

    Raises:
        ConfigError: settings out of range, or that contradict each other.
        PlanError: a data set is empty.
        ShardIndexError: a data set lacks the family's token column.
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
        entries = datasets if isinstance(datasets, Sequence) else [datasets]
        self.settings = PlanSettings.of(settings)
        self.mixture = Mixture(entries, family, tiling, self.settings)
        self.fingerprints: Mapping[str, str] = self.mixture.fingerprints
        self._cost = family.cost
        self._waypoints = Snapshots()
        self._total_steps: int | None = None

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The data sets, mixes flattened, in the order of sample numbers."""
        return self.mixture.datasets

    def locate(self, sample: int) -> tuple[int, int]:
        """(data set, row) of a sample number; parts of a page that is split are where the page is."""
        return self.mixture.locate(sample)

    def initial_state(self) -> StreamState:
        """The state before step 0."""
        return StreamState(
            step=0, round=0, cursors=self.mixture.pass_start(0), pool=(), fingerprints=dict(self.fingerprints)
        )

    def resume(self, state: State, *, on_change: OnChange | None = None) -> StreamState:
        """A saved state, checked, as a state of this plan.

        Args:
            state: a StreamState or its JSON object.
            on_change: what to do when settings or data differ (PlanSettings); None takes the plan's setting.

        Raises:
            StateError: names each difference that is not allowed, or says why the state is none.
        """
        saved = state if isinstance(state, StreamState) else StreamState.from_json(state)
        on_change = on_change or self.settings.on_change
        if on_change == "new_epoch" and saved.differences(self.fingerprints):
            cursors = self.mixture.start_after(saved.round, max(at.epoch for at in saved.cursors))
            return replace(self.initial_state(), step=saved.step, round=saved.round + 1, cursors=cursors)
        kept = KEEPS_PARTS if self.mixture.holds_parts(saved) else KEEPS_PAGES
        saved.check(self.fingerprints, allow=kept if on_change == "keep" else ())
        self.mixture.check_cursors(saved.cursors)
        return replace(saved, fingerprints=dict(self.fingerprints))

    def steps(self, state: State | None = None, *, world_size: int = 1, micro_batch_size: int = 1) -> "Steps":
        """The steps after a state, dealt to so many ranks; to the end of the run, or without end.

        Raises:
            PlanError: a step cannot be divided so.
            StateError: the state belongs to another plan (see `resume`).
        """
        dealer = self._dealer(world_size, micro_batch_size)
        dealer.check(self.settings.global_batch_size)
        if state is None:
            return self._from_start(self.initial_state(), dealer)
        return Steps(PackRun(self.mixture, self.resume(state), self.fingerprints), dealer)

    def step(
        self, number: int, *, world_size: int = 1, micro_batch_size: int = 1, state_near: State | None = None
    ) -> StepPlan:
        """One step of the run, as it goes from its beginning, or from `state_near` when that is given.

        Fast when a state shortly before it is known: from a dry run (total_steps), or given (a checkpoint's). After
        settings were changed in the middle of a run (`on_change`), only a state saved later leads to its steps.

        Raises:
            PlanError: the run has no such step.
        """
        dealer = self._dealer(world_size, micro_batch_size)
        dealer.check(self.settings.global_batch_size)
        steps = self._near(number, state_near, dealer)
        try:
            steps.skip(number - steps.run.step)
            return next(steps)
        except StopIteration:
            raise PlanError(f"step {number}: the run has {self.total_steps()} steps, numbered from 0") from None
        finally:
            steps.close()

    def state_after(self, step: int, *, state_near: State | None = None) -> StreamState:
        """The state after a step, which is the one before the next; -1 gives the initial state. See `step`.

        Raises:
            PlanError: the run has no such step.
        """
        steps = self._near(step + 1, state_near, self._dealer(1, 1))
        try:
            steps.skip(step + 1 - steps.run.step)
            return steps.state()
        except StopIteration:
            raise PlanError(f"step {step}: the run has {self.total_steps()} steps, numbered from 0") from None
        finally:
            steps.close()

    def total_steps(self, state: State | None = None) -> int | None:
        """Steps of the run, by a dry run of all its epochs; None when it has no end.

        Args:
            state: count on from here; needed only when settings or data were changed in the middle of the run.
        """
        if self.settings.epochs is None:
            return None
        if state is not None:
            return self.steps(state).count()
        if self._total_steps is None:
            start = self._waypoints.before(LAST) or self.initial_state()
            self._total_steps = self._from_start(start, self._dealer(1, 1)).count()
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
        dealer = self._dealer(world_size, micro_batch_size)
        dealer.check(self.settings.global_batch_size)
        run = PackRun(self.mixture, self.initial_state(), self.fingerprints)
        return summarise(self.mixture, run, dealer, self.total_steps())

    def imbalance(self, step: StepPlan, *, micro_batch_size: int = 1) -> float:
        """Slowest rank / mean of a step, by predicted cost."""
        return self._dealer(len(step.deal), micro_batch_size).imbalance(step)

    def _dealer(self, world_size: int, micro_batch_size: int) -> Assigner:
        policy = self.settings.deal
        return Assigner(cost=self._cost, policy=policy, world_size=world_size, micro_batch_size=micro_batch_size)

    def _from_start(self, state: StreamState, dealer: Assigner) -> "Steps":
        """Steps from a state to which the plan leads from its beginning; states on the way are kept."""
        return Steps(PackRun(self.mixture, state, self.fingerprints), dealer, self._waypoints)

    def _near(self, step: int, given: State | None, dealer: Assigner) -> "Steps":
        """Steps from the given state, if it lies before the step, or else from the nearest known one."""
        if step < 0:
            raise PlanError(f"step {step}: steps are numbered from 0")
        if given is not None and (start := self.resume(given)).step <= step:
            return Steps(PackRun(self.mixture, start, self.fingerprints), dealer)
        return self._from_start(self._waypoints.before(step) or self.initial_state(), dealer)


class Steps(Iterator[StepPlan]):
    """Steps from a state on; `state()` is the one after the last step given. Close it when it is left before its
    end."""

    def __init__(self, run: PackRun, dealer: Assigner, waypoints: Snapshots | None = None) -> None:
        """`waypoints`, when given, learns states on the way."""
        self.run = run
        self._dealer = dealer
        self._waypoints = waypoints

    def __next__(self) -> StepPlan:
        number = self.run.step
        packs = self.advance()
        if packs is None:
            raise StopIteration
        return self._dealer.step_plan(number, packs)

    def advance(self) -> list[list[Item]] | None:
        """The bare packs of the next step; None at the end."""
        if self._waypoints is not None and self._waypoints.wants(self.run.step):
            self._waypoints.add(self.run.state())
        packs = self.run.next_step()
        if packs is None:
            self.close()
        return packs

    def skip(self, count: int) -> None:
        """Pass over so many steps. Raises StopIteration when the run ends before."""
        for _ in range(count):
            if self.advance() is None:
                raise StopIteration

    def count(self) -> int:
        """Run to the end; the number of steps of the whole run."""
        while self.advance() is not None:
            pass
        return self.run.step

    def state(self) -> StreamState:
        """The state after the last step given."""
        return self.run.state()

    def close(self) -> None:
        """Stop working ahead."""
        self.run.close()
