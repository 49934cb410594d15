"""Parts: the data sets of a plan, bound to family, tiling and settings, with the numbering of samples over all of
them."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np

from wdstream.errors import ConfigError, PlanError, StateError
from wdstream.plan.image_costs import ImageCostTable
from wdstream.plan.mixture import by_weight, flatten
from wdstream.plan.order import Order
from wdstream.plan.packer import Item
from wdstream.plan.protocols import Dataset, DatasetColumns, Ints, LengthModel, Mix, TileModel
from wdstream.plan.sample_lengths import FULL_SCALE, LengthEstimator, Reject, SampleLengths
from wdstream.plan.sample_stream import Part, items_of
from wdstream.plan.settings import PlanSettings
from wdstream.plan.split_pages import PagePart, SplitRows, Splitter
from wdstream.plan.state import Cursor, StreamState

PLAN_VERSION = 2
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
        self.rulers = [LengthEstimator(dataset, family, table, settings) for dataset in self.datasets]
        self.splitters = [self._splitter(number, family) for number in range(len(self.datasets))]
        self.parts = tuple(self._part(number) for number in range(len(self.datasets)))
        self.fingerprints = self._fingerprints(family, tiling)

    def locate(self, sample: int) -> tuple[int, int]:
        """(data set, row) of a sample number; parts of a split page are where the page is.

        Raises:
            PlanError: there is no such sample.
        """
        is_known = sample < self.num_samples or self.settings.overlength == "split"
        if sample < 0 or not is_known:
            raise PlanError(f"sample {sample}: expected a number from 0 to {self.num_samples - 1}")
        page = self.page_of(sample)
        number = int(np.searchsorted(self.offsets, page, side="right")) - 1
        return number, page - int(self.offsets[number])

    def page_of(self, sample: int) -> int:
        """The number of a sample's page: the sample's own, but for parts of split pages."""
        return sample % self.num_samples

    def part_of(self, sample: int) -> PagePart | None:
        """Which part of its page a sample is; None for a whole page.

        Raises:
            PlanError: there is no such sample.
        """
        if sample < self.num_samples:
            return None
        part = self._find_part(*self.locate(sample), sample // self.num_samples)
        if part is None:
            raise PlanError(f"sample {sample}: page {self.page_of(sample)} has no part {sample // self.num_samples}")
        return part

    def samples_of(self, page: int) -> list[int]:
        """The numbers under which a page comes: those of its parts, or its own where it is not split.

        Raises:
            PlanError: there is no such page.
        """
        first = self._find_part(*self.locate(page), 1)
        if first is None:
            return [page]
        return [page + number * self.num_samples for number in range(1, first.count + 1)]

    def _find_part(self, number: int, row: int, part: int) -> PagePart | None:
        """Part `part`, from 1, of a row of a data set; None where it has no such part."""
        splitter = self.splitters[number]
        if splitter is None:
            return None
        return splitter.part(row, self.rulers[number].measure(np.array([row])), part)

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

        A page that went in whole and is split in this plan comes with all its parts.

        Raises:
            StateError: there is no such sample.
        """
        pages = np.unique(np.array(samples, dtype=np.int64) % self.num_samples)
        owners = np.searchsorted(self.offsets, pages, side="right") - 1
        found: dict[int, list[Item]] = {}  # by page
        for owner in np.unique(owners).tolist():
            for item in self._items(owner, pages[owners == owner] - self.offsets[owner]):
                found.setdefault(self.page_of(item.sample), []).append(item)
        chosen: list[Item] = []
        for sample in samples:
            items = found.get(self.page_of(sample), [])
            is_part = sample >= self.num_samples
            fitting = [item for item in items if item.sample == sample] if is_part else items
            if is_part and not fitting:
                raise StateError(
                    f"the saved pool holds sample {sample}, but the data sets have {self.num_samples} samples, and no "
                    "page of them such a part: it belongs to other data"
                )
            chosen += fitting
        return chosen

    def _items(self, number: int, rows: Ints) -> list[Item]:
        """The samples of some rows of a data set, those of a page that is split part by part."""
        lengths = self.rulers[number].measure(rows)
        samples, splitter = rows + self.offsets[number], self.splitters[number]
        split = None if splitter is None else splitter.split(rows, lengths)
        if split is not None:
            lengths, samples = split.lengths, samples[split.places] + split.parts * self.num_samples
        return items_of(samples, lengths, lengths.reject == Reject.ACCEPTED)

    def holds_parts(self, state: StreamState) -> bool:
        """Whether a state of a plan of these data sets stands in the middle of pages that are split."""
        return any(at.part for at in state.cursors) or any(sample >= self.num_samples for sample in state.pool)

    def check_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Refuse cursors that do not lie in these data sets.

        Raises:
            StateError: says which.
        """
        if len(cursors) != len(self.parts):
            raise StateError(f"the saved state has {len(cursors)} data sets, the plan {len(self.parts)}")
        for number, (dataset, part, at) in enumerate(zip(self.datasets, self.parts, cursors, strict=True)):
            is_block = at.block < part.order.num_blocks
            if not is_block or 0 < at.position >= part.order.block_size(at.epoch, at.block):
                raise StateError(
                    f"data set {dataset.name!r}: the saved state stands at block {at.block}, sample {at.position}, "
                    "which this data set does not have; it belongs to other data"
                )
            row = int(part.order.block(at.epoch, at.block)[at.position]) if at.part else 0
            if at.part and self._find_part(number, row, at.part + 1) is None:
                raise StateError(
                    f"data set {dataset.name!r}: the saved state stands after part {at.part} of sample {at.position} "
                    f"of block {at.block}, which has no further part in this plan; it belongs to other data"
                )

    def rejects(self, *, epoch: int = 0) -> Iterator[tuple[int, Reject]]:
        """(sample, reason) of every sample that an epoch leaves out, by number."""
        for samples, lengths, _ in self._measured(epoch):
            for place in np.flatnonzero(lengths.reject).tolist():
                yield int(samples[place]), Reject(int(lengths.reject[place]))

    def exceptions(self, *, epoch: int = 0) -> Iterator[tuple[int, str, bool]]:
        """(sample, why, whether it is packed) of every sample that an epoch leaves out, or shrinks or splits to fit."""
        for samples, lengths, split in self._measured(epoch):
            for place in np.flatnonzero(lengths.reject).tolist():
                yield int(samples[place]), Reject(int(lengths.reject[place])).reason, False
            is_shrunk = (lengths.reject == Reject.ACCEPTED) & (lengths.scale < FULL_SCALE)
            for place in np.flatnonzero(is_shrunk).tolist():
                yield int(samples[place]), f"downscaled to {lengths.scale[place]}/{FULL_SCALE} of its sides", True
            if split is not None:
                counts = np.bincount(split.places[split.parts > 0])
                for place in np.flatnonzero(counts).tolist():
                    yield int(samples[place]), f"split into {counts[place]} parts", True

    def _measured(self, epoch: int, slab: int = 65_536) -> Iterator[tuple[Ints, SampleLengths, SplitRows | None]]:
        """All samples of an epoch by number, so many at a time: numbers, lengths, and those that are split."""
        for number, (ruler, splitter) in enumerate(zip(self.rulers, self.splitters, strict=True)):
            offset, end = self.offsets[number], self.offsets[number + 1]
            for start in range(0, int(end - offset), slab):
                rows = np.arange(start, min(start + slab, int(end - offset)), dtype=np.int64)
                lengths = ruler.measure(rows, epoch=epoch)
                split = None if splitter is None else splitter.split(rows, lengths)
                yield offset + rows, lengths, split

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
            splitter=self.splitters[number],
            stride=self.num_samples,
        )

    def _splitter(self, number: int, family: LengthModel) -> Splitter | None:
        if self.settings.overlength != "split":
            return None
        limits = {"max_tokens": self.rulers[number].max_tokens, "max_patches": self.settings.max_patches}
        return Splitter(self.datasets[number], family.text_fingerprint, **limits)

    def _fingerprints(self, family: LengthModel, tiling: TileModel) -> dict[str, str]:
        """Each at most a few dozen characters: they are part of every state."""
        settings = self.settings
        mix = [[part.weight if part.epochs is None else 0, part.epochs or 0] for part in self.parts]
        where = [settings.where, [[phase.epochs, phase.where] for phase in settings.curriculum]]
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
