"""Shuffle: items in another order, the same one for the same seed on every machine."""

from typing import Generic, TypeVar

from wdstream.nodes.base import Group
from wdstream.nodes.node import Node, State

Item = TypeVar("Item")

_MASK = (1 << 64) - 1


class Shuffle(Group[Item, Item], Generic[Item]):
    """Shuffle inside each run of `buffer` items, in another way each epoch.

    Keeps `buffer` items in memory; the state is a position, and a resume reads the run of items again.

    Args:
        source: any node.
        buffer: items shuffled together.
        seed: same seed, same order.
    """

    EPOCH_KEY = "epoch"

    def __init__(self, source: Node[Item], *, buffer: int = 1024, seed: int = 0) -> None:
        super().__init__(source, self._shuffle, size=buffer)
        self.seed = seed
        self._epoch = -1

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of the next epoch."""
        super().reset(initial_state)
        self._epoch = self._epoch + 1 if initial_state is None else int(initial_state[self.EPOCH_KEY])

    def get_state(self) -> State:
        """The group's position, and the epoch."""
        return {**super().get_state(), self.EPOCH_KEY: self._epoch}

    def _shuffle(self, items: list[Item]) -> list[Item]:
        key = 0
        for part in (self.seed, self._epoch, self.number):
            key = mix(key ^ part)
        places = sorted(range(len(items)), key=lambda place: mix(key + place))
        return [items[place] for place in places]


def mix(value: int) -> int:
    """splitmix64 (Steele, Lea, Flood 2014): 64 bits in, 64 well-mixed bits out, one to one."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
