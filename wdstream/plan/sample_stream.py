"""All datasets as one sequence of accepted samples, from any point of it, in slabs of some thousand.

    PlannedDataset ─► rows of a block in order ─► measured ─► DatasetStream ─┐
                                                                             ├─ merged by key ─► SampleStream.merge()
    PlannedDataset ─► rows of a block in order ─► measured ─► DatasetStream ─┘    (order.py)

A large block is sorted by a thread while the one before it is used, and lengths are computed a slab at a time, so that
no call takes long. What comes out does not depend on where slabs begin.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture, PlannedDataset
from wdstream.plan.order import mix_keys
from wdstream.plan.sample_lengths import Reject, counts_by_reason
from wdstream.plan.state import Cursor
from wdstream.records import Ints

FIRST_SLAB, SLAB, LARGEST_SLAB = 256, 4096, 16_384
"""Samples measured at a time, at first, and after some doublings: the first pack comes soon, and no call takes long.
Where a step has thousands of packs, about as many as it has: a call of numpy costs the same for few as for many."""

LARGE_BLOCK = 1 << 16
"""Samples; such a block takes 5 ms and more to sort, so a thread does it one ahead. Handing over takes as long."""

MAX_COUNT = 1 << 38
"""Counts (pages or tokens of a dataset, less those of the passes that all have completed) are kept about below this."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slab:
    """Accepted samples of one dataset, all from one block.

    Attributes:
        values: int64 (6, n), what an Item holds of each sample.
        epoch: pass over the dataset.
        block: block of that epoch.
        positions: int64, index of each sample within the block.
        keys: int64, the samples' order among all datasets, ascending.
        counts: int64, pages or tokens of the stream after each sample; empty without weights.
        parts_before_more: int64, after a part of a page of which more follow, its parts so far, else 0; None without
            such pages.
    """

    values: Ints
    epoch: int
    block: int
    positions: Ints
    keys: Ints
    counts: Ints
    parts_before_more: Ints | None = None


class DatasetStream:
    """One dataset from a cursor on, slab by slab.

    Attributes:
        planned: the dataset.
        rejects: int64 (codes of Reject,), samples measured so far.
        count: pages or tokens of the stream after the samples measured so far.
        slabs: what is still to come.
        slab: the one that is merged; None at first and at the end of the pass.
        cursor: the dataset's cursor before `slab`.
        merged_from, merged_to: samples of `slab` among those that were merged last.
    """

    def __init__(self, planned: PlannedDataset, start: Cursor, pass_number: int, sorter: ThreadPoolExecutor) -> None:
        self.planned = planned
        self.rejects = np.zeros(len(Reject), dtype=np.int64)
        self.count = start.count
        self._first_epoch = pass_number * (planned.epochs or 0)
        self.slabs = self._run(start, sorter)
        self.slab: Slab | None = None
        self.cursor = start
        self.merged_from = self.merged_to = 0

    def after(self, slab: Slab, index: int) -> Cursor:
        """The dataset's cursor after sample `index` of a slab."""
        part = 0 if slab.parts_before_more is None else int(slab.parts_before_more[index])
        position = int(slab.positions[index]) + (not part)
        count = int(slab.counts[index]) if len(slab.counts) else 0
        start, end = self.planned.order.block_range(slab.epoch, slab.block)
        if position < end - start:
            return Cursor(epoch=slab.epoch, block=slab.block, position=position, count=count, part=part)
        if slab.block + 1 < self.planned.order.num_blocks:
            return Cursor(epoch=slab.epoch, block=slab.block + 1, count=count)
        return Cursor(epoch=slab.epoch + 1, count=count)

    def _run(self, start: Cursor, sorter: ThreadPoolExecutor) -> Iterator[Slab]:
        """Slabs with at least one sample, to the end of the pass; large blocks are sorted one ahead.

        Raises:
            PlanError: a dataset with a weight has no acceptable sample in a whole epoch.
        """
        order, epochs, epoch, block = self.planned.order, self.planned.epochs, start.epoch, start.block
        end_epoch = inf if epochs is None else self._first_epoch + epochs
        position, part, size = start.position, start.part, FIRST_SLAB
        largest = min(max(4 * self.planned.settings.global_batch_size, SLAB), LARGEST_SLAB)
        empty_since = start.epoch
        ahead: Future[Ints] | None = None
        while epoch < end_epoch:
            if epochs is None and epoch > empty_since + 1:
                raise PlanError(
                    f"a dataset with a weight has no acceptable sample in epoch {epoch - 1} (rejects by reason: "
                    f"{counts_by_reason(self.rejects) or 'it is empty'}): leave it out, or change what rejects its "
                    "samples"
                )
            rows = order.block(epoch, block) if ahead is None else ahead.result()
            following = (epoch, block + 1) if block + 1 < order.num_blocks else (epoch + 1, 0)
            ahead = None
            if following[0] < end_epoch:
                first, end = order.block_range(*following)
                ahead = sorter.submit(order.block, *following) if end - first >= LARGE_BLOCK else None
            while position < len(rows):
                slab = self._slab(epoch, block, position, rows[position : position + size], part)
                position, part = position + size, 0
                size = min(2 * size, largest)
                if len(slab.positions):
                    empty_since = epoch
                    yield slab
            position = 0
            epoch, block = following

    def _slab(self, epoch: int, block: int, position: int, rows: Ints, part: int) -> Slab:
        """Samples of these rows, which begin at `position` of a block; `part` parts of the first came before."""
        planned = self.planned
        lengths, split = planned.measure(rows, epoch=epoch)
        self.rejects += np.bincount(lengths.reject, minlength=len(Reject))
        before_more = None
        if split is not None:
            split = split.after(part)
            lengths = split.lengths
        is_accepted = lengths.reject == Reject.ACCEPTED
        positions = np.flatnonzero(is_accepted) + position
        if split is not None:
            positions, before_more = split.rows[is_accepted] + position, split.parts_before_more[is_accepted]
        counts = sizes = np.ones_like(positions)
        if planned.epochs is not None:  # rejected samples count too, so that all datasets end together
            passed = (epoch - self._first_epoch) * planned.order.num_samples + planned.order.block_range(epoch, block)[
                0
            ]
            counts, keys = np.empty(0, dtype=np.int64), mix_keys(passed + positions, sizes, planned.weight, 30)
        else:
            if planned.settings.weights_in == "tokens":
                sizes = lengths.tokens[is_accepted]
            counts = self.count + np.cumsum(sizes)
            self.count = int(counts[-1]) if len(counts) else self.count
            keys = mix_keys(counts - sizes, sizes, planned.weight, 20)
        return Slab(
            values=planned.values(rows, lengths, split),
            epoch=epoch,
            block=block,
            positions=positions,
            keys=keys,
            counts=counts,
            parts_before_more=before_more,
        )


class SampleStream:
    """The datasets of a plan as one sequence, from their cursors to the end of the pass over the mixture."""

    def __init__(
        self, mixture: Mixture, cursors: Sequence[Cursor], pass_number: int, sorter: ThreadPoolExecutor
    ) -> None:
        """`sorter` sorts large blocks ahead."""
        self.streams = [
            DatasetStream(planned, cursor, pass_number, sorter)
            for planned, cursor in zip(mixture.planned, cursors, strict=True)
        ]
        self._owners = np.empty(0, dtype=np.int64)  # dataset of each sample that was merged last

    def cursors(self, count: int) -> tuple[Cursor, ...]:
        """Each dataset's cursor after the first `count` samples of those that were merged last.

        Counts are less the passes that all datasets have completed: keys then differ by a constant, and the order
        stays.
        """
        owners = self._owners[:count]
        cursors = []
        for number, stream in enumerate(self.streams):
            used = stream.merged_from + int(np.count_nonzero(owners == number))
            cursors.append(stream.after(stream.slab, used - 1) if stream.slab is not None and used else stream.cursor)
        weights = [stream.planned.weight for stream in self.streams]
        passes = min(cursor.count // weight for cursor, weight in zip(cursors, weights, strict=True))
        return tuple(
            replace(cursor, count=cursor.count - passes * weight)
            for cursor, weight in zip(cursors, weights, strict=True)
        )

    def merge(self) -> Ints | None:
        """The next samples, from the current slab of each dataset: int64 (6, n), or None at the end of the pass."""
        if max(stream.cursor.count for stream in self.streams) >= MAX_COUNT:
            self._rebase()
        live = []
        for number, stream in enumerate(self.streams):
            if stream.slab is None or stream.merged_to == len(stream.slab.keys):
                if stream.slab is not None:
                    stream.cursor = stream.after(stream.slab, stream.merged_to - 1)
                stream.slab, stream.merged_to = next(stream.slabs, None), 0
            stream.merged_from = stream.merged_to
            if stream.slab is not None:
                live.append((number, stream, stream.slab))
        self._owners = np.empty(0, dtype=np.int64)
        if not live:
            return None
        horizon = min(int(slab.keys[-1]) for _, _, slab in live)
        values, keys, owners = [], [], []
        for number, stream, slab in live:
            start = stream.merged_from
            stop = stream.merged_to = int(np.searchsorted(slab.keys, horizon, side="right"))
            values.append(slab.values[:, start:stop])
            keys.append(slab.keys[start:stop])
            owners.append(np.full(stop - start, number, dtype=np.int64))
        self._owners = np.concatenate(owners)
        if len(live) == 1:
            return values[0]
        order = np.argsort(np.concatenate(keys), kind="stable")  # ties by dataset
        self._owners = self._owners[order]
        return np.concatenate(values, axis=1)[:, order]

    def _rebase(self) -> None:
        """Take a common number of passes off all counts before keys outgrow 64 bits; all keys move alike."""
        passes = min(stream.cursor.count // stream.planned.weight for stream in self.streams)
        for stream in self.streams:
            weight, slab = stream.planned.weight, stream.slab
            less = passes * weight
            stream.cursor = replace(stream.cursor, count=stream.cursor.count - less)
            stream.count -= less
            if slab is not None:
                slab.counts -= less
                slab.keys -= mix_keys(np.array(less), np.array(0), weight, 20)
