"""The packer: a pool of pending samples; the oldest starts a pack, then whatever fills it best under both budgets.

A pack is filled in three moves:

1. The oldest sample goes in, always: nothing waits longer than the pool allows.
2. While more than 2.5 mean samples of room are left under both budgets, the next oldest goes in. A choice made so early
   would only sort the pool by size. Measured against choosing from the start: fill at 16,384 tokens 98.5 -> 100.0 %,
   longest wait 105 -> 27 packs; at 8,192 tokens no difference (`tools/bench_plan.py`).
3. Then the best single or pair under both budgets, again and again until nothing fits. Best is the largest sum of the
   scarce budget: tokens, or patches when the pool holds more of its capacity of those. The search ends with a sum that
   leaves at most 1/2048 of the capacity (a quarter faster for 0.05 % of fill); of one size the oldest samples are
   taken.

What comes out depends on nothing but the ids and sizes in the pool, in order of arrival: that is the whole state.

The pair search is exact and sorts nothing. Sizes are kept in LEVELS buckets, the used ones marked as bits of an
integer B and, mirrored, of an integer M. `B & (M >> shift)` then marks all pairs of buckets of one sum at once, so
walking down from what is left reaches the best pair in a few steps.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

LEVELS = 512
"""Buckets a budget; fewer hold more samples each, more take longer to walk through. 512 was fastest for pools of
128."""


class Item(NamedTuple):
    """One sample that waits for its pack.

    Attributes:
        sample: global sample number.
        tokens: its tokens, at most the capacity.
        patches: its vision patches, at most the capacity.
        supervised: its supervised tokens.
        vision_cost: predicted cost in the vision tower (cost.py).
        scale: its images are first shrunk to scale / 64 of their sides; 64 is as they are.
    """

    sample: int
    tokens: int
    patches: int
    supervised: int = 0
    vision_cost: int = 0
    scale: int = 64


_Best = tuple[int, tuple[int, ...]]  # what the best choice so far adds up to, and its arrivals


@dataclass(slots=True)
class _Axis:
    """The pool seen by one budget: which sizes it holds, in buckets.

    Bucket 0 holds the empty choice, so that a single sample is a pair too; a sample of size s > 0 lies in s // unit +
    1. Samples of size 0 (a text has no patches) are in no bucket: they go in when nothing else does.
    """

    capacity: int
    values: dict[int, list[int]] = field(default_factory=dict)  # bucket -> sizes in it
    holders: dict[int, dict[int, int]] = field(default_factory=dict)  # size -> arrival -> size on the other budget
    least: dict[int, int] = field(default_factory=dict)  # size -> smallest size of its holders on the other budget
    empty: dict[int, int] = field(default_factory=dict)  # samples of size 0: arrival -> size on the other budget
    unit: int = 0
    slack: int = 0
    top: int = 0
    bits: int = 0
    mirror: int = 0

    def __post_init__(self) -> None:
        self.unit = -(-self.capacity // LEVELS)
        self.slack = self.capacity >> 11
        self.top = self.capacity // self.unit + 1
        self.clear()

    def clear(self) -> None:
        """Hold nothing but the empty choice."""
        self.values, self.holders, self.least, self.empty = {0: [0]}, {}, {0: 0}, {}
        self.bits, self.mirror = 1, 1 << self.top

    def add(self, arrival: int, size: int, other: int) -> None:
        """Take a sample in; it is younger than all others."""
        if not size:
            self.empty[arrival] = other
            return
        holders = self.holders.get(size)
        if holders is not None:
            holders[arrival] = other
            if other < self.least[size]:
                self.least[size] = other
            return
        self.holders[size] = {arrival: other}
        self.least[size] = other
        bucket = size // self.unit + 1
        values = self.values.get(bucket)
        if values is not None:
            insort(values, size)
            return
        self.values[bucket] = [size]
        self.bits |= 1 << bucket
        self.mirror |= 1 << self.top - bucket

    def remove(self, arrival: int, size: int) -> None:
        """Let a sample go."""
        if not size:
            del self.empty[arrival]
            return
        holders = self.holders[size]
        if len(holders) > 1:
            del holders[arrival]
            self.least[size] = min(holders.values())
            return
        del self.holders[size], self.least[size]
        bucket = size // self.unit + 1
        values = self.values[bucket]
        if len(values) > 1:
            values.remove(size)
            return
        del self.values[bucket]
        self.bits ^= 1 << bucket
        self.mirror ^= 1 << self.top - bucket

    def best(self, room: int, other_room: int) -> tuple[int, ...]:
        """Arrivals of the best single or pair of at most `room` here and `other_room` on the other budget."""
        highest = room // self.unit + 1
        bits = self.bits & ((2 << highest) - 1)
        if bits == 1:
            return _first_within(self.empty, other_room) if self.empty else ()
        best: _Best = (0, ())
        enough = room - self.slack
        # two buckets adding up to `level` hold sizes adding up to (level - 2) * unit .. level * unit - 2; one: to - 1
        level = min(highest + 1, 2 * (bits.bit_length() - 1))
        marked = self.mirror >> self.top - level if level <= self.top else self.mirror << level - self.top
        while best[0] < enough and best[0] < level * self.unit - 1:
            pairs = bits & marked
            if pairs:
                pairs &= (2 << (level >> 1)) - 1  # each pair is marked twice; keep the smaller bucket
                best = self._search(pairs, level, (room, other_room), best)
            marked >>= 1
            level -= 1
        return best[1] or _first_within(self.empty, other_room)

    def _search(self, buckets: int, level: int, rooms: tuple[int, int], best: _Best) -> _Best:
        """The best of `best` and the pairs from bucket b and bucket level - b, for every b marked in `buckets`."""
        values, least = self.values, self.least
        room, other_room = rooms
        enough = room - self.slack
        total, found = best
        while buckets:
            bucket = buckets.bit_length() - 1
            buckets ^= 1 << bucket
            large_sizes = values[level - bucket]
            for one in values[bucket]:
                for two in large_sizes:
                    if total < one + two <= room and least[one] + least[two] <= other_room:
                        fitting = self._oldest(one, two, other_room)
                        if fitting:
                            total, found = one + two, fitting
                            if total >= enough:
                                return total, found
        return total, found

    def _oldest(self, one: int, two: int, other_room: int) -> tuple[int, ...]:
        """Arrivals of the oldest samples of these two sizes that fit the other budget together; size 0 is none."""
        if not one:
            return _first_within(self.holders[two], other_room)
        ones, twos = self.holders[one], self.holders[two]
        for arrival, other in ones.items():
            for another_arrival, another in twos.items():
                if other + another <= other_room and arrival != another_arrival:
                    return arrival, another_arrival
        return ()


def _first_within(holders: dict[int, int], room: int) -> tuple[int, ...]:
    """The oldest of these arrivals whose size is at most `room`; none, if none is."""
    return next(((arrival,) for arrival, size in holders.items() if size <= room), ())


class PoolPacker:
    """Packs of at most `max_tokens` tokens and `max_patches` patches from a pool of pending samples."""

    def __init__(self, *, max_tokens: int, max_patches: int) -> None:
        self._capacity = (max_tokens, max_patches)
        self._axes = (_Axis(max_tokens), _Axis(max_patches))
        self._scarce = 0  # which budget the pool is kept by: 0 tokens, 1 patches
        self._pool: dict[int, Item] = {}  # in order of arrival
        self._arrivals = 0
        self._tokens = 0
        self._patches = 0

    def __len__(self) -> int:
        return len(self._pool)

    @property
    def items(self) -> list[Item]:
        """The pool, oldest first."""
        return list(self._pool.values())

    def add(self, items: Iterable[Item]) -> None:
        """Take in samples, each within both capacities."""
        axis = self._axes[self._scarce]
        for item in items:
            arrival = self._arrivals
            self._arrivals = arrival + 1
            self._pool[arrival] = item
            self._tokens += item[1]
            self._patches += item[2]
            axis.add(arrival, item[1 + self._scarce], item[2 - self._scarce])

    def pack(self) -> list[Item]:
        """Take out the next pack, in order of placement; the pool must not be empty."""
        self._choose_axis()
        tokens, patches = self._capacity
        arrivals: tuple[int, ...] = (next(iter(self._pool)),)
        placed = []
        while arrivals:
            for arrival in arrivals:
                item = self._take(arrival)
                placed.append(item)
                tokens -= item[1]
                patches -= item[2]
            arrivals = self._next(tokens, patches)
        return placed

    def _choose_axis(self) -> None:
        """Keep the pool by the budget of which it needs more packs."""
        scarce = int(self._patches * self._capacity[0] > self._tokens * self._capacity[1])
        if scarce == self._scarce:
            return
        self._scarce = scarce
        axis = self._axes[scarce]
        axis.clear()
        for arrival, item in self._pool.items():
            axis.add(arrival, item[1 + scarce], item[2 - scarce])

    def _next(self, tokens: int, patches: int) -> tuple[int, ...]:
        """Arrivals of what goes in next: the oldest while 2.5 mean samples would fit, else the best; or none."""
        count = 2 * len(self._pool)
        if count and tokens * count >= 5 * self._tokens and patches * count >= 5 * self._patches:
            arrival, item = next(iter(self._pool.items()))
            if item[1] <= tokens and item[2] <= patches:
                return (arrival,)
        if self._scarce:
            return self._axes[1].best(patches, tokens)
        return self._axes[0].best(tokens, patches)

    def _take(self, arrival: int) -> Item:
        item = self._pool.pop(arrival)
        self._tokens -= item[1]
        self._patches -= item[2]
        self._axes[self._scarce].remove(arrival, item[1 + self._scarce])
        return item
