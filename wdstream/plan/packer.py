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

    __slots__ = ("bits", "holders", "least", "levels", "low", "masks", "others", "shift", "sizes", "unit")

    def __init__(self, capacity: int, sizes: list[int], others: list[int]) -> None:
        """A budget of `capacity`, and the sizes of samples on it and on the other one, to which more may come."""
        self.sizes, self.others = sizes, others
        self.levels: list[int] = []  # by place
        self.unit = -(-capacity // LEVELS)
        top = -(-capacity // self.unit)
        self.holders: list[list[int]] = [[] for _ in range(top + 2)]  # places by level, oldest first; 0: of size 0
        self.least = [0] * (top + 1)  # by level the smallest size of its holders on the other budget
        self.shift = 2 * top + 1  # level 0 mirrored; B is below the bits of M
        self.masks = [1 << level | 1 << self.shift - level for level in range(top + 1)]
        self.low = (1 << top + 1) - 1
        self.bits = self.masks[0]

    def clear(self) -> None:
        """Hold nothing but the empty choice."""
        self.holders[0].clear()
        while level := (self.bits & self.low).bit_length() - 1:
            self.holders[level].clear()
            self.bits ^= self.masks[level]

    def add(self, places: Iterable[int]) -> None:
        """Take samples in, which are younger than all others."""
        levels, others, holders, least = self.levels, self.others, self.holders, self.least
        for place in places:
            level = levels[place]
            if held := holders[level]:
                held.append(place)
                if others[place] < least[level]:
                    least[level] = others[place]
            elif level:
                held.append(place)
                least[level] = others[place]
                self.bits ^= self.masks[level]
            else:
                held.append(place)

    def remove(self, places: Iterable[int]) -> None:
        """Let samples at these places go."""
        levels, others, holders = self.levels, self.others, self.holders
        for place in places:
            level = levels[place]
            held = holders[level]
            held.remove(place)
            if held:
                if others[place] == self.least[level] and level:
                    self.least[level] = min([others[another] for another in held])
            elif level:
                self.bits ^= self.masks[level]

    def best(self, room: int, other_room: int) -> Sequence[int]:
        """Places of the best single or pair of at most `room` here and `other_room` on the other budget."""
        level = room // self.unit
        tight = self.holders[level + 1]  # what fits of it fills the room best, and is not marked below
        if tight and (found := self._first_within(tight, room, other_room)):
            return found
        bits, least = self.bits, self.least
        if level:
            level = min(level, 2 * (bits & self.low).bit_length() - 2)
        marked = bits >> self.shift - level
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
        empty = self.holders[0]
        return self._first_within(empty, room, other_room) if empty else ()

    def _fitting(self, large: int, small: int, room: int, other_room: int) -> Sequence[int]:
        """Places of the oldest samples of two levels that fit the other budget together; level 0 is none."""
        if not small:
            return self._first_within(self.holders[large], room, other_room)
        others, larger, smaller = self.others, self.holders[large], self.holders[small]
        if len(larger) == len(smaller) == 1 and large != small:
            return larger[0], smaller[0]  # they are the least on the other budget
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
        self._capacity = (budget.tokens, budget.patches)
        self._tokens: list[int] = []  # by place
        self._patches: list[int] = []
        tokens, patches = self._tokens, self._patches
        self._axes = (_Axis(budget.tokens, tokens, patches), _Axis(budget.patches, patches, tokens))
        self._scarce = 0  # which budget the pool is kept by: 0 tokens, 1 patches
        self._is_in_pool = bytearray()  # by place, as far as they are taken
        self._oldest = 0  # no sample before this place is in the pool
        self._tokens_in_pool = self._patches_in_pool = 0
        self.num_pool = self.num_taken = 0

    def feed(self, tokens: Ints, patches: Ints) -> None:
        """More samples for the queue, each within both capacities; (n,) each."""
        for axis, sizes, values in zip(self._axes, (self._tokens, self._patches), (tokens, patches), strict=True):
            sizes += values.tolist()
            axis.levels += (-(-values // axis.unit)).tolist()

    def fill(self, pool: int) -> bool:
        """Take from the queue until the pool holds this many; False where the queue has too few."""
        start, num_pool, all_tokens = self.num_taken, self.num_pool, self._tokens
        missing = pool - num_pool
        if missing <= 0:
            return True
        stop = start + missing
        if stop > len(all_tokens):
            stop = len(all_tokens)
        self._axes[self._scarce].add(range(start, stop))
        self._tokens_in_pool += sum(all_tokens[start:stop])
        self._patches_in_pool += sum(self._patches[start:stop])
        self._is_in_pool += b"\1" * (stop - start)
        self.num_taken = stop
        self.num_pool = num_pool = num_pool + stop - start
        return num_pool >= pool

    def put(self, tokens: int, patches: int) -> None:
        """One more sample for the pool, within both capacities; the queue must be empty."""
        place = self.num_taken
        for axis, size in zip(self._axes, (tokens, patches), strict=True):
            axis.sizes.append(size)
            axis.levels.append(-(-size // axis.unit))
        self._axes[self._scarce].add((place,))
        self._tokens_in_pool += tokens
        self._patches_in_pool += patches
        self._is_in_pool.append(1)
        self.num_taken = place + 1
        self.num_pool += 1

    def places(self) -> list[int]:
        """Of the samples in the pool, oldest first."""
        return [place for place in range(self._oldest, self.num_taken) if self._is_in_pool[place]]

    def forget(self) -> list[int]:
        """Number the samples of the pool from 0 on, and those of the queue after them; returns the places they had."""
        places, pool = [*self.places(), *range(self.num_taken, len(self._tokens))], self.num_pool
        tokens, patches = ([sizes[place] for place in places] for sizes in (self._tokens, self._patches))
        for entries in (self._tokens, self._patches, *(axis.levels for axis in self._axes)):
            entries.clear()
        self.feed(np.array(tokens, dtype=np.int64), np.array(patches, dtype=np.int64))
        self._is_in_pool = bytearray(b"\1" * pool)
        self._oldest, self.num_taken = 0, pool
        self._keep_by(self._scarce)
        return places

    def pack(self) -> list[int]:
        """Take the next pack out of the pool, which must not be empty; places in the order in which they go in."""
        axis, is_in_pool, left = self._choose_axis(), self._is_in_pool, self.num_pool
        all_tokens, all_patches, (tokens, patches) = self._tokens, self._patches, self._capacity
        more_tokens, more_patches = self._tokens_in_pool - tokens, self._patches_in_pool - patches  # than there is room
        oldest = self._oldest
        while not is_in_pool[oldest]:
            oldest += 1
        found: Sequence[int] = (oldest,)
        placed: list[int] = []
        kept: list[int] = []  # of them, by the axis
        while found:
            for place in found:
                is_in_pool[place] = 0
                tokens -= all_tokens[place]
                patches -= all_patches[place]
                left -= 1
            kept += found
            # The oldest, while 2.5 mean samples would fit; then the best.
            if 2 * left * tokens >= 5 * (more_tokens + tokens) and 2 * left * patches >= 5 * (more_patches + patches):
                while left and not is_in_pool[oldest]:
                    oldest += 1
                if left and all_tokens[oldest] <= tokens and all_patches[oldest] <= patches:
                    found = (oldest,)
                    continue
            axis.remove(kept)
            placed += kept
            kept = []
            found = axis.best(patches, tokens) if self._scarce else axis.best(tokens, patches)
        self._oldest, self.num_pool = oldest, left
        self._tokens_in_pool, self._patches_in_pool = more_tokens + tokens, more_patches + patches
        return placed

    def _choose_axis(self) -> _Axis:
        """The pool by the budget of which it needs more packs."""
        scarce = int(self._patches_in_pool * self._capacity[0] > self._tokens_in_pool * self._capacity[1])
        if scarce != self._scarce:
            self._keep_by(scarce)
        return self._axes[scarce]

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
