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
and, mirrored, of an integer M; both are kept in one. `B & (M >> shift)` then marks all pairs of one sum at once, so
walking down from the room that is left reaches the best pair in a few steps. Rounding up never overfills a pack, and
costs a pair at most two levels of the budget; a single is compared unrounded, so that pages that fill a pack exactly
do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wdstream.records import Ints

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


class _Axis:
    """The pool seen by one budget: which sizes it holds, in levels of `unit`, rounded up.

    Samples are known by their places in two lists, of their sizes on this budget and on the other one. Level 0 is the
    empty choice, so that a single sample is a pair too. Samples of size 0 (a text has no patches) are in no level: they
    go in when nothing else does.
    """

    __slots__ = (
        "before",
        "bits",
        "capacity",
        "holders",
        "levels",
        "masks",
        "others",
        "packed",
        "shift",
        "sizes",
        "unit",
        "up_to",
    )

    def __init__(self, capacity: int, sizes: list[int], others: list[int]) -> None:
        """A budget of `capacity`, and the sizes of samples on it and on the other one, to which more may come."""
        self.capacity = capacity
        self.sizes, self.others = sizes, others
        self.before = [0]  # by place, and at the end: the sum of the sizes before it
        self.packed = 0  # the sum of the sizes in packs; the other axis may have packed them
        self.levels: list[int] = []  # by place
        self.unit = -(-capacity // LEVELS)
        top = -(-capacity // self.unit)
        self.holders: list[list[int]] = [[] for _ in range(top + 2)]  # places by level, oldest first; 0: of size 0
        self.shift = 2 * top + 1  # level 0 mirrored; B is below the bits of M
        self.bits = 1 | 1 << self.shift
        self.masks = [0, *(1 << level | 1 << self.shift - level for level in range(1, top + 1))]
        self.up_to = [(4 << level) - 1 for level in range(top + 1)]  # in B: each level with those below and the next

    def feed(self, sizes: Ints) -> None:
        """Sizes of further places."""
        self.sizes += sizes.tolist()
        self.before += (self.before[-1] + np.cumsum(sizes)).tolist()
        self.levels += (-(-sizes // self.unit)).tolist()

    def forget(self) -> None:
        """Know of no place any more."""
        self.sizes.clear()
        self.levels.clear()
        self.before, self.packed = [0], 0

    def clear(self) -> None:
        """Hold nothing but the empty choice."""
        self.holders[0].clear()
        levels = self.bits & self.up_to[-1]
        while level := levels.bit_length() - 1:
            self.holders[level].clear()
            levels ^= 1 << level
        self.bits = 1 | 1 << self.shift

    def add(self, places: Iterable[int]) -> None:
        """Take samples in, which are younger than all others."""
        levels, holders, masks, bits = self.levels, self.holders, self.masks, self.bits
        for place in places:
            level = levels[place]
            holders[level].append(place)
            bits |= masks[level]
        self.bits = bits

    def best(self, bits: int, within: int, room: int, other_room: int) -> Sequence[int]:
        """Places of the best single or pair of at most `room` here and `other_room` on the other budget.

        Args:
            bits: of the levels in use.
            within: those of B up to the level after the one of `room`.
            room: of this budget.
            other_room: of the other one.
        """
        holders, others, level = self.holders, self.others, room // self.unit
        tight = holders[level + 1]  # what fits of it fills the room best, and is not marked below
        if tight and (found := self._first_within(tight, room, other_room)):
            return found
        most = 2 * within.bit_length() - 2
        if level > most:
            level = most
        marked = bits >> self.shift - level
        while level:
            pairs = within & marked  # each is marked twice, at its larger and at its smaller level
            while pairs:
                large = pairs.bit_length() - 1
                small = level - large
                if large < small:
                    break
                if small:
                    place, another = holders[large][0], holders[small][0]
                    if others[place] + others[another] <= other_room and place != another:
                        return place, another  # without a further look, most often
                if found := self._fitting(large, small, room, other_room):
                    return found
                pairs ^= 1 << large
            marked >>= 1
            level -= 1
        return self._first_within(holders[0], room, other_room)

    def _fitting(self, large: int, small: int, room: int, other_room: int) -> Sequence[int]:
        """Places of the oldest samples of two levels that fit the other budget together; level 0 is none."""
        others, larger, smaller = self.others, self.holders[large], self.holders[small]
        if not small:
            return self._first_within(larger, room, other_room)
        if min([others[place] for place in larger]) + min([others[place] for place in smaller]) > other_room:
            return ()
        for place in larger:
            rest = other_room - others[place]
            for another in smaller:
                if others[another] <= rest and place != another:
                    return place, another
        return ()

    def _first_within(self, holders: Iterable[int], room: int, other_room: int) -> Sequence[int]:
        """The oldest of these samples that fits; none, if none does."""
        for place in holders:
            if self.sizes[place] <= room and self.others[place] <= other_room:
                return (place,)
        return ()


class SizePacker:
    """Packs within a budget, of samples that wait in a queue and then in a pool; each is known by its place in them.

    Places count up in the order of arrival. Those that are no longer of use are forgotten by `forget`.

    Attributes:
        num_pool: samples in the pool.
        num_taken: places of which the samples are in the pool, or were; those after them wait in the queue.
    """

    def __init__(self, budget: Budget) -> None:
        tokens, patches = list[int](), list[int]()  # by place
        self._axes = _Axis(budget.tokens, tokens, patches), _Axis(budget.patches, patches, tokens)
        self._scarce = 0  # which budget the pool is kept by: 0 tokens, 1 patches
        self._is_waiting: list[bool] = []  # by place: in no pack
        self._oldest = 0  # no sample before this place is in the pool
        self.num_pool = self.num_taken = 0

    def feed(self, tokens: Ints, patches: Ints) -> None:
        """More samples for the queue, each within both capacities; (n,) each."""
        for axis, values in zip(self._axes, (tokens, patches), strict=True):
            axis.feed(values)
        self._is_waiting += [True] * len(tokens)

    def fill(self, pool: int) -> bool:
        """Take from the queue until the pool holds this many; False where the queue has too few."""
        start, num_pool = self.num_taken, self.num_pool
        if num_pool >= pool:
            return True
        stop = min(start + pool - num_pool, len(self._is_waiting))
        self._axes[self._scarce].add(range(start, stop))
        self.num_taken, self.num_pool = stop, num_pool + stop - start
        return self.num_pool == pool

    def put(self, tokens: int, patches: int) -> None:
        """One more sample for the pool, within both capacities; the queue must be empty."""
        for axis, size in zip(self._axes, (tokens, patches), strict=True):
            axis.sizes.append(size)
            axis.before.append(axis.before[-1] + size)
            axis.levels.append(-(-size // axis.unit))
        self._is_waiting.append(True)
        self.fill(self.num_pool + 1)

    def places(self) -> list[int]:
        """Of the samples in the pool, oldest first."""
        return [place for place in range(self._oldest, self.num_taken) if self._is_waiting[place]]

    def forget(self) -> list[int]:
        """Number the samples of the pool from 0 on, and those of the queue after them; returns the places they had."""
        places, pool = [*self.places(), *range(self.num_taken, len(self._is_waiting))], self.num_pool
        tokens, patches = (np.array([axis.sizes[place] for place in places], dtype=np.int64) for axis in self._axes)
        for axis in self._axes:
            axis.forget()
        self._is_waiting.clear()
        self.feed(tokens, patches)
        self._oldest, self.num_taken = 0, pool
        self._keep_by(self._scarce)
        return places

    def pack(self) -> list[int]:
        """Take the next pack out of the pool, which must not be empty; places in the order in which they go in."""
        return self.packs(1, 0)[0]

    def packs(self, count: int, pool: int) -> tuple[list[int], list[int]]:
        """Take the next packs out of the pool, and fill it up to `pool` before each.

        Returns:
            The places in all packs, in the order in which they go in, and how many each pack has. The packs are fewer
            than `count` where the pool runs empty, or the queue, of which the pool then has the rest.
        """
        placed: list[int] = []
        sizes: list[int] = []
        while len(sizes) < count and self.fill(pool) and self.num_pool:
            tokens, patches = (axis.before[self.num_taken] - axis.packed for axis in self._axes)  # in the pool
            scarce = int(patches * self._axes[0].capacity > tokens * self._axes[1].capacity)
            if scarce != self._scarce:
                self._keep_by(scarce)
            self._pack_by(self._axes[scarce], self._axes[1 - scarce], count, pool, placed, sizes)
        return placed, sizes

    def _pack_by(
        self, axis: _Axis, other_axis: _Axis, count: int, pool: int, placed: list[int], sizes: list[int]
    ) -> None:
        """`packs`, at least one, for as long as the pool needs more of them by the budget of `axis`.

        A plan's time goes here: hence one function, with local variables.
        """
        here_of, other_of, levels, holders, masks = axis.sizes, axis.others, axis.levels, axis.holders, axis.masks
        bits, up_to, unit, best, is_waiting = axis.bits, axis.up_to, axis.unit, axis.best, self._is_waiting
        oldest, left, taken = self._oldest, self.num_pool, self.num_taken
        while len(sizes) < count and (stop := max(taken + pool - left, taken)) <= len(is_waiting):
            for place in range(taken, stop):
                level = levels[place]
                holders[level].append(place)
                bits |= masks[level]
            left, taken = left + stop - taken, stop
            here_in_pool, other_in_pool = axis.before[taken] - axis.packed, other_axis.before[taken] - other_axis.packed
            here, other, num_placed = axis.capacity, other_axis.capacity, len(placed)
            if not left or here_in_pool * other < other_in_pool * here + self._scarce:
                break  # the pool is empty, or needs more packs by the other budget
            more_here, more_other = 5 * (here_in_pool - here), 5 * (other_in_pool - other)  # than there is room
            found: Sequence[int] = (oldest := is_waiting.index(True, oldest),)
            while found:
                for place in found:
                    is_waiting[place] = False
                    here -= here_of[place]
                    other -= other_of[place]
                    level = levels[place]
                    held = holders[level]
                    held.remove(place)
                    if not held:
                        bits ^= masks[level]
                placed += found
                left -= len(found)
                # The oldest, while 2.5 mean samples would fit, 2 * left * room >= 5 * (more + room); then the best.
                factor = 2 * left - 5
                if factor * here >= more_here and factor * other >= more_other and left:
                    oldest = is_waiting.index(True, oldest)
                    if here_of[oldest] <= here and other_of[oldest] <= other:
                        found = (oldest,)
                        continue
                within = bits & up_to[here // unit]
                found = best(bits, within, here, other) if within > 1 or holders[0] else ()
            sizes.append(len(placed) - num_placed)
            axis.packed += axis.capacity - here
            other_axis.packed += other_axis.capacity - other
        axis.bits, self._oldest, self.num_pool, self.num_taken = bits, oldest, left, taken

    def _keep_by(self, scarce: int) -> None:
        """Keep the pool by this budget."""
        self._scarce = scarce
        self._axes[scarce].clear()
        self._axes[scarce].add(self.places())


_FORGET_AFTER = 4096
"""Places of samples that are packed."""


class PoolPacker:
    """Packs within a budget from a pool of pending samples."""

    def __init__(self, budget: Budget) -> None:
        self._packer = SizePacker(budget)
        self._items: list[Item] = []  # by place

    def __len__(self) -> int:
        return self._packer.num_pool

    @property
    def items(self) -> list[Item]:
        """The pool, oldest first."""
        return [self._items[place] for place in self._packer.places()]

    def add(self, items: Iterable[Item]) -> None:
        """Take in samples, each within both capacities."""
        if len(self._items) - len(self) > _FORGET_AFTER:
            self._items = [self._items[place] for place in self._packer.forget()]
        for item in items:
            self._items.append(item)
            self._packer.put(int(item.tokens), int(item.patches))

    def pack(self) -> list[Item]:
        """Take out the next pack, in order of placement; the pool must not be empty."""
        return [self._items[place] for place in self._packer.pack()]
