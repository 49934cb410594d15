"""In which order an epoch visits a data set: any block of it, at once, from the seed alone.

    epoch ─► shards sorted by hash ─► blocks of `shuffle_shards` shards ─► samples of a block sorted by hash

A block is what is shuffled together, so it bounds how far reads are scattered over shards.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wdstream.plan.hashing import combine, splitmix64_array
from wdstream.records import Ints

_SHARDS, _SAMPLES = 1, 2  # two uses of the same seed and epoch must not share a key


@dataclass(frozen=True, slots=True, eq=False)
class EpochShards:
    """The shards of one epoch: `shards` (shards,) in order; `block_starts` (blocks + 1,) in samples of the epoch."""

    shards: Ints
    block_starts: Ints


class Order:
    """The order of one data set of n samples in shards of consecutive rows."""

    def __init__(self, shard_starts: Ints, num_samples: int, *, seed: int, shuffle_shards: int) -> None:
        """`shard_starts` (shards,) holds the first row of each shard, ascending; the last shard ends at num_samples."""
        self.num_samples = num_samples
        self._starts = np.asarray(shard_starts, dtype=np.int64)
        self._sizes = np.diff(self._starts, append=num_samples)
        self._seed = seed
        self._group = shuffle_shards
        self._epoch = lru_cache(maxsize=4)(self._sort_shards)

    @property
    def num_blocks(self) -> int:
        """Blocks of an epoch."""
        return -(-len(self._starts) // self._group)

    def block(self, epoch: int, block: int) -> Ints:
        """Rows of a block in order, int64 (samples of the block,)."""
        shards = self._epoch(epoch).shards[block * self._group : (block + 1) * self._group]
        sizes = self._sizes[shards]
        ends = np.cumsum(sizes)
        rows = np.repeat(self._starts[shards] - ends + sizes, sizes) + np.arange(int(sizes.sum()), dtype=np.int64)
        key = np.uint64(combine(self._seed, epoch, _SAMPLES))
        return rows[np.argsort(splitmix64_array(rows.astype(np.uint64) ^ key))]  # hashes differ: no tie to break

    def block_start(self, epoch: int, block: int) -> int:
        """Samples of the epoch before this block."""
        return int(self._epoch(epoch).block_starts[block])

    def block_size(self, epoch: int, block: int) -> int:
        """Samples of this block."""
        return self.block_start(epoch, block + 1) - self.block_start(epoch, block)

    def _sort_shards(self, epoch: int) -> EpochShards:
        key = np.uint64(combine(self._seed, epoch, _SHARDS))
        shards = np.argsort(splitmix64_array(np.arange(len(self._starts), dtype=np.uint64) ^ key)).astype(np.int64)
        ends = np.concatenate(([0], np.cumsum(self._sizes[shards])))
        return EpochShards(shards, np.concatenate((ends[:: self._group][: self.num_blocks], ends[-1:])))
