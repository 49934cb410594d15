"""Map and BatchMap, the two bases that hold what nodes share: item to item, and list to list.

A node is a Map or a BatchMap over a pure function; the function knows nothing of threads, states or skipping.

    Map         source ──► function(item) ──► item
    BatchMap    source ──► size items ──► function(list) ──► list ──► item by item

Threads of nodes are started late, ended cleanly, and have no effect on torch's own threads elsewhere. They are those of
an executor: it ends with the interpreter or with its node, whichever comes first, needs no polling, and a result that
raised waits in its future instead of killing a queue.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Generic, Literal, TypeVar

import torch

from wdstream.errors import PageError
from wdstream.nodes.node import SOURCE_KEY, Node, Out, Stage, State, check_node, is_count, leaked, open_source
from wdstream.storage.tries import Stop, end_by, stop_of_thread


def start_threads(workers: int, name: str) -> ThreadPoolExecutor | None:
    """A pool of `workers` threads, or None for 0. No thread runs before the first item is submitted.

    Each thread computes alone: with torch's own threads on top, `workers` times as many threads would fight for the
    cores. The first thread to ask torch for its number of threads fixes the default of those that ask later, so the
    calling thread asks first; otherwise its own number would become 1 too.
    """
    if not workers:
        return None
    torch.get_num_threads()
    return ThreadPoolExecutor(
        workers, thread_name_prefix=f"wdstream-{name}", initializer=_begin_thread, initargs=(stop_of_thread(),)
    )


def _begin_thread(stop: Stop | None) -> None:
    torch.set_num_threads(1)
    end_by(stop)


def end_threads(threads: ThreadPoolExecutor | None) -> None:
    """Drop what has not begun, wait for what has, and end the threads."""
    if threads is not None:
        threads.shutdown(wait=True, cancel_futures=True)


In = TypeVar("In")
OnError = Literal["raise", "skip"]

_log = logging.getLogger("wdstream")


class Map(Stage[Out], Generic[In, Out]):
    """Apply a function to every item, in order, inline or in a pool of threads.

    With threads, up to `2 * workers` items are in the making at any time. The state belongs to the last item that came
    out, so it does not depend on `workers`, and what was in the making is simply made again after a resume.

    Args:
        source: any node.
        function: item to item, never None. With workers it must be safe to call from several threads.
        workers: threads; 0 works in the calling thread.
        on_error: "skip" passes over items whose function raises PageError, logs and counts them (`skipped`, kept in
            the state). Any other error is a bug or a broken shard, and always raises.
        max_skipped: with "skip", more than this many is an error; None is no limit.
        name: what errors call the node; the class name when empty.
    """

    _threads: ThreadPoolExecutor | None = None
    SKIPPED_KEY = "skipped"

    def __init__(
        self,
        source: Node[In],
        function: Callable[[In], Out],
        *,
        workers: int = 0,
        on_error: OnError = "raise",
        max_skipped: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(source, name=name)
        check_node(source, self.name)
        if not is_count(workers, least=0):
            raise ValueError(f"{self.name}: workers={workers!r}, expected 0 (inline) or a number of threads")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"{self.name}: on_error={on_error!r}, expected 'raise' or 'skip'")
        if max_skipped is not None and not is_count(max_skipped, least=0):
            raise ValueError(f"{self.name}: max_skipped={max_skipped!r}, expected None (no limit) or 0 or more")
        self.source: Node[In] = source
        self.workers = workers
        self.on_error = on_error
        self.max_skipped = max_skipped
        self._function = function

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        self._end_threads()
        open_source(self.source, initial_state)
        self.skipped = 0 if initial_state is None else int(initial_state[self.SKIPPED_KEY])
        self._position = self.source.state_dict()
        self._pending: deque[tuple[Callable[[], Out], State]] = deque()
        self._source_error: Exception | None = None
        self._is_source_done = False
        self._threads = start_threads(self.workers, self.name)

    def advance(self) -> Out:
        """The next result in source order; items to be skipped are passed over."""
        while True:
            self._fill()
            if not self._pending:
                self._end_threads()
                raise self._source_error or StopIteration
            result, position = self._pending[0]
            error = None
            try:
                item = result()  # taken off the queue only when it is there: Ctrl-C while waiting loses nothing
            except PageError as bad:
                if self.on_error == "raise":
                    raise
                error = bad
            except StopIteration as leak:
                raise leaked(self.name) from leak
            self._pending.popleft()
            self._position = position
            if error is None:
                return item
            self._count_skip(error)

    def get_state(self) -> State:
        """The source's position after the last item that came out, and the number of items skipped so far."""
        return {SOURCE_KEY: self._position, self.SKIPPED_KEY: self.skipped}

    def close(self) -> None:
        """End the threads of this node and of its sources; waits for items in the making."""
        self._end_threads()
        super().close()

    def _end_threads(self) -> None:
        end_threads(self._threads)
        self._threads = None

    def _fill(self) -> None:
        """Start work on the next items. An error of the source waits its turn after the items before it."""
        depth = 2 * self.workers or 1
        while not self._is_source_done and len(self._pending) < depth:
            try:
                item = next(self.source)
                position = self.source.state_dict()
            except StopIteration:
                self._is_source_done = True
            except Exception as error:
                self._source_error, self._is_source_done = error, True
            else:
                threads, function = self._threads, self._function
                made = partial(function, item) if threads is None else threads.submit(function, item).result
                self._pending.append((made, position))

    def _count_skip(self, error: PageError) -> None:
        self.skipped += 1
        _log.warning("%s: skipped: %s", self.name, error)
        if self.max_skipped is not None and self.skipped > self.max_skipped:
            raise RuntimeError(
                f"{self.name}: {self.skipped} items skipped, more than max_skipped={self.max_skipped}; "
                f"the last one: {error}"
            ) from error


class BatchMap(Stage[Out], Generic[In, Out]):
    """Apply a function to every `size` items; what it returns comes out item by item.

    The state is a position, never contents: the source's state where the group began, and how many of the group's
    results came out. A resume reads the group again.

    Args:
        source: any node.
        function: list to list, pure; the last group of an epoch may be shorter than `size`.
        size: items a group.
        drop_last: leave out a last group that is not full.
        name: what errors call the node; the class name when empty.
    """

    EMITTED_KEY = "emitted"
    NUMBER_KEY = "group"

    def __init__(
        self,
        source: Node[In],
        function: Callable[[list[In]], Sequence[Out]],
        *,
        size: int,
        drop_last: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(source, name=name)
        check_node(source, self.name)
        if not is_count(size, least=1):
            raise ValueError(f"{self.name}: a group of {size!r} items; expected 1 or more")
        self.source: Node[In] = source
        self.size = size
        self.drop_last = drop_last
        self._function = function

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        open_source(self.source, initial_state)
        self.number = 0 if initial_state is None else int(initial_state[self.NUMBER_KEY])
        self._emitted = 0 if initial_state is None else int(initial_state[self.EMITTED_KEY])
        self._results: Sequence[Out] | None = None
        self._begin = self._end = self.source.state_dict()

    def advance(self) -> Out:
        """The group's next result; reads the next group when it is used up."""
        while True:
            if self._results is None:
                items = list(islice(self.source, self.size))
                if not items or (self.drop_last and len(items) < self.size):
                    raise StopIteration
                self._end = self.source.state_dict()
                try:
                    self._results = self._function(items)
                except StopIteration as leak:
                    raise leaked(self.name) from leak
            results, emitted = self._results, self._emitted
            self._emitted += 1
            if self._emitted >= len(results):
                self._results, self._begin, self._emitted = None, self._end, 0
                self.number += 1
            if emitted < len(results):  # else nothing came of the group
                return results[emitted]

    def get_state(self) -> State:
        """Where the group began, its number since the epoch's start, and how many of its results came out."""
        return {SOURCE_KEY: self._begin, self.NUMBER_KEY: self.number, self.EMITTED_KEY: self._emitted}
