"""Pack: samples into packs under two budgets, by the plan's own packer."""

import logging
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, cast

from wdstream.errors import RowError
from wdstream.nodes.mapper import OnError
from wdstream.nodes.node import SOURCE_KEY, Node, Stage, State, check_node, is_count
from wdstream.plan.packer import Budget, Item, PoolPacker
from wdstream.records import Sample

T = TypeVar("T")

_log = logging.getLogger("wdstream")


class Waiting(NamedTuple, Generic[T]):
    """An item in the pool, with the source's state before it."""

    item: T
    state: State


class Pack(Stage[list[T]], Generic[T]):
    """Items to lists of items, each list at most `sequence_length` tokens and `max_patches` patches.

    The oldest item of a pool of `pool` starts each pack. The pool is in memory, but not in the state: that holds the
    places of the waiting items and the source's state before the oldest of them, and a resume reads them again.

    Args:
        source: gives Samples, or anything that `measure` can measure.
        sequence_length: tokens per pack.
        max_patches: vision patches per pack; None is no limit.
        pool: items to choose from.
        measure: (tokens, patches) of an item.
        on_error: "raise", or "skip" to log, count (`rejected`) and leave out items that are too long for any pack.
    """

    PLACE_KEY, TAKEN_KEY, WAITING_KEY, REJECTED_KEY = "place", "taken", "waiting", "rejected"

    def __init__(
        self,
        source: Node[T],
        *,
        sequence_length: int,
        max_patches: int | None = None,
        pool: int = 128,
        measure: Callable[[T], tuple[int, int]] | None = None,
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(source)
        check_node(source, self.name)
        limits = [sequence_length, pool, *([] if max_patches is None else [max_patches])]
        if not all(is_count(limit, least=1) for limit in limits):
            raise ValueError(
                f"{self.name}: sequence_length={sequence_length!r}, max_patches={max_patches!r}, pool={pool!r}; "
                "each must be at least 1"
            )
        self.source: Node[T] = source
        self.sequence_length = sequence_length
        self.max_patches = max_patches
        self.pool = pool
        self.on_error = on_error
        self._measure = measure or cast(Callable[[T], tuple[int, int]], measure_sample)

    def reset(self, initial_state: State | None = None) -> None:
        """Open with the pool that the state describes, or with an empty one at the start of a new epoch."""
        super().reset(initial_state)
        self._packer = PoolPacker(Budget(tokens=self.sequence_length, patches=self.max_patches or 1))
        self._waiting: dict[int, Waiting[T]] = {}  # by place, oldest first
        self._is_source_done = False
        if initial_state is None:
            self.source.reset()
            self._place, self.rejected = 0, 0
            return
        self.source.reset(initial_state[SOURCE_KEY])
        self._place, self.rejected = int(initial_state[self.PLACE_KEY]), int(initial_state[self.REJECTED_KEY])
        waiting = {self._place + place for place in initial_state[self.WAITING_KEY]}
        for _ in range(initial_state[self.TAKEN_KEY]):
            self._take(is_wanted=self._place in waiting)

    def advance(self) -> list[T]:
        """The next pack, as soon as the pool is full."""
        while len(self._packer) < self.pool and not self._is_source_done:
            try:
                self._take(is_wanted=True)
            except StopIteration:
                self._is_source_done = True
        if not self._waiting:
            raise StopIteration
        return [self._waiting.pop(placed.sample).item for placed in self._packer.pack()]

    def get_state(self) -> State:
        """Where the oldest waiting item is, how many were read from there on, and which of these still wait."""
        oldest = next(iter(self._waiting), self._place)
        before = self._waiting[oldest].state if self._waiting else self.source.state_dict()
        return {
            SOURCE_KEY: before,
            self.PLACE_KEY: oldest,
            self.TAKEN_KEY: self._place - oldest,
            self.WAITING_KEY: [place - oldest for place in self._waiting],
            self.REJECTED_KEY: self.rejected,
        }

    def _take(self, *, is_wanted: bool) -> None:
        """Read one item, and put it into the pool when it is wanted."""
        state = self.source.state_dict()
        item = next(self.source)
        place = self._place
        self._place += 1
        if not is_wanted:
            return
        tokens, patches = self._measure(item)
        patches = 0 if self.max_patches is None else patches
        if tokens > self.sequence_length or (self.max_patches is not None and patches > self.max_patches):
            self._reject(item, tokens, patches)
            return
        self._packer.add([Item(place, tokens, patches)])
        self._waiting[place] = Waiting(item, state)

    def _reject(self, item: T, tokens: int, patches: int) -> None:
        message = (
            f"{getattr(item, 'key', 'an item')}: {tokens} tokens and {patches} patches; a pack holds at most "
            f"{self.sequence_length} and {self.max_patches}"
        )
        if self.on_error == "raise":
            raise RowError(f"{self.name}: {message}; raise the limits, tile coarser, or pass on_error='skip'")
        self.rejected += 1
        _log.warning("%s: left out: %s", self.name, message)


def measure_sample(sample: Sample) -> tuple[int, int]:
    """(tokens, patches) of a Sample."""
    return sample.num_tokens, sample.num_patches
