"""The packs of a step as arrays: what is counted over all is counted at once, and a pack is made when asked for.

A step of 4,096 packs has some 13,000 samples. As records of each pack they take longer to make, and to keep, than to
plan; a rank reads only its own packs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast, overload

import numpy as np

from wdstream.plan.packer import Item
from wdstream.records import Ints, PackPlan

_FIELDS = len(Item._fields)
_SAMPLE, _TOKENS, _PATCHES, _SUPERVISED, _VISION_COST, _SCALE = range(_FIELDS)
_IN_DIGEST = (_SAMPLE, _TOKENS, _PATCHES, _SCALE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepColumns:
    """P packs with n samples in total.

    Attributes:
        first: number of the first pack in the run.
        bounds: int64 (P + 1,): the samples of pack i are those from bounds[i] on and before bounds[i + 1].
        values: int64 (6, n), what an Item holds of each sample.
        language_costs: predicted cost of each pack in the language model, P Python integers: no sum of them overflows.
        vision_costs: in the vision tower, likewise.
    """

    first: int
    bounds: Ints
    values: Ints
    language_costs: Sequence[int]
    vision_costs: Sequence[int]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def samples(self) -> Ints:
        """int64 (n,), sample numbers."""
        return cast(Ints, self.values[_SAMPLE])

    @property
    def tokens(self) -> Ints:
        """int64 (n,), tokens of each sample."""
        return cast(Ints, self.values[_TOKENS])

    @property
    def patches(self) -> Ints:
        """int64 (n,), vision patches of each sample."""
        return cast(Ints, self.values[_PATCHES])

    @property
    def supervised(self) -> Ints:
        """int64 (n,), supervised tokens of each sample."""
        return cast(Ints, self.values[_SUPERVISED])

    def pack(self, index: int) -> PackPlan:
        """The record of one pack."""
        start, end = self.bounds[index : index + 2].tolist()
        samples, tokens, patches, supervised, _, scales = (tuple(row) for row in self.values[:, start:end].tolist())
        return PackPlan(
            number=self.first + index,
            samples=samples,
            tokens=tokens,
            patches=patches,
            supervised=supervised,
            scales=scales,
            language_cost=self.language_costs[index],
            vision_cost=self.vision_costs[index],
        )

    def digest(self, step: int) -> int:
        """64 bits over the step's number and its packs: see `deal.step_digest`, of which this is the fast form."""
        sizes = np.diff(self.bounds)
        starts = 1 + np.arange(len(sizes)) * 2 + self.bounds[:-1] * len(_IN_DIGEST)
        numbers = np.empty(1 + 2 * len(sizes) + self.values.shape[1] * len(_IN_DIGEST), dtype="<i8")
        numbers[0] = step
        numbers[starts] = self.first + np.arange(len(sizes))
        numbers[starts + 1] = sizes
        places = np.arange(self.values.shape[1]) + np.repeat(starts + 2 - self.bounds[:-1], sizes)
        for order, row in enumerate(_IN_DIGEST):
            numbers[places + np.repeat(sizes, sizes) * order] = self.values[row]
        return int.from_bytes(hashlib.blake2b(numbers.tobytes(), digest_size=8).digest(), "little")


def datasets_of_samples(samples: Ints, offsets: Ints) -> Ints:
    """int64 (n,): the number of each sample's dataset, by where each begins; parts of a page are where the page is."""
    return cast(Ints, np.searchsorted(offsets, samples % offsets[-1], side="right") - 1)


def columns_of_items(first: int, packs: Sequence[Sequence[Item]], language: tuple[int, int]) -> StepColumns:
    """The columns of packs as the packer makes them.

    Args:
        first: number of the first pack in the run.
        packs: their samples.
        language: cost of a token, and of a token squared, in the language model.
    """
    sizes = np.fromiter(map(len, packs), dtype=np.int64, count=len(packs))
    bounds = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
    flat = chain.from_iterable(chain.from_iterable(packs))
    values = np.fromiter(flat, dtype=np.int64, count=int(bounds[-1]) * _FIELDS).reshape(-1, _FIELDS).T.copy()
    tokens = values[_TOKENS]
    costs = _sums(tokens, bounds), _sums(tokens * tokens, bounds)
    return StepColumns(
        first=first,
        bounds=bounds,
        values=values,
        language_costs=[language[0] * linear + language[1] * square for linear, square in zip(*costs, strict=True)],
        vision_costs=_sums(values[_VISION_COST], bounds),
    )


def _sums(values: Ints, bounds: Ints) -> list[int]:
    """The sum of each pack's values; packs may be empty."""
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values)))[bounds]
    found: list[int] = np.diff(sums).tolist()  # where the running sum goes past 64 bits, differences are right
    return found


class PackPlans(Sequence[PackPlan]):
    """The packs of a step in plan order, each made when it is asked for; equal to any sequence of equal packs."""

    __slots__ = ("columns",)

    def __init__(self, columns: StepColumns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, index: int) -> PackPlan: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[PackPlan, ...]: ...

    def __getitem__(self, index: int | slice) -> PackPlan | tuple[PackPlan, ...]:
        if isinstance(index, slice):
            return tuple(map(self.columns.pack, range(*index.indices(len(self)))))
        return self.columns.pack(range(len(self))[index])

    def __iter__(self) -> Iterator[PackPlan]:
        return map(self.columns.pack, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))
