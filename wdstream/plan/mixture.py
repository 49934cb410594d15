"""Several data sets as one stream: nested mixes flattened, weights made integers, and whose sample comes next.

Smooth weighted round robin, in integers: sample k of a data set of weight w that has given `count` units before it
(pages, or tokens) and is itself `size` units has the key (2 * count + size) / w, and samples come in order of their
keys, ties by data set. For pages this is Webster's method of apportionment (Sainte-Laguë): at no time is a data set
more than about one page away from its share. A key depends only on its own data set, so keys of thousands of samples
are computed at once and the merge is a sort. All that must be remembered is one count a data set.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import gcd, lcm

from wdstream.errors import ConfigError
from wdstream.plan.protocols import Dataset, Mix
from wdstream.records import Ints

MAX_WEIGHT = 1 << 20
"""Integer weights add up to at most this, which keeps keys within 64 bits."""


def flatten(datasets: Sequence[Dataset | Mix]) -> tuple[Dataset, ...]:
    """Data sets of nested mixes, names joined by '/', each with its epochs or with an integer weight.

    Raises:
        ConfigError: no data set, some with weight and some without, a weight or epochs not above 0, weights too uneven,
            or two data sets of one name.
    """
    flat = [leaf for entry in datasets for leaf in _leaves(entry, "")]
    if not flat:
        raise ConfigError("no data set to plan: give at least one")
    names = [leaf.name for leaf in flat]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two data sets are named {', '.join(map(repr, twice))}: give each its own `name:`")
    if all(leaf.weight is None for leaf in flat):
        return tuple(flat)
    return _with_integer_weights(flat)


def by_weight(datasets: Sequence[Dataset]) -> bool:
    """Whether flattened data sets are given by weight: an endless stream, without rounds."""
    return datasets[0].weight is not None


def mix_keys(counts_before: Ints, sizes: Ints, weight: int, shift: int) -> Ints:
    """Keys of samples, int64 of the same shape; `shift` bits after the point.

    Strictly ascending while weight <= 2**shift and every size is at least 1.
    """
    return ((2 * counts_before + sizes) << shift) // weight


def _leaves(entry: Dataset | Mix, prefix: str) -> list[Dataset]:
    name = prefix + entry.name
    if entry.epochs < 1:
        raise ConfigError(f"data set {name!r}: epochs {entry.epochs}: expected an integer of at least 1")
    if entry.weight is not None and not _exact(entry.weight) > 0:
        raise ConfigError(f"data set {name!r}: weight {entry.weight}: expected a number above 0")
    if entry.weight is not None and entry.epochs != 1:
        raise ConfigError(f"data set {name!r} has both weight and epochs: keep one")
    if isinstance(entry, Dataset):
        return [replace(entry, name=name)]
    inner = [leaf for child in entry.datasets for leaf in _leaves(child, name + "/")]
    weighted = [leaf for leaf in inner if leaf.weight is not None]
    if weighted and len(weighted) < len(inner):
        raise _uneven(inner)
    if not weighted and entry.weight is None:
        return [replace(leaf, epochs=leaf.epochs * entry.epochs) for leaf in inner]
    if not weighted and len(inner) > 1:
        raise ConfigError(f"mix {name!r} has a weight, but its data sets have none to divide it by: give each a weight")
    if weighted and entry.weight is None:
        raise ConfigError(f"mix {name!r} has no weight, but its data sets have: give it one")
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
    return ConfigError(f"data sets {without} have no weight and others have: give all a weight, or none")


def _exact(weight: int | float | Fraction) -> Fraction:
    """The number as written: 0.1 is 1/10, not the nearest binary fraction."""
    return weight if isinstance(weight, Fraction) else Fraction(str(weight))
