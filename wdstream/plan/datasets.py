"""The datasets of a plan, bound to family, tiling and settings, and the numbers of samples over all of them.

Sample numbers count the rows of the first dataset, then of the second, and so on; part p of a page that is split has
the page's number plus p times the samples of the plan (split_pages.py).
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from wdstream.errors import ConfigError, PlanError, StateError
from wdstream.plan.filter import OWN_NAMES, Where
from wdstream.plan.held_out import side_digest
from wdstream.plan.metadata_columns import (
    check_names,
    check_split,
    names_of,
    own_expressions,
    rows_taken,
    sample_columns,
    stored_name,
    values_of,
)
from wdstream.plan.order import Order, by_weight, flatten
from wdstream.plan.packer import Item
from wdstream.plan.protocols import Dataset, DatasetColumns, LengthModel, Mix, TileModel, check_members, columns_by_row
from wdstream.plan.sample_lengths import (
    FULL_SCALE,
    LengthEstimator,
    LengthLimits,
    Reject,
    SampleLengths,
    SampleSizes,
)
from wdstream.plan.settings import PlanSettings
from wdstream.plan.split_pages import PagePart, SplitRows, Splitter
from wdstream.plan.state import Cursor, Fingerprints, StreamState
from wdstream.records import Ints

PLAN_VERSION = 2
"""Raised whenever the same inputs would give another plan; a saved state of another version is refused."""

MAX_SAMPLES = 1 << 30
"""Samples times epochs of a dataset; beyond, keys of a mixture would not fit 64 bits."""


class PlannedDataset:
    """One dataset of a plan: its order, the lengths of its rows, and its share of the stream.

    Attributes:
        dataset: its index, name, weight or epochs.
        order: in which its rows come.
        offset: sample number of its first row.
        stride: samples of the whole plan.
        weight: integer share of the stream.
        epochs: passes over it in one pass over the mixture; None for a dataset with a weight, which never ends.

    Raises:
        ConfigError: pages are to be split, and the index counts no paragraphs.
        PlanError: it is empty, or too large.
        ShardIndexError: it lacks the family's token column.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: PlanSettings,
        *,
        tokenizer: str,
        estimator: LengthEstimator,
        offset: int,
        stride: int,
    ) -> None:
        columns, size = dataset.columns, len(dataset.columns)
        if size == 0:
            raise PlanError(f"dataset {dataset.name!r} has no samples: leave it out")
        if size * dataset.epochs > MAX_SAMPLES:
            raise PlanError(f"dataset {dataset.name!r}: {size} samples x {dataset.epochs} epochs exceed {MAX_SAMPLES}")
        self.dataset = dataset
        self.offset, self.stride = offset, stride
        self.order = Order(
            np.asarray(columns.shard_starts, dtype=np.int64),
            size,
            seed=settings.seed,
            shuffle_shards=settings.shuffle_shards,
        )
        self.weight = size * dataset.epochs if dataset.weight is None else int(dataset.weight)
        self.epochs = dataset.epochs if dataset.weight is None else None
        self.settings = settings
        self._estimator = estimator
        self._columns = columns_by_row(columns)
        self._text_tokens = self._columns.tokens(tokenizer)
        self._supervised = self._columns.supervised(tokenizer)
        self._splitter = Splitter(dataset, tokenizer, estimator.limits) if settings.overlength == "split" else None

    def measure(self, rows: Ints, *, epoch: int | None = None) -> tuple[SampleLengths, SplitRows | None]:
        """Lengths of the samples in rows (n,), and, where pages among them are split, of all whole rows and parts.

        Args:
            rows: row numbers of the dataset.
            epoch: filters of this epoch apply; None applies none.

        Raises:
            ConfigError: a filter compares values of different kinds.
        """
        taken = None if epoch is None else rows_taken(self.dataset, rows)
        if taken is None:
            lengths = self._measure(rows, epoch)
        else:
            others = Reject.NOT_HELD_OUT if self.dataset.split == "held_out" else Reject.HELD_OUT
            lengths = self._measure(rows[taken], epoch).spread(taken, others)
        return lengths, None if self._splitter is None else self._splitter.split(rows, lengths)

    def _measure(self, rows: Ints, epoch: int | None) -> SampleLengths:
        """Lengths of whole samples, by the filters of an epoch, if any."""
        sizes = self._sizes(rows)
        lengths = self._estimator.estimate(sizes)
        own = own_expressions([self.dataset])
        for expression in () if epoch is None else (*self.settings.where_of(epoch), *own):
            where = Where(expression)
            columns = sample_columns(self.dataset, rows, sizes, lengths)
            columns |= values_of(self._columns, where.names - OWN_NAMES, rows)
            chosen = where.select(columns, len(rows))
            lengths.reject[~chosen] = Reject.FILTERED
        return lengths

    def values(self, rows: Ints, lengths: SampleLengths, split: SplitRows | None) -> Ints:
        """The accepted samples of rows that were measured, part by part where one is split: int64 (6, n), as an Item.

        `lengths` are those of the rows, or of `split` where pages are split.
        """
        samples = rows + self.offset
        if split is not None:
            samples = samples[split.rows] + split.parts * self.stride
        columns = (samples, lengths.tokens, lengths.patches, lengths.supervised, lengths.vision_cost, lengths.scale)
        is_accepted = lengths.reject == Reject.ACCEPTED
        return np.stack(columns if is_accepted.all() else [column[is_accepted] for column in columns])

    def part(self, row: int, number: int) -> PagePart | None:
        """Part `number`, from 1, of a row; None where it has no such part."""
        if self._splitter is None:
            return None
        rows = np.array([row])
        return self._splitter.part(row, self._estimator.estimate(self._sizes(rows)), number)

    def _sizes(self, rows: Ints) -> SampleSizes:
        columns = self._columns
        counts = np.asarray(columns.num_images[rows], dtype=np.int64)
        first = np.asarray(columns.image_start[rows], dtype=np.int64)
        if len(rows) and (counts == 1).all():
            images = first
        else:  # the images of each row, counted up from its first one
            images = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
        starts_with_text, supervised = columns.starts_with_text, self._supervised
        return SampleSizes(
            text_tokens=np.asarray(self._text_tokens[rows], dtype=np.int64),
            num_images=counts,
            widths=np.asarray(columns.image_width[images], dtype=np.int64),
            heights=np.asarray(columns.image_height[images], dtype=np.int64),
            supervised_text=None if supervised is None else np.asarray(supervised[rows], dtype=np.int64),
            starts_with_text=None if starts_with_text is None else np.asarray(starts_with_text[rows], dtype=np.bool_),
        )


class Mixture:
    """All datasets of a plan.

    Attributes:
        planned: each of them.
        is_endless: whether they have weights, so that the stream has no end.
        offsets: int64 (datasets + 1,), sample numbers at which each begins.
        num_samples: of all of them.
        fingerprints: of all that decides the plan.

    Raises:
        ConfigError: datasets that cannot be mixed, settings that contradict the mixture, or a filter names a column
            that no page has.
        PlanError: a dataset is empty, or too large.
        ShardIndexError: a dataset lacks the family's token column.
    """

    def __init__(
        self,
        datasets: Sequence[DatasetColumns | Dataset | Mix],
        family: LengthModel,
        tiling: TileModel,
        settings: PlanSettings,
    ) -> None:
        entries = flatten([_named(entry, number) for number, entry in enumerate(datasets)])
        for entry in entries:
            expected = "opened shards, such as Shards.open(PATH), or another DatasetColumns"
            check_members(f"dataset {entry.name!r}", entry.columns, DatasetColumns, expected)
        check_names(settings.expressions, entries)
        for entry in entries:
            check_names(own_expressions([entry]), [entry])
            check_split(entry)
        self.settings = settings
        self.is_endless = by_weight(entries)
        if self.is_endless and settings.epochs is not None:
            raise ConfigError(
                "datasets given by weight have no common epoch: leave out epochs and give train.max_steps, or give "
                "the datasets epochs instead of weights"
            )
        self.offsets = np.concatenate(([0], np.cumsum([len(entry.columns) for entry in entries]))).astype(np.int64)
        self.num_samples = int(self.offsets[-1])
        limits = LengthLimits.of(settings, family, downscale=settings.overlength == "downscale")
        make = partial(
            PlannedDataset,
            settings=settings,
            tokenizer=family.text_fingerprint,
            estimator=LengthEstimator(family, tiling, limits),
            stride=self.num_samples,
        )
        offsets = self.offsets.tolist()
        self.planned = tuple(make(entry, offset=offset) for entry, offset in zip(entries, offsets, strict=False))
        self.fingerprints = self._fingerprints(family, tiling)

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        """The datasets as they were given, mixes flattened, in the order of sample numbers."""
        return tuple(planned.dataset for planned in self.planned)

    def locate(self, sample: int) -> tuple[int, int]:
        """(dataset, row) of a sample number; parts of a split page are where the page is.

        Raises:
            PlanError: there is no such sample.
        """
        is_known = sample < self.num_samples or self.settings.overlength == "split"
        if sample < 0 or not is_known:
            raise PlanError(f"sample {sample}: expected a number from 0 to {self.num_samples - 1}")
        page = sample % self.num_samples
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
        part = self._find_part(sample, sample // self.num_samples)
        if part is None:
            raise PlanError(f"sample {sample}: page {self.page_of(sample)} has no part {sample // self.num_samples}")
        return part

    def samples_of(self, page: int) -> list[int]:
        """The numbers under which a page comes: those of its parts, or its own where it is not split.

        Raises:
            PlanError: there is no such page.
        """
        first = self._find_part(page, 1)
        if first is None:
            return [page]
        return [page + number * self.num_samples for number in range(1, first.count + 1)]

    def _find_part(self, sample: int, number: int) -> PagePart | None:
        dataset, row = self.locate(sample)
        return self.planned[dataset].part(row, number)

    def pass_start(self, number: int) -> tuple[Cursor, ...]:
        """Cursors at the start of a pass over the mixture."""
        return tuple(Cursor(epoch=number * (planned.epochs or 0)) for planned in self.planned)

    def start_after(self, number: int, epoch: int) -> tuple[Cursor, ...]:
        """Cursors of a new start after a pass that was broken off; `epoch` is the last that any dataset had begun."""
        if self.is_endless:
            return tuple(Cursor(epoch=epoch + 1) for _ in self.planned)
        return self.pass_start(number + 1)

    def pool_values(self, samples: Sequence[int]) -> Ints:
        """Samples of a saved pool, in order, measured again: int64 (6, n), as an Item; without those that do not fit
        this plan any more.

        A page that went in whole and is split in this plan comes with all its parts.

        Raises:
            StateError: there is no such sample.
        """
        pages = np.unique(np.array(samples, dtype=np.int64) % self.num_samples)
        owners = np.searchsorted(self.offsets, pages, side="right") - 1
        of_page: dict[int, list[Item]] = {}
        for owner in np.unique(owners).tolist():
            planned, rows = self.planned[owner], pages[owners == owner] - self.offsets[owner]
            lengths, split = planned.measure(rows)  # no filter applies
            values = planned.values(rows, lengths if split is None else split.lengths, split)
            for item in map(Item._make, values.T.tolist()):
                of_page.setdefault(self.page_of(item.sample), []).append(item)
        chosen: list[Item] = []
        for sample in samples:
            items = of_page.get(self.page_of(sample), [])
            is_part = sample >= self.num_samples
            fitting = [item for item in items if item.sample == sample] if is_part else items
            if is_part and not fitting:
                raise StateError(
                    f"the saved pool holds sample {sample}, but the datasets have {self.num_samples} samples, and no "
                    "page of them such a part: it belongs to other data"
                )
            chosen += fitting
        return np.array(chosen, dtype=np.int64).reshape(-1, len(Item._fields)).T

    def holds_parts(self, state: StreamState) -> bool:
        """Whether a state of a plan of these datasets is in the middle of pages that are split."""
        return any(cursor.part for cursor in state.cursors) or any(sample >= self.num_samples for sample in state.pool)

    def check_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Refuse cursors that are not within these datasets.

        Raises:
            StateError: says which.
        """
        if len(cursors) != len(self.planned):
            raise StateError(f"the saved state has {len(cursors)} datasets, the plan {len(self.planned)}")
        for planned, cursor in zip(self.planned, cursors, strict=True):
            name, order = planned.dataset.name, planned.order
            is_block = cursor.block < order.num_blocks
            start, end = order.block_range(cursor.epoch, cursor.block) if is_block else (0, 0)
            if not is_block or 0 < cursor.position >= end - start:
                raise StateError(
                    f"dataset {name!r}: the saved state is at block {cursor.block}, sample {cursor.position}, "
                    "which this dataset does not have; it belongs to other data"
                )
            row = int(order.block(cursor.epoch, cursor.block)[cursor.position]) if cursor.part else 0
            if cursor.part and planned.part(row, cursor.part + 1) is None:
                raise StateError(
                    f"dataset {name!r}: the saved state is after part {cursor.part} of sample {cursor.position} "
                    f"of block {cursor.block}, which has no further part in this plan; it belongs to other data"
                )

    def rejects(self) -> Iterator[tuple[int, Reject]]:
        """(sample, reason) of every sample that the first epoch leaves out, by number."""
        for samples, lengths, _ in self._measured():
            for index in np.flatnonzero(lengths.reject).tolist():
                yield int(samples[index]), Reject(int(lengths.reject[index]))

    def exceptions(self) -> Iterator[tuple[int, str, bool]]:
        """(sample, why, whether it is packed) of every sample that the first epoch leaves out, shrinks or splits."""
        for samples, lengths, split in self._measured():
            for index in np.flatnonzero(lengths.reject).tolist():
                yield int(samples[index]), Reject(int(lengths.reject[index])).reason, False
            is_shrunk = (lengths.reject == Reject.ACCEPTED) & (lengths.scale < FULL_SCALE)
            for index in np.flatnonzero(is_shrunk).tolist():
                yield int(samples[index]), f"downscaled to {lengths.scale[index]}/{FULL_SCALE} of its sides", True
            if split is not None:
                counts = np.bincount(split.rows[split.parts > 0])
                for index in np.flatnonzero(counts).tolist():
                    yield int(samples[index]), f"split into {counts[index]} parts", True

    def _measured(self, slab: int = 65_536) -> Iterator[tuple[Ints, SampleLengths, SplitRows | None]]:
        """All samples of the first epoch by number, a slab at a time: numbers, lengths, and those that are split."""
        for planned in self.planned:
            size = len(planned.dataset.columns)
            for start in range(0, size, slab):
                rows = np.arange(start, min(start + slab, size), dtype=np.int64)
                yield planned.offset + rows, *planned.measure(rows, epoch=0)

    def _fingerprints(self, family: LengthModel, tiling: TileModel) -> Fingerprints:
        """Each at most a few dozen characters: they are part of every state."""
        settings = self.settings
        mix = [[planned.weight if planned.epochs is None else 0, planned.epochs or 0] for planned in self.planned]
        where: list[object] = [settings.where, [[phase.epochs, phase.where] for phase in settings.curriculum]]
        own = own_expressions(self.datasets)
        where += [[dataset.where for dataset in self.datasets]] if own else []  # states of before have none
        named = [stored_name(name) for name in names_of([*settings.expressions, *own])]
        return Fingerprints.of(
            columns=[
                planned.dataset.columns.content_digest(
                    family.text_fingerprint,
                    paragraphs=settings.overlength == "split",
                    metadata=named,
                )
                for planned in self.planned
            ],
            index=[planned.dataset.columns.fingerprint for planned in self.planned],
            order=[settings.seed, settings.shuffle_shards, mix, settings.weights_in, where],
            split=[side_digest(dataset.split, dataset.columns.held_out) for dataset in self.datasets],
            packing=settings.packing,
            version=str(PLAN_VERSION),
            family=family,
            tiling=tiling,
        )


def _named(entry: DatasetColumns | Dataset | Mix, number: int) -> Dataset | Mix:
    if isinstance(entry, Dataset | Mix):
        return entry
    return Dataset(columns=entry, name=f"data{number}")
