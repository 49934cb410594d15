"""Packers of other loaders, re-implemented from their descriptions, to compare with the plan's. Used by bench_plan.py
only.

Each takes samples as (tokens, patches) in order of arrival and gives packs as lists of places, in the order in which a
loader would emit them. Those that look at a window of samples sort it; the plan's pool never does.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence

Size = tuple[int, int]
Packs = Iterator[list[int]]
Packer = Callable[[Sequence[Size], Size], Packs]


def next_fit(sizes: Sequence[Size], capacity: Size) -> Packs:
    """One open pack; what does not fit closes it. (Plain concatenation of whole samples.)"""
    pack: list[int] = []
    tokens, patches = capacity
    for place, (size, cost) in enumerate(sizes):
        if size > tokens or cost > patches:
            yield pack
            pack, (tokens, patches) = [], capacity
        pack.append(place)
        tokens, patches = tokens - size, patches - cost
    if pack:
        yield pack


def first_fit(window: int) -> Packer:
    """First pack with room, in order of arrival, within groups of `window` samples. (Axolotl's multipack.)"""

    def pack(sizes: Sequence[Size], capacity: Size) -> Packs:
        for places in _windows(sizes, window):
            packs: list[list[int]] = []
            rooms: list[Size] = []
            for place in places:
                _place(sizes[place], place, packs, rooms, capacity, range(len(packs)))
            yield from packs

    return pack


def best_fit_decreasing(window: int) -> Packer:
    """Longest first, each to the fullest pack with room, within windows. (TRL's bfd, ms-swift.)"""

    def pack(sizes: Sequence[Size], capacity: Size) -> Packs:
        for places in _windows(sizes, window):
            packs: list[list[int]] = []
            rooms: list[Size] = []
            by_room: list[tuple[int, int]] = []  # (tokens left, pack)
            for place in sorted(places, key=lambda place: -sizes[place][0]):
                start = bisect_left(by_room, (sizes[place][0], -1))
                found = _place(sizes[place], place, packs, rooms, capacity, (entry[1] for entry in by_room[start:]))
                old = rooms[found][0] + sizes[place][0]
                if old != capacity[0] or len(packs[found]) > 1:
                    del by_room[bisect_left(by_room, (old, found))]
                insort(by_room, (rooms[found][0], found))
            yield from packs

    return pack


def greedy_knapsack(window: int) -> Packer:
    """Pack after pack, each filled with the longest sample that still fits. (LLaMA-Factory, Megatron-LM's example.)"""

    def pack(sizes: Sequence[Size], capacity: Size) -> Packs:
        for places in _windows(sizes, window):
            left = sorted((sizes[place][0], place) for place in places)
            while left:
                packed: list[int] = []
                tokens, patches = capacity
                at = len(left)
                while (at := bisect_left(left, (tokens + 1, -1), 0, at) - 1) >= 0:
                    size, place = left[at]
                    if sizes[place][1] <= patches:
                        packed.append(place)
                        tokens, patches = tokens - size, patches - sizes[place][1]
                        del left[at]
                yield packed

    return pack


def balanced_greedy(window: int) -> Packer:
    """As many packs as the sums need, longest sample first to the emptiest; what fits nowhere opens another.
    (nanoVLM.)"""

    def pack(sizes: Sequence[Size], capacity: Size) -> Packs:
        for places in _windows(sizes, window):
            sums = [sum(sizes[place][axis] for place in places) for axis in (0, 1)]
            count = max(-(-total // limit) for total, limit in zip(sums, capacity, strict=True))
            packs: list[list[int]] = [[] for _ in range(count)]
            rooms = [capacity] * count
            for place in sorted(places, key=lambda place: -sizes[place][0]):
                by_room = sorted(range(len(packs)), key=lambda number: -rooms[number][0])
                _place(sizes[place], place, packs, rooms, capacity, by_room)
            yield from (packed for packed in packs if packed)

    return pack


BASELINES: dict[str, Packer] = {
    "next-fit": next_fit,
    "first-fit, groups of 4,096": first_fit(4096),
    "best-fit decreasing, 1,024": best_fit_decreasing(1024),
    "best-fit decreasing, 4,096": best_fit_decreasing(4096),
    "greedy knapsack, 1,024": greedy_knapsack(1024),
    "balanced greedy, 1,024": balanced_greedy(1024),
}


def _windows(sizes: Sequence[Size], window: int) -> Iterator[range]:
    for start in range(0, len(sizes), window):
        yield range(start, min(start + window, len(sizes)))


def _place(
    size: Size,
    place: int,
    packs: list[list[int]],
    rooms: list[Size],
    capacity: Size,
    candidates: Iterator[int] | Sequence[int],
) -> int:
    """Put a sample into the first candidate pack with room under both budgets, or into a new one; which it was."""
    tokens, patches = size
    for number in candidates:
        if tokens <= rooms[number][0] and patches <= rooms[number][1]:
            break
    else:
        number = len(packs)
        packs.append([])
        rooms.append(capacity)
    packs[number].append(place)
    rooms[number] = rooms[number][0] - tokens, rooms[number][1] - patches
    return number
