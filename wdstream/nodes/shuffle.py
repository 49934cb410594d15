"""Shuffle: items in another order, the same one for the same seed on every machine."""

from typing import Generic

import numpy as np

from wdstream.nodes.mapper import BatchMap, In
from wdstream.nodes.node import Node, State
from wdstream.plan.order import combine, splitmix64


class Shuffle(BatchMap[In, In], Generic[In]):
    """Shuffle inside each run of `buffer` items, in another way each epoch.

    Keeps `buffer` items in memory; the state is a position, and a resume reads the run of items again.

    Args:
        source: any node.
        buffer: items shuffled together.
        seed: same seed, same order.
    """

    EPOCH_KEY = "epoch"

    def __init__(self, source: Node[In], *, buffer: int = 1024, seed: int = 0) -> None:
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

    def _shuffle(self, items: list[In]) -> list[In]:
        key = np.uint64(combine(self.seed, self._epoch, self.number))
        order = np.argsort(splitmix64(np.arange(len(items), dtype=np.uint64) ^ key))
        return [items[index] for index in order.tolist()]
