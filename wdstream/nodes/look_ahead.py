"""LookAhead: items pass as they are, while a function is called with those that come next."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from wdstream.nodes.mapper import end_threads, start_threads
from wdstream.nodes.node import SOURCE_KEY, Node, Out, Stage, State, check_node, is_count, open_source


class LookAhead(Stage[Out]):
    """Calls `prepare` in threads with each of the next `depth` items; no item waits for it, and what it raises is left
    to whoever uses the item. The state belongs to the last item that came out.

    Args:
        source: any node.
        prepare: what is worth doing before an item is used, such as fetching what it names.
        depth: items ahead.
        workers: threads.
        name: what errors call the node; the class name when empty.
    """

    _threads: ThreadPoolExecutor | None = None

    def __init__(
        self, source: Node[Out], prepare: Callable[[Out], None], *, depth: int, workers: int = 2, name: str = ""
    ) -> None:
        super().__init__(source, name=name)
        check_node(source, self.name)
        if not (is_count(depth, least=1) and is_count(workers, least=1)):
            raise ValueError(f"{self.name}: depth={depth!r}, workers={workers!r}; expected 1 or more of each")
        self.source: Node[Out] = source
        self.depth, self.workers = depth, workers
        self._prepare = prepare

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        self._end_threads()
        open_source(self.source, initial_state)
        self._position = self.source.state_dict()
        self._ahead: deque[tuple[Out, State, Future[None]]] = deque()
        self._end: Exception | None = None  # of the source: its error, or that it has no more
        self._threads = start_threads(self.workers, self.name)

    def advance(self) -> Out:
        """The next item, after seeing to it that those after it are looked at."""
        self._fill()
        if not self._ahead:
            self._end_threads()
            raise self._end or StopIteration
        item, self._position, prepared = self._ahead.popleft()
        prepared.cancel()  # if it has not begun, whoever uses the item does it now
        return item

    def get_state(self) -> State:
        """The source's position after the last item that came out."""
        return {SOURCE_KEY: self._position}

    def close(self) -> None:
        """End the threads of this node and of its sources; waits for what has begun."""
        self._end_threads()
        super().close()

    def _end_threads(self) -> None:
        end_threads(self._threads)
        self._threads = None

    def _fill(self) -> None:
        """Look at the next items. The end of the source, or its error, waits its turn after the items before it."""
        while self._threads is not None and self._end is None and len(self._ahead) <= self.depth:
            try:
                item = next(self.source)
                self._ahead.append((item, self.source.state_dict(), self._threads.submit(self._prepare, item)))
            except Exception as error:  # StopIteration, too
                self._end = error
