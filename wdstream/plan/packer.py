"""The packer: a pool of pending samples; the oldest starts a pack, then whatever fills it best within the budget.

A pack is filled in three moves:

1. The oldest sample goes in, always: nothing waits longer than the pool allows.
2. While more than 2.5 mean samples of room are left under both budgets, the next oldest goes in. A choice made so early
   would only sort the pool by size. Measured against choosing from the start: fill at 16,384 tokens 98.5 -> 100.0 %,
   longest wait 105 -> 27 packs; at 8,192 tokens no difference (`tools/bench_plan.py`).
3. Then the best single or pair under both budgets, again and again until nothing fits. Best is the largest sum of the
   scarce budget: tokens, or patches when the pool holds more of its capacity of those. Of one sum the largest sample
   goes first, since small ones fill gaps later; of one level the oldest.

What comes out depends on nothing but the ids and sizes in the pool, in order of arrival: that is the whole state.

The pair search sorts nothing. Sizes are rounded up to one of LEVELS levels; those in use are the bits of an integer B
and, mirrored, of an integer M. `B & (M >> shift)` then marks all pairs of one sum at once, so walking down from the
room that is left reaches the best pair in a few steps. Rounding up never overfills a pack, and costs a pair at most two
levels of the budget; a single is compared unrounded, so that pages that fill a pack exactly do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

LEVELS = 2048
"""Levels of a budget. Fewer waste more of a pack to rounding, more take longer to walk through: from 1024 to 8192 fill
on page-like lengths is 99.85, 99.93, 99.96, 99.98 %, and 2048 is the last that costs next to no time."""


class Item(NamedTuple):
    """One sample that waits for its pack.

    Attributes:
        sample: global sample number.
        tokens: its tokens, at most the capacity.
        patches: its vision patches, at most the capacity.
        supervised: its supervised tokens.
        vision_cost: predicted cost in the vision tower (deal.py).
        scale: its images are first shrunk to scale / 64 of their sides; 64 is as they are.
    """

    sample: int
    tokens: int
    patches: int
    supervised: int = 0
    vision_cost: int = 0
    scale: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a pack holds at most.

    Attributes:
        tokens: of all its samples.
        patches: vision patches of all its samples.
    """

    tokens: int
    patches: int


@dataclass(slots=True)
class _Axis:
    """The pool seen by one budget: which sizes it holds, in levels of `unit`, rounded up.

    Level 0 is the empty choice, so that a single sample is a pair too. Samples of size 0 (a text has no patches) are in
    no level: they go in when nothing else does.
    """

    capacity: int
    size: int  # index of this budget's size in an Item
    other: int  # of the other budget's
    unit: int = 0
    top: int = 0
    holders: dict[int, dict[int, Item]] = field(default_factory=dict)  # level -> arrival -> sample
    least: dict[int, int] = field(default_factory=dict)  # level -> smallest size of its holders on the other budget
    empty: dict[int, Item] = field(default_factory=dict)  # samples of size 0, by arrival
    bits: int = 0
    mirror: int = 0

    def __post_init__(self) -> None:
        self.unit = -(-self.capacity // LEVELS)
        self.top = -(-self.capacity // self.unit)
        self.clear()

    def clear(self) -> None:
        """Hold nothing but the empty choice."""
        self.holders, self.least, self.empty = {}, {0: 0}, {}
        self.bits, self.mirror = 1, 1 << self.top

    def add(self, arrival: int, item: Item) -> None:
        """Take a sample in; it is younger than all others."""
        level = -(-item[self.size] // self.unit)
        if not level:
            self.empty[arrival] = item
            return
        holders = self.holders.get(level)
        if holders is None:
            self.holders[level] = {arrival: item}
            self.least[level] = item[self.other]
            self.bits |= 1 << level
            self.mirror |= 1 << self.top - level
            return
        holders[arrival] = item
        self.least[level] = min(self.least[level], item[self.other])

    def remove(self, arrival: int, item: Item) -> None:
        """Let a sample go."""
        level = -(-item[self.size] // self.unit)
        if not level:
            del self.empty[arrival]
            return
        holders = self.holders[level]
        if len(holders) > 1:
            del holders[arrival]
            other = self.other
            self.least[level] = min([item[other] for item in holders.values()])
            return
        del self.holders[level], self.least[level]
        self.bits ^= 1 << level
        self.mirror ^= 1 << self.top - level

    def best(self, room: int, other_room: int) -> tuple[int, ...]:
        """Arrivals of the best single or pair of at most `room` here and `other_room` on the other budget."""
        whole_levels = room // self.unit
        tight = self.holders.get(whole_levels + 1)  # what fits of it fills the room best, and is not marked below
        if tight and (found := self._first_within(tight, room, other_room)):
            return found
        bits, least = self.bits, self.least
        level = min(whole_levels, 2 * bits.bit_length() - 2)
        marked = self.mirror >> self.top - level
        while level:
            pairs = bits & marked  # each is marked twice, at its larger and at its smaller level
            while pairs:
                large = pairs.bit_length() - 1
                small = level - large
                if large < small:
                    break
                if least[large] + least[small] <= other_room:
                    found = self._fitting(large, small, room, other_room)
                    if found:
                        return found
                pairs ^= 1 << large
            marked >>= 1
            level -= 1
        return self._first_within(self.empty, room, other_room)

    def _fitting(self, large: int, small: int, room: int, other_room: int) -> tuple[int, ...]:
        """Arrivals of the oldest samples of two levels that fit the other budget together; level 0 is none."""
        if not small:
            return self._first_within(self.holders[large], room, other_room)
        other, smaller = self.other, self.holders[small]
        for arrival, item in self.holders[large].items():
            rest = other_room - item[other]
            for another, another_item in smaller.items():
                if another_item[other] <= rest and arrival != another:
                    return arrival, another
        return ()

    def _first_within(self, holders: dict[int, Item], room: int, other_room: int) -> tuple[int, ...]:
        """The oldest of these samples that fits; none, if none does."""
        for arrival, item in holders.items():
            if item[self.size] <= room and item[self.other] <= other_room:
                return (arrival,)
        return ()


class PoolPacker:
    """Packs within a budget from a pool of pending samples."""

    def __init__(self, budget: Budget) -> None:
        self._capacity = (budget.tokens, budget.patches)
        self._axes = (_Axis(budget.tokens, size=1, other=2), _Axis(budget.patches, size=2, other=1))
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
            axis.add(arrival, item)

    def pack(self) -> list[Item]:
        """Take out the next pack, in order of placement; the pool must not be empty."""
        axis = self._choose_axis()
        tokens, patches = self._capacity
        arrivals: tuple[int, ...] = (next(iter(self._pool)),)
        placed = []
        while arrivals:
            for arrival in arrivals:
                item = self._pool.pop(arrival)
                axis.remove(arrival, item)
                placed.append(item)
                tokens -= item[1]
                patches -= item[2]
                self._tokens -= item[1]
                self._patches -= item[2]
            arrivals = self._next(tokens, patches)
        return placed

    def _choose_axis(self) -> _Axis:
        """The pool by the budget of which it needs more packs."""
        scarce = int(self._patches * self._capacity[0] > self._tokens * self._capacity[1])
        axis = self._axes[scarce]
        if scarce != self._scarce:
            self._scarce = scarce
            axis.clear()
            for arrival, item in self._pool.items():
                axis.add(arrival, item)
        return axis

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
