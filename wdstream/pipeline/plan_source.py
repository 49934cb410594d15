"""PlanSource: this rank's packs of the plan, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wdstream.nodes.node import Stage, State
from wdstream.plan.planner import Planner, Steps
from wdstream.records import PackPlan, StepPlan, World


@dataclass(frozen=True, slots=True, kw_only=True)
class PackTask:
    """One pack to be built.

    Attributes:
        step: the step it belongs to.
        pack: its plan.
        num_supervised: supervised tokens of the whole step, over all ranks.
    """

    step: int
    pack: PackPlan
    num_supervised: int


class PlanSource(Stage[PackTask]):
    """The packs that the plan deals to one rank, in order; ends with the plan.

    Its state is the plan's state before the current step, which is the same on every rank, and how many packs of that
    step this rank has given. Between two steps the second is 0, and any world goes on from the first.

    Args:
        plan: what is dealt.
        world: which rank this is.
        micro_batch_size: packs a forward pass; decides the deal together with the world.
        start: a saved state of the stream where `reset()` begins; the plan's beginning when left out.

    Raises:
        StateError: `start` belongs to another plan.
    """

    STREAM_KEY, EMITTED_KEY = "stream", "emitted"

    def __init__(
        self, plan: Planner, *, world: World, micro_batch_size: int = 1, start: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.plan = plan
        self.world = world
        self.micro_batch_size = micro_batch_size
        self._steps: Steps | None = None
        self.start_at(start)

    def start_at(self, state: Mapping[str, Any] | None) -> None:
        """Let `reset()` begin at a saved state of the stream.

        Raises:
            StateError: it belongs to another plan.
        """
        self.start = self.plan.initial_state() if state is None else self.plan.resume(state)

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state of this node, or at the start."""
        super().reset(initial_state)
        self._end_steps()
        begin = self.start if initial_state is None else initial_state[self.STREAM_KEY]
        self._emitted = 0 if initial_state is None else int(initial_state[self.EMITTED_KEY])
        self._steps = self.plan.steps(begin, world_size=self.world.size, micro_batch_size=self.micro_batch_size)
        self._before = self._after = self._steps.state().to_json()
        self._step: StepPlan | None = None

    def advance(self) -> PackTask:
        """The next pack of this rank."""
        if self._step is None:
            assert self._steps is not None, "a node is reset before it is asked for items"
            self._step = next(self._steps)
            self._after = self._steps.state().to_json()
        step, places = self._step, self._step.deal[self.world.rank]
        pack = step.packs[places[self._emitted]]
        self._emitted += 1
        if self._emitted == len(places):
            self._before, self._emitted, self._step = self._after, 0, None
        return PackTask(step=step.step, pack=pack, num_supervised=step.num_supervised)

    def get_state(self) -> State:
        """The stream's state before the current step, and the packs of that step given since."""
        return {self.STREAM_KEY: self._before, self.EMITTED_KEY: self._emitted}

    def completed(self, state: State) -> State | None:
        """The stream's state, when a state of this node lies between two steps."""
        return None if state[self.EMITTED_KEY] else state[self.STREAM_KEY]

    def close(self) -> None:
        """End the plan's reading ahead."""
        super().close()
        self._end_steps()

    def _end_steps(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None
