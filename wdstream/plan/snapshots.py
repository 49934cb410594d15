"""Snapshots: states along a run that were met before, so that any step is near one of them."""

from bisect import bisect_right, insort
from threading import Lock

from wdstream.plan.state import StreamState

LIMIT = 1024
"""States kept, about 5 kB each in memory."""


class Snapshots:
    """At most LIMIT states of one plan, every `stride` steps; the stride doubles when they become too many."""

    def __init__(self) -> None:
        self.stride = 16
        self._lock = Lock()  # a loader's thread and the training loop may both run through the plan
        self._states: dict[int, StreamState] = {}
        self._steps: list[int] = []  # ascending

    def wants(self, step: int) -> bool:
        """Whether the state before this step should be added."""
        return step % self.stride == 0 and step not in self._states

    def add(self, state: StreamState) -> None:
        """Keep a state."""
        with self._lock:
            if state.step not in self._states:
                self._add(state)

    def before(self, step: int) -> StreamState | None:
        """The last known state at or before a step."""
        with self._lock:
            place = bisect_right(self._steps, step)
            return self._states[self._steps[place - 1]] if place else None

    def _add(self, state: StreamState) -> None:
        self._states[state.step] = state
        insort(self._steps, state.step)
        if len(self._states) > LIMIT:
            self.stride *= 2
            self._states = {step: kept for step, kept in self._states.items() if step % self.stride == 0}
            self._steps = sorted(self._states)
