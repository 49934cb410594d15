"""Loader: the end of a graph, something to iterate over, save and close."""

from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self

from torch.utils.data import IterableDataset

from wdstream.nodes.node import JsonState, Node, Out, State, check_node, close
from wdstream.storage.tries import Stop, end_by, stop_of_thread


class Loader(IterableDataset[Out], Iterator[Out], Generic[Out]):
    """Iterates over a graph. Saving and loading work at any time and in any order.

    `for item in loader` continues where the last loop was left; after the end it starts the next epoch. The state is
    that of the last item that came out; it is small and JSON, and is taken from the graph without disturbing it.

        with Loader(graph) as loader:
            loader.load_state_dict(state)
            for item in loader: ...

    It is a dataset for a DataLoader of torch, too: `DataLoader(loader, batch_size=None, num_workers=1)`.

    Args:
        root: the last node of the graph.
    """

    def __init__(self, root: Node[Out]) -> None:
        check_node(root, "Loader")
        self.root = root
        self._stop = Stop()
        self._is_at_end = False

    def __iter__(self) -> Self:
        if self._is_at_end:
            self._restart()
        return self

    def __next__(self) -> Out:
        try:
            return next(self.root)
        except StopIteration:
            self._is_at_end = True
            raise

    def state_dict(self) -> State:
        """The position after the last item that came out."""
        return self.root.state_dict()

    def load_state_dict(self, state: JsonState) -> None:
        """Go to a saved position at once; the next item is the one that followed it."""
        self._open(dict(state))

    def _restart(self) -> None:
        self._open(None)

    def _open(self, state: State | None) -> None:
        """Open the graph at a place. What its threads wait for then, such as a store that fails, ends with `close`."""
        self._stop.set()
        self._stop, before = Stop(), stop_of_thread()
        end_by(self._stop)
        try:
            self.root.reset(state)
        finally:
            end_by(before)
        self._is_at_end = False

    def close(self) -> None:
        """End all threads of the graph. The loader stays usable after `load_state_dict`."""
        self._stop.set()
        close(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
