"""In which order samples come: within a dataset by hashes, from the seed alone; among datasets by their shares.

    epoch ─► shards sorted by hash ─► blocks of `shuffle_shards` shards ─► samples of a block sorted by hash
                                                                           of all datasets, sorted by `mix_keys`

Hashes are splitmix64's finalizer (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators";
constants of Vigna's public domain version): a bijection of 64 bits, so different numbers never collide, and unlike the
streams of a library's random generators it will be the same in ten years. A block is what is shuffled together, so it
bounds how far reads are scattered over shards.

Datasets are mixed by smooth weighted round robin, in integers: sample k of a dataset of weight w that has given `count`
units before it (pages, or tokens) and is itself `size` units has the key (2 * count + size) / w, and samples come in
order of their keys, ties by dataset. For pages this is Webster's method of apportionment (Sainte-Laguë): at no time is
a dataset more than about one page away from its share. A key depends only on its own dataset, so keys of thousands of
samples are computed at once and the merge is a sort. All that must be remembered is one count per dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError
from wdstream.plan.protocols import Dataset, Mix
from wdstream.records import Ints

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix integers of 64 bits into others; same shape, of at least one dimension."""
    z = values + np.uint64(_GAMMA)  # unsigned arrays wrap around, which is what is wanted
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))


def combine(*values: int) -> int:
    """One 64-bit key from several integers; their order matters."""
    key = np.zeros(1, dtype=np.uint64)
    for value in values:
        key = splitmix64(key ^ splitmix64(np.array([value & _MASK], dtype=np.uint64)))
    return int(key[0])


_SHARDS, _SAMPLES = 1, 2  # two uses of the same seed and epoch must not share a key


@dataclass(frozen=True, slots=True, eq=False)
class EpochShards:
    """The shards of one epoch: `shards` (shards,) in order; `block_starts` (blocks + 1,) in samples of the epoch."""

    shards: Ints
    block_starts: Ints


class Order:
    """The order of one dataset of n samples in shards of consecutive rows.

    Attributes:
        num_samples: n.
        num_blocks: blocks of an epoch.
    """

    def __init__(self, shard_starts: Ints, num_samples: int, *, seed: int, shuffle_shards: int) -> None:
        """`shard_starts` (shards,) holds the first row of each shard, ascending; the last shard ends at num_samples."""
        self.num_samples = num_samples
        self._starts = np.asarray(shard_starts, dtype=np.int64)
        self._sizes = np.diff(self._starts, append=num_samples)
        self._seed = seed
        self._group = shuffle_shards
        self.num_blocks = -(-len(self._starts) // shuffle_shards)
        self._epoch = lru_cache(maxsize=4)(self._sort_shards)

    def block(self, epoch: int, block: int) -> Ints:
        """Rows of a block in order, int64 (samples of the block,)."""
        shards = self._epoch(epoch).shards[block * self._group : (block + 1) * self._group]
        sizes = self._sizes[shards]
        ends = np.cumsum(sizes)
        rows = np.repeat(self._starts[shards] - ends + sizes, sizes) + np.arange(int(sizes.sum()), dtype=np.int64)
        key = np.uint64(combine(self._seed, epoch, _SAMPLES))
        return rows[np.argsort(splitmix64(rows.astype(np.uint64) ^ key))]  # hashes differ: no tie to break

    def block_range(self, epoch: int, block: int) -> tuple[int, int]:
        """Samples of the epoch before this block, and before the next one."""
        start, end = self._epoch(epoch).block_starts[block : block + 2].tolist()
        return start, end

    def _sort_shards(self, epoch: int) -> EpochShards:
        key = np.uint64(combine(self._seed, epoch, _SHARDS))
        shards = np.argsort(splitmix64(np.arange(len(self._starts), dtype=np.uint64) ^ key)).astype(np.int64)
        ends = np.concatenate(([0], np.cumsum(self._sizes[shards])))
        return EpochShards(shards, np.concatenate((ends[:: self._group][: self.num_blocks], ends[-1:])))


MAX_WEIGHT = 1 << 20
"""Integer weights add up to at most this, which keeps keys within 64 bits."""


def flatten(datasets: Sequence[Dataset | Mix]) -> tuple[Dataset, ...]:
    """Datasets of nested mixes, names joined by '/', each with its epochs or with an integer weight.

    Raises:
        ConfigError: no dataset, some with weight and some without, a weight or epochs not above 0, weights too uneven,
            or two datasets of one name.
    """
    flat = [leaf for entry in datasets for leaf in _leaves(entry, "")]
    if not flat:
        raise ConfigError("no dataset to plan: give at least one")
    names = [leaf.name for leaf in flat]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two datasets are named {', '.join(map(repr, twice))}: give each its own `name:`")
    if all(leaf.weight is None for leaf in flat):
        return tuple(flat)
    return _with_integer_weights(flat)


def by_weight(datasets: Sequence[Dataset]) -> bool:
    """Whether flattened datasets have weights: an endless stream, without passes."""
    return datasets[0].weight is not None


def mix_keys(counts_before: Ints, sizes: Ints, weight: int, shift: int) -> Ints:
    """Keys of samples, int64 of the same shape; `shift` bits after the point.

    Strictly ascending while weight <= 2**shift and every size is at least 1.
    """
    return ((2 * counts_before + sizes) << shift) // weight


def _leaves(entry: Dataset | Mix, prefix: str) -> list[Dataset]:
    name = prefix + entry.name
    if entry.epochs < 1:
        raise ConfigError(f"dataset {name!r}: epochs {entry.epochs}: expected an integer of at least 1")
    if entry.weight is not None and not _exact(entry.weight) > 0:
        raise ConfigError(f"dataset {name!r}: weight {entry.weight}: expected a number above 0")
    if entry.weight is not None and entry.epochs != 1:
        raise ConfigError(f"dataset {name!r} has both weight and epochs: keep one")
    if isinstance(entry, Dataset):
        return [replace(entry, name=name)]
    inner = [leaf for child in entry.datasets for leaf in _leaves(child, name + "/")]
    weighted = [leaf for leaf in inner if leaf.weight is not None]
    if weighted and len(weighted) < len(inner):
        raise _uneven(inner)
    if not weighted and entry.weight is None:
        return [replace(leaf, epochs=leaf.epochs * entry.epochs) for leaf in inner]
    if not weighted and len(inner) > 1:
        raise ConfigError(f"mix {name!r} has a weight, but its datasets have none to divide it by: give each a weight")
    if weighted and entry.weight is None:
        raise ConfigError(f"mix {name!r} has no weight, but its datasets have: give it one")
    total = sum((_exact(leaf.weight or 1) for leaf in inner), Fraction())
    share = _exact(entry.weight or 1) / total
    return [replace(leaf, weight=_exact(leaf.weight or 1) * share) for leaf in inner]


def _with_integer_weights(flat: Sequence[Dataset]) -> tuple[Dataset, ...]:
    if any(leaf.weight is None for leaf in flat):
        raise _uneven(flat)
    exact = [_exact(leaf.weight or 1) for leaf in flat]
    scale = lcm(*(weight.denominator for weight in exact))
    weights = [int(weight * scale) for weight in exact]
    common = gcd(*weights)
    weights = [weight // common for weight in weights]
    if sum(weights) > MAX_WEIGHT:
        raise ConfigError(
            f"weights {', '.join(str(leaf.weight) for leaf in flat)} need the integers {weights}, which add up to more "
            f"than {MAX_WEIGHT}: round them to fewer digits"
        )
    return tuple(replace(leaf, weight=weight) for leaf, weight in zip(flat, weights, strict=True))


def _uneven(flat: Sequence[Dataset]) -> ConfigError:
    without = ", ".join(repr(leaf.name) for leaf in flat if leaf.weight is None)
    return ConfigError(f"datasets {without} have no weight and others have: give all a weight, or none")


def _exact(weight: int | float | Fraction) -> Fraction:
    """The number as written: 0.1 is 1/10, not the nearest binary fraction."""
    return weight if isinstance(weight, Fraction) else Fraction(str(weight))
