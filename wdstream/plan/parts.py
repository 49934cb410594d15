"""Parts: the data sets of a plan, bound to family, tiling and settings, with the numbering of samples over all of
them."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from wdstream.errors import ConfigError, PlanError, StateError
from wdstream.plan.columns import Dataset, DatasetColumns, Mix
from wdstream.plan.image_costs import ImageCostTable
from wdstream.plan.lengths import Ints, LengthModel, TileModel
from wdstream.plan.measure import Reject, Ruler
from wdstream.plan.mixture import by_weight, flatten
from wdstream.plan.order import Order
from wdstream.plan.packer import Item
from wdstream.plan.settings import PlanSettings
from wdstream.plan.state import Cursor
from wdstream.plan.stream import Part, items_of

PLAN_VERSION = 1
"""Raised whenever the same inputs would give another plan; a saved state of another version is refused."""

MAX_SAMPLES = 1 << 30
"""Samples times epochs of a data set; beyond, keys of a mixture would not fit 64 bits."""


class Parts:
    """The data sets of a plan; sample numbers count the rows of the first, then of the second, and so on.

    Raises:
        ConfigError: data sets that cannot be mixed, or settings that contradict the mixture.
        PlanError: a data set is empty, or too large.
        ShardIndexError: a data set lacks the family's token column.
    """

    def __init__(
        self,
        datasets: Sequence[DatasetColumns | Dataset | Mix],
        family: LengthModel,
        tiling: TileModel,
        settings: PlanSettings,
    ) -> None:
        self.datasets = flatten([_named(entry, number) for number, entry in enumerate(datasets)])
        self.settings = settings
        self.is_endless = by_weight(self.datasets)
        if self.is_endless and settings.epochs is not None:
            raise ConfigError(
                "data sets given by weight have no common epoch: leave out epochs and give train.max_steps, or give "
                "the data sets epochs instead of weights"
            )
        sizes = [len(dataset.columns) for dataset in self.datasets]
        self.offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self.num_samples = int(self.offsets[-1])
        table = ImageCostTable(family, tiling)
        self.rulers = [Ruler(dataset, family, table, settings) for dataset in self.datasets]
        self.parts = tuple(self._part(number) for number in range(len(self.datasets)))
        self.fingerprints = self._fingerprints(family, tiling)

    def locate(self, sample: int) -> tuple[int, int]:
        """(data set, row) of a sample number.

        Raises:
            PlanError: there is no such sample.
        """
        if not 0 <= sample < self.num_samples:
            raise PlanError(f"sample {sample}: expected a number from 0 to {self.num_samples - 1}")
        number = int(np.searchsorted(self.offsets, sample, side="right")) - 1
        return number, sample - int(self.offsets[number])

    def round_start(self, round_number: int) -> tuple[Cursor, ...]:
        """Cursors at the start of a round."""
        return tuple(Cursor(epoch=round_number * (part.epochs or 0)) for part in self.parts)

    def start_after(self, round_number: int, epoch: int) -> tuple[Cursor, ...]:
        """Cursors of a new start after a round that was broken off; `epoch` is the last that any data set had begun."""
        if self.is_endless:
            return tuple(Cursor(epoch=epoch + 1) for _ in self.parts)
        return self.round_start(round_number + 1)

    def pool_items(self, samples: Sequence[int]) -> list[Item]:
        """Samples of a saved pool, in order, measured anew; those that do not fit this plan any more are left out.

        Raises:
            StateError: there is no such sample.
        """
        if samples and not 0 <= min(samples) <= max(samples) < self.num_samples:
            raise StateError(
                f"the saved pool holds sample {max(samples)}, but the data sets have {self.num_samples} samples: it "
                "belongs to other data"
            )
        numbers = np.array(samples, dtype=np.int64)
        owners = np.searchsorted(self.offsets, numbers, side="right") - 1
        found: dict[int, Item] = {}
        for owner in np.unique(owners).tolist():
            of_owner = numbers[owners == owner]
            lengths = self.rulers[owner].measure(of_owner - self.offsets[owner])
            found |= {item.sample: item for item in items_of(of_owner, lengths, lengths.reject == Reject.ACCEPTED)}
        return [found[sample] for sample in samples if sample in found]

    def check_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Refuse cursors that do not lie in these data sets.

        Raises:
            StateError: says which.
        """
        if len(cursors) != len(self.parts):
            raise StateError(f"the saved state has {len(cursors)} data sets, the plan {len(self.parts)}")
        for dataset, part, at in zip(self.datasets, self.parts, cursors, strict=True):
            is_block = at.block < part.order.num_blocks
            if not is_block or 0 < at.position >= part.order.block_size(at.epoch, at.block):
                raise StateError(
                    f"data set {dataset.name!r}: the saved state stands at block {at.block}, sample {at.position}, "
                    "which this data set does not have; it belongs to other data"
                )

    def rejects(self, *, epoch: int = 0, slab: int = 65_536) -> Iterator[tuple[int, Reject]]:
        """(sample, reason) of every sample that an epoch leaves out, by number."""
        for ruler, offset, end in zip(self.rulers, self.offsets, self.offsets[1:], strict=False):
            for start in range(0, int(end - offset), slab):
                rows = np.arange(start, min(start + slab, int(end - offset)), dtype=np.int64)
                codes = ruler.measure(rows, epoch=epoch).reject
                for place in np.flatnonzero(codes).tolist():
                    yield int(offset + rows[place]), Reject(int(codes[place]))

    def _part(self, number: int) -> Part:
        dataset, settings = self.datasets[number], self.settings
        size = len(dataset.columns)
        if size == 0:
            raise PlanError(f"data set {dataset.name!r} has no samples: leave it out")
        if size * dataset.epochs > MAX_SAMPLES:
            raise PlanError(f"data set {dataset.name!r}: {size} samples x {dataset.epochs} epochs exceed {MAX_SAMPLES}")
        starts: Ints = np.asarray(dataset.columns.shard_starts, dtype=np.int64)
        is_weighted = dataset.weight is not None
        return Part(
            order=Order(starts, size, seed=settings.seed, shuffle_shards=settings.shuffle_shards),
            ruler=self.rulers[number],
            offset=int(self.offsets[number]),
            weight=int(dataset.weight) if dataset.weight is not None else size * dataset.epochs,
            unit=settings.weights_in,
            epochs=None if is_weighted else dataset.epochs,
        )

    def _fingerprints(self, family: LengthModel, tiling: TileModel) -> dict[str, str]:
        """Each at most a few dozen characters: they are part of every state."""
        settings = self.settings
        mix = [[part.weight if part.epochs is None else 0, part.epochs or 0] for part in self.parts]
        where = [settings.where, [[phase.epochs, phase.where] for phase in settings.phases]]
        order = [settings.seed, settings.shuffle_shards, mix, settings.weights_in, where]
        names = ("sequence_length", "max_patches", "global_batch_size", "pool", "max_pixels", "overlength")
        return {
            "index": _hash([dataset.columns.fingerprint for dataset in self.datasets]),
            "tokenizer": family.text_fingerprint[:16],
            "tiling": tiling.fingerprint[:16],
            "family": family.fingerprint[:16],
            "order": _hash(order),
            "packing": _hash([getattr(settings, name) for name in names]),
            "plan": str(PLAN_VERSION),
        }


def _named(entry: DatasetColumns | Dataset | Mix, number: int) -> Dataset | Mix:
    if isinstance(entry, Dataset | Mix):
        return entry
    return Dataset(columns=entry, name=f"data{number}")


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
