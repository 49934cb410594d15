"""StreamLoader: batches of one rank, saved and resumed by whole steps of the run."""

import pickle
from collections.abc import Callable
from typing import Protocol

from wdstream.batches.batch import Batch
from wdstream.errors import StateError
from wdstream.nodes.loader import Loader
from wdstream.nodes.node import SOURCE_KEY, JsonState, Node, State, dataloader_share


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
        make: makes it once more, in another process that it is pickled for.
    """

    def __init__(
        self,
        root: Node[Batch],
        source: StreamSource,
        *,
        state: JsonState | None = None,
        make: "Callable[[], StreamLoader] | None" = None,
    ) -> None:
        super().__init__(root)
        self._source, self._make = source, make
        self._completed: State = {}
        self.load_state_dict(state)

    def __reduce__(self) -> "tuple[Callable[..., StreamLoader], tuple[object, ...]]":
        assert self._make is not None, "a loader says how it is made"
        return _opened_at, (self._make, self.root.state_dict(), self._completed, self._is_at_end)

    def __repr__(self) -> str:
        return f"<StreamLoader from {self._source!r}>"

    def __next__(self) -> Batch:
        batch = super().__next__()
        self._note()
        return batch

    def state_dict(self) -> State:
        """The stream's state after the last completed step, JSON.

        Raises:
            StateError: in one of several workers of a DataLoader, none of which knows what the others gave.
        """
        workers = dataloader_share()[1]
        if workers > 1:
            raise StateError(
                f"one of {workers} workers of a DataLoader has a part of the batches, and no state of all: ask the "
                "plan for it by the step of the last batch (plan.state_after(step)), or use one worker"
            )
        copied: State = pickle.loads(pickle.dumps(self._completed))  # a sixth of deepcopy's time, in every step
        return copied

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

    def open_at(self, place: State, completed: State, *, is_at_end: bool) -> None:
        """Be where another loader of the same graph was, at any batch."""
        self._open(place)
        self._completed, self._is_at_end = completed, is_at_end


def _opened_at(make: Callable[[], StreamLoader], place: State, completed: State, is_at_end: bool) -> StreamLoader:
    """A loader in the process that it was pickled for."""
    loader = make()
    loader.open_at(place, completed, is_at_end=is_at_end)
    return loader
