"""Prefetch: the next items are made ready in one thread while the consumer works."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, cast

from wdstream.nodes.mapper import end_threads, start_threads
from wdstream.nodes.node import SOURCE_KEY, Node, Out, Stage, State, check_node, is_count, open_source

_END = object()


class Prefetch(Stage[Out], Generic[Out]):
    """Keep `depth` items ready ahead of the consumer. The state belongs to the last item that came out.

    Args:
        source: any node; from now on only this node's thread calls it.
        depth: items ready or in the making; 0 makes each in the calling thread when it is asked for.
        name: what errors call the node; the class name when empty.
    """

    _thread: ThreadPoolExecutor | None = None

    def __init__(self, source: Node[Out], *, depth: int = 2, name: str = "") -> None:
        super().__init__(source, name=name)
        check_node(source, self.name)
        if not is_count(depth, least=0):
            raise ValueError(f"{self.name}: depth={depth!r}, expected 0 or more items")
        self.source: Node[Out] = source
        self.depth = depth

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        end_threads(self._thread)
        open_source(self.source, initial_state)
        self._position = self._end = self.source.state_dict()
        self._pending: deque[Future[tuple[object, State]]] = deque()
        self._is_done = False
        self._thread = start_threads(min(self.depth, 1), self.name)

    def advance(self) -> Out:
        """The oldest item that is ready, after seeing to it that more are on the way."""
        if self._thread is None:
            item, position = self._pull()
        else:
            self._fill()
            item, position = self._pending[0].result()  # Ctrl-C while waiting loses nothing
            self._pending.popleft()
            self._fill()
        self._position = position
        if item is _END:
            end_threads(self._thread)
            self._thread = None
            raise StopIteration
        return cast(Out, item)

    def get_state(self) -> State:
        """The source's position after the last item that came out."""
        return {SOURCE_KEY: self._position}

    def close(self) -> None:
        """End the thread of this node, then its sources; waits for the item in the making."""
        end_threads(self._thread)
        self._thread = None
        super().close()

    def _fill(self) -> None:
        while self._thread is not None and len(self._pending) < self.depth:
            self._pending.append(self._thread.submit(self._pull))

    def _pull(self) -> tuple[object, State]:
        """One item and the state after it. After the end, or an error, the source is left alone."""
        if self._is_done:
            return _END, self._end
        try:
            item = next(self.source)
            return item, self.source.state_dict()
        except StopIteration:
            self._is_done, self._end = True, self.source.state_dict()
            return _END, self._end
        except BaseException:
            self._is_done = True
            raise
