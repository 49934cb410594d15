"""StreamLoader: batches of one rank, saved and resumed by whole steps of the run."""

import copy
from typing import Protocol

from wdstream.batches.batch import Batch
from wdstream.nodes.loader import Loader
from wdstream.nodes.node import SOURCE_KEY, JsonState, Node, State


class StreamSource(Protocol):
    """The source at the other end of the graph: it knows what a step is."""

    def start_at(self, state: JsonState | None) -> None:
        """Let `reset()` begin at a saved state of the stream."""

    def completed(self, state: State) -> State | None:
        """The stream's state, when a state of this source is between two steps."""


class StreamLoader(Loader[Batch]):
    """A Loader whose state is the stream's after the last completed step; the batches of a broken-off step come again.

    Args:
        root: the last node of the graph.
        source: its source.
        state: where it begins, as `state_dict` gave it; None for the beginning.
    """

    def __init__(self, root: Node[Batch], source: StreamSource, *, state: JsonState | None = None) -> None:
        super().__init__(root)
        self._source = source
        self.load_state_dict(state)

    def __repr__(self) -> str:
        return f"<StreamLoader from {self._source!r}>"

    def __next__(self) -> Batch:
        batch = super().__next__()
        self._note()
        return batch

    def state_dict(self) -> State:
        """The stream's state after the last completed step, JSON."""
        return copy.deepcopy(self._completed)

    def load_state_dict(self, state: JsonState | None) -> None:
        """Begin at a saved state; the next batch is the first of the step after it.

        Raises:
            StateError: the state belongs to another plan.
        """
        self._source.start_at(state)
        self._restart()

    def _restart(self) -> None:
        super()._restart()
        self._note()

    def _note(self) -> None:
        state = self.root.state_dict()
        while SOURCE_KEY in state:
            state = state[SOURCE_KEY]
        completed = self._source.completed(state)
        if completed is not None:
            self._completed = completed
