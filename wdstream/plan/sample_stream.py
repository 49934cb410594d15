"""All datasets as one sequence of accepted samples, from any point of it, in slabs of a few thousand.

    PlannedDataset ─► rows of a block in order ─► measured ─► DatasetStream ─┐
                                                                             ├─ merged by key ─► SampleStream.take(n)
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
from wdstream.plan.datasets import Mixture, PlannedDataset, items_of
from wdstream.plan.order import mix_keys
from wdstream.plan.packer import Item
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.state import Cursor
from wdstream.records import Ints

FIRST_SLAB, SLAB = 256, 4096
"""Samples measured at a time, at first, and after some doublings: the first pack comes soon, and no call takes long."""

LARGE_BLOCK = 1 << 16
"""Samples; such a block takes 5 ms and more to sort, so a thread does it one ahead. Handing over takes as long."""

MAX_COUNT = 1 << 38
"""Counts (pages or tokens of a dataset, less those of the passes that all have completed) are kept about below this."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slab:
    """Accepted samples of one dataset, all from one block.

    Attributes:
        items: the samples.
        epoch: pass over the dataset.
        block: block of that epoch.
        positions: int64, index of each sample within the block.
        keys: int64, the samples' order among all datasets, ascending.
        counts: int64, pages or tokens of the stream after each sample; empty without weights.
        parts_before_more: int64, after a part of a page of which more follow, its parts so far, else 0; None without
            such pages.
    """

    items: list[Item]
    epoch: int
    block: int
    positions: Ints
    keys: Ints
    counts: Ints
    parts_before_more: Ints | None = None


class DatasetStream:
    """One dataset from a cursor on, slab by slab."""

    def __init__(self, planned: PlannedDataset, start: Cursor, pass_number: int, blocks: ThreadPoolExecutor) -> None:
        self.planned = planned
        self.rejects = np.zeros(len(Reject), dtype=np.int64)  # samples measured so far, by reason
        self.count = start.count
        self._first_epoch = pass_number * (planned.epochs or 0)
        self._end_epoch = inf if planned.epochs is None else self._first_epoch + planned.epochs
        self.slabs = self._run(start, blocks)

    def after(self, slab: Slab, index: int) -> Cursor:
        """The dataset's cursor after sample `index` of a slab."""
        part = 0 if slab.parts_before_more is None else int(slab.parts_before_more[index])
        position = int(slab.positions[index]) + (not part)
        count = int(slab.counts[index]) if len(slab.counts) else 0
        if position < self.planned.order.block_size(slab.epoch, slab.block):
            return Cursor(epoch=slab.epoch, block=slab.block, position=position, count=count, part=part)
        if slab.block + 1 < self.planned.order.num_blocks:
            return Cursor(epoch=slab.epoch, block=slab.block + 1, count=count)
        return Cursor(epoch=slab.epoch + 1, count=count)

    def _run(self, start: Cursor, blocks: ThreadPoolExecutor) -> Iterator[Slab]:
        """Slabs with at least one sample, to the end of the pass.

        Raises:
            PlanError: a dataset with a weight has no acceptable sample in a whole epoch.
        """
        epochs = self.planned.epochs
        position, part, size = start.position, start.part, FIRST_SLAB
        empty_since = start.epoch
        for epoch, block, rows in self._blocks(start, blocks):
            if epochs is None and epoch > empty_since + 1:
                raise PlanError(
                    f"a dataset with a weight has no acceptable sample in epoch {epoch - 1} (rejects by reason: "
                    f"{self._reasons()}): leave it out, or change what rejects its samples"
                )
            while position < len(rows):
                slab = self._slab(epoch, block, position, rows[position : position + size], part)
                position, part = position + size, 0
                size = min(2 * size, SLAB)
                if slab.items:
                    empty_since = epoch
                    yield slab
            position = 0

    def _blocks(self, start: Cursor, blocks: ThreadPoolExecutor) -> Iterator[tuple[int, int, Ints]]:
        """(epoch, block, rows in order) from a cursor to the end of the pass, large ones sorted one ahead."""
        ahead: Future[Ints] | None = None
        order, epoch, block = self.planned.order, start.epoch, start.block
        while epoch < self._end_epoch:
            rows = order.block(epoch, block) if ahead is None else ahead.result()
            following = (epoch, block + 1) if block + 1 < order.num_blocks else (epoch + 1, 0)
            is_worth_it = following[0] < self._end_epoch and order.block_size(*following) >= LARGE_BLOCK
            ahead = blocks.submit(order.block, *following) if is_worth_it else None
            yield epoch, block, rows
            epoch, block = following

    def _slab(self, epoch: int, block: int, position: int, rows: Ints, part: int) -> Slab:
        """Samples of these rows, which begin at `position` of a block; `part` parts of the first came before."""
        lengths, split = self.planned.measure(rows, epoch=epoch)
        self.rejects += np.bincount(lengths.reject, minlength=len(Reject))
        before_more = None
        if split is not None:
            split = split.after(part)
            lengths = split.lengths
        is_accepted = lengths.reject == Reject.ACCEPTED
        positions = np.flatnonzero(is_accepted) + position
        if split is not None:
            positions, before_more = split.rows[is_accepted] + position, split.parts_before_more[is_accepted]
        counts, keys = self._keys(epoch, block, positions, lengths.tokens[is_accepted])
        return Slab(
            items=items_of(self.planned.numbers(rows, split), lengths, is_accepted),
            epoch=epoch,
            block=block,
            positions=positions,
            keys=keys,
            counts=counts,
            parts_before_more=before_more,
        )

    def _keys(self, epoch: int, block: int, positions: Ints, tokens: Ints) -> tuple[Ints, Ints]:
        """(counts after, keys) of accepted samples."""
        planned = self.planned
        if planned.epochs is not None:  # rejected samples count too, so that all datasets end together
            passed = (epoch - self._first_epoch) * planned.order.num_samples + planned.order.block_start(epoch, block)
            keys = mix_keys(passed + positions, np.ones_like(positions), planned.weight, 30)
            return np.empty(0, dtype=np.int64), keys
        sizes = tokens if planned.settings.weights_in == "tokens" else np.ones_like(positions)
        counts = self.count + np.cumsum(sizes)
        if len(counts):
            self.count = int(counts[-1])
        return counts, mix_keys(counts - sizes, sizes, planned.weight, 20)

    def _reasons(self) -> str:
        counts = [f"{reason.reason} {self.rejects[reason]}" for reason in Reject if self.rejects[reason]]
        return ", ".join(counts) or "it is empty"


class SampleStream:
    """The datasets of a plan as one sequence, from their cursors to the end of the pass over the mixture."""

    def __init__(self, mixture: Mixture, cursors: Sequence[Cursor], pass_number: int) -> None:
        self._blocks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wdstream-order")
        self.streams = [
            DatasetStream(planned, cursor, pass_number, self._blocks)
            for planned, cursor in zip(mixture.planned, cursors, strict=True)
        ]
        self._cursors = list(cursors)  # after what was taken from earlier slabs
        self._slabs: list[Slab | None] = [None] * len(cursors)
        self._merged_from = [0] * len(cursors)  # where in its slab the merged list begins
        self._merged_to = [0] * len(cursors)
        self._merged: list[Item] = []
        self._owners = np.empty(0, dtype=np.int64)  # dataset of each merged item
        self._taken = 0

    def take(self, count: int) -> list[Item]:
        """The next samples; fewer than `count` only at the end of the pass."""
        taken = self._merged[self._taken : self._taken + count]
        self._taken += len(taken)
        while len(taken) < count and self._merge():
            more = self._merged[: count - len(taken)]
            self._taken = len(more)
            taken += more
        return taken

    def cursors(self) -> tuple[Cursor, ...]:
        """Each dataset's cursor after what was taken."""
        owners = self._owners[: self._taken]
        cursors = []
        for number, stream in enumerate(self.streams):
            slab, index = self._slabs[number], self._merged_from[number]
            index += int(np.count_nonzero(owners == number))
            cursors.append(self._cursors[number] if slab is None or index == 0 else stream.after(slab, index - 1))
        return _without_common_count(cursors, [stream.planned.weight for stream in self.streams])

    def close(self) -> None:
        """End the thread that sorts ahead."""
        self._blocks.shutdown(wait=False, cancel_futures=True)

    def _merge(self) -> bool:
        """Make the next merged list, from the current slab of each dataset; False at the end of the pass."""
        live = []
        self._rebase()
        for number in range(len(self.streams)):
            slab = self._advance(number)
            if slab is not None:
                live.append((number, slab))
        self._taken = 0
        self._merged, self._owners = [], np.empty(0, dtype=np.int64)
        if not live:
            return False
        horizon = min(int(slab.keys[-1]) for _, slab in live)
        keys, owners = [], []
        for number, slab in live:
            start = self._merged_from[number]
            stop = self._merged_to[number] = int(np.searchsorted(slab.keys, horizon, side="right"))
            self._merged += slab.items[start:stop]
            keys.append(slab.keys[start:stop])
            owners.append(np.full(stop - start, number, dtype=np.int64))
        self._owners = np.concatenate(owners)
        if len(live) > 1:
            order = np.argsort(np.concatenate(keys), kind="stable")  # ties by dataset
            self._owners = self._owners[order]
            merged = self._merged
            self._merged = [merged[index] for index in order.tolist()]
        return True

    def _rebase(self) -> None:
        """Take a common number of passes off all counts before keys outgrow 64 bits; all keys move alike."""
        weights = [stream.planned.weight for stream in self.streams]
        if max(cursor.count for cursor in self._cursors) < MAX_COUNT:
            return
        passes = min(cursor.count // weight for cursor, weight in zip(self._cursors, weights, strict=True))
        self._cursors = list(_without_common_count(self._cursors, weights))
        for stream, slab in zip(self.streams, self._slabs, strict=True):
            stream.count -= passes * stream.planned.weight
            if slab is not None:
                slab.counts -= passes * stream.planned.weight
                slab.keys -= mix_keys(np.array(passes * stream.planned.weight), np.array(0), stream.planned.weight, 20)

    def _advance(self, number: int) -> Slab | None:
        """The slab of a dataset after what was merged of it; a new one when it is used up."""
        slab, self._merged_from[number] = self._slabs[number], self._merged_to[number]
        if slab is not None and self._merged_from[number] < len(slab.items):
            return slab
        stream = self.streams[number]
        if slab is not None:
            self._cursors[number] = stream.after(slab, len(slab.items) - 1)
        self._slabs[number] = slab = next(stream.slabs, None)
        self._merged_from[number] = self._merged_to[number] = 0
        return slab


def _without_common_count(cursors: Sequence[Cursor], weights: Sequence[int]) -> tuple[Cursor, ...]:
    """Counts less the passes that all datasets have completed: keys then differ by a constant, and the order stays."""
    passes = min(cursor.count // weight for cursor, weight in zip(cursors, weights, strict=True))
    return tuple(
        replace(cursor, count=cursor.count - passes * weight) for cursor, weight in zip(cursors, weights, strict=True)
    )
