"""Packs as arrays: what is counted over all is counted at once, and a record is made when it is asked for.

A step of 4,096 packs has some 13,000 samples. As records of each pack they take longer to make, and to keep, than to
plan; a rank reads only its own packs.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.packer import Item
from wdstream.records import Ints, PackPlan

NUM_FIELDS = len(Item._fields)
_SAMPLE, _TOKENS, _PATCHES, _SUPERVISED, _VISION_COST, _SCALE = range(NUM_FIELDS)
_IN_DIGEST = (_SAMPLE, _TOKENS, _PATCHES, _SCALE)

Costs = NDArray[Any]
"""Predicted costs: int64, or Python integers where a sum of them might not fit 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedSamples:
    """P packs of n samples in total.

    Attributes:
        values: int64 (6, n), what an Item holds of each sample.
        bounds: int64 (P + 1,): the samples of pack i are those from bounds[i] on and before bounds[i + 1].
    """

    values: Ints
    bounds: Ints

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def samples(self) -> Ints:
        """int64 (n,), sample numbers."""
        return cast(Ints, self.values[_SAMPLE])

    @classmethod
    def of(cls, parts: Sequence[Ints], sizes: Sequence[int]) -> "PackedSamples":
        """The packs of these sizes, their values, (6, ...) each, in parts."""
        bounds = np.zeros(len(sizes) + 1, dtype=np.int64)
        np.cumsum(sizes, out=bounds[1:])
        return cls(values=np.concatenate([np.empty((NUM_FIELDS, 0), dtype=np.int64), *parts], axis=1), bounds=bounds)


def join_packs(parts: Sequence[PackedSamples], *, num_empty: int = 0) -> PackedSamples:
    """All packs of several, and empty ones after them."""
    if len(parts) == 1 and not num_empty:
        return parts[0]
    sizes = [size for part in parts for size in np.diff(part.bounds).tolist()]
    return PackedSamples.of([part.values for part in parts], [*sizes, *(0 for _ in range(num_empty))])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepColumns:
    """The P packs of a step with n samples in total.

    Attributes:
        first: number of the first pack in the run.
        bounds, values: as of PackedSamples.
        language_costs: (P,), predicted cost of each pack in the language model.
        vision_costs: (P,), in the vision tower.
    """

    first: int
    bounds: Ints
    values: Ints
    language_costs: Costs
    vision_costs: Costs

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
            language_cost=int(self.language_costs[index]),
            vision_cost=int(self.vision_costs[index]),
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
        steps = np.repeat(sizes, sizes)
        for row in _IN_DIGEST:
            numbers[places] = self.values[row]
            places += steps
        return int.from_bytes(hashlib.blake2b(numbers.tobytes(), digest_size=8).digest(), "little")


def datasets_of_samples(samples: Ints, offsets: Ints) -> Ints:
    """int64 (n,): the number of each sample's dataset, by where each begins; parts of a page are where the page is."""
    return cast(Ints, np.searchsorted(offsets, samples % offsets[-1], side="right") - 1)


def columns_of_packs(first: int, packs: PackedSamples, language: tuple[int, int]) -> StepColumns:
    """The columns of packs, with what they cost.

    Args:
        first: number of the first pack in the run.
        packs: their samples.
        language: cost of a token, and of a token squared, in the language model.
    """
    tokens = packs.values[_TOKENS]
    sums = [_sums(tokens, packs.bounds), _sums(tokens * tokens, packs.bounds)]
    largest = sum(cost * int(each.max(initial=1)) for cost, each in zip(language, sums, strict=True))  # and the costs
    linear, square = (exact(each, largest) for each in sums)
    vision = _sums(packs.values[_VISION_COST], packs.bounds)
    return StepColumns(
        first=first,
        bounds=packs.bounds,
        values=packs.values,
        language_costs=language[0] * linear + language[1] * square,
        vision_costs=exact(vision, int(vision.max(initial=0))),
    )


def exact(values: NDArray[Any], largest: int) -> Costs:
    """Values as Python integers, where a sum of as many numbers up to `largest` might not fit 64 bits."""
    return values if largest * len(values) < 1 << 62 else values.astype(object)


def _sums(values: Ints, bounds: Ints) -> Ints:
    """(P,): the sum of each pack's values; packs may be empty."""
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    return np.diff(sums[bounds])  # where the running sum goes past 64 bits, differences are right


Made = TypeVar("Made")


class MadeWhenAsked(Sequence[Made]):
    """A sequence whose entries are made of arrays when they are asked for; equal to any of equal entries."""

    __slots__ = ()

    @abstractmethod
    def entry(self, index: int) -> Made:
        """The entry at this place, from 0."""

    @overload
    def __getitem__(self, index: int) -> Made: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Made, ...]: ...

    def __getitem__(self, index: int | slice) -> Made | tuple[Made, ...]:
        if isinstance(index, slice):
            return tuple(map(self.entry, range(*index.indices(len(self)))))
        return self.entry(range(len(self))[index])

    def __iter__(self) -> Iterator[Made]:
        return map(self.entry, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))


class PackPlans(MadeWhenAsked[PackPlan]):
    """The packs of a step in plan order."""

    __slots__ = ("columns",)

    def __init__(self, columns: StepColumns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    def entry(self, index: int) -> PackPlan:
        """The record of one pack."""
        return self.columns.pack(index)


class RankPacks(MadeWhenAsked[tuple[int, ...]]):
    """For each rank the places in a step of the packs that it computes, in order."""

    __slots__ = ("places",)

    def __init__(self, places: Ints) -> None:
        """`places`: int64 (ranks, places of each), NO_PACK in one that holds none."""
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def entry(self, index: int) -> tuple[int, ...]:
        """Those of one rank."""
        return tuple(self.places[index].tolist())
