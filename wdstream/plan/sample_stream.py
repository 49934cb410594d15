"""All data sets as one sequence of accepted samples, from any place in it, in slabs of a few thousand.

    Order ─► rows of a block ─► LengthEstimator ─► Source (one data set) ─┐
                                                                ├─ merged by key (mixture.py) ─► Stream.take(n)
    Order ─► rows of a block ─► LengthEstimator ─► Source (one data set) ─┘

A large block is sorted by a thread while the one before it is used, and lengths are computed a slab at a time, so that
no call takes long. What comes out does not depend on where slabs begin.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.mixture import mix_keys
from wdstream.plan.order import Order
from wdstream.plan.packer import Item
from wdstream.plan.protocols import Bools, Ints
from wdstream.plan.sample_lengths import LengthEstimator, Reject, SampleLengths
from wdstream.plan.settings import WeightUnit
from wdstream.plan.split_pages import Splitter
from wdstream.plan.state import Cursor

FIRST_SLAB, SLAB = 256, 4096
"""Samples measured at a time, at first, and after some doublings: the first pack comes soon, and no call takes long."""

LARGE_BLOCK = 1 << 16
"""Samples; such a block takes 5 ms and more to sort, so a thread does it one ahead. Handing over takes as long."""

MAX_COUNT = 1 << 38
"""Counts (pages or tokens of a data set, less the common rounds) are kept about below this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A data set in a plan.

    Attributes:
        order: its order.
        ruler: its lengths.
        offset: global number of its first sample.
        weight: integer share of the stream.
        unit: what the weight counts: pages or tokens.
        epochs: passes in a round; None for a data set given by weight, which never ends.
        splitter: splits its pages that are too long; None where they are not split.
        stride: samples of the whole plan; part p of a page has the page's number and p times this.
    """

    order: Order
    ruler: LengthEstimator
    offset: int
    weight: int
    unit: WeightUnit = "pages"
    epochs: int | None = None
    splitter: Splitter | None = None
    stride: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Slab:
    """Accepted samples of one data set, all from one block.

    Attributes:
        items: the samples.
        epoch: pass over the data set.
        block: block of that epoch.
        positions: int64, place of each sample within the block.
        keys: int64, the samples' order among all data sets, ascending.
        counts: int64, pages or tokens given after each sample; empty without weights.
        given: int64, after a part of a page of which more follow, its parts so far, else 0; None without such pages.
    """

    items: list[Item]
    epoch: int
    block: int
    positions: Ints
    keys: Ints
    counts: Ints
    given: Ints | None = None


class Source:
    """One data set from a cursor on, slab by slab."""

    def __init__(self, part: Part, start: Cursor, round_number: int, blocks: ThreadPoolExecutor) -> None:
        self.part = part
        self.rejects = np.zeros(len(Reject), dtype=np.int64)  # samples measured so far, by reason
        self.count = start.count
        self._first_epoch = 0 if part.epochs is None else round_number * part.epochs
        self._slabs = self._run(start, blocks)

    def next_slab(self) -> Slab | None:
        """The next slab with at least one sample; None at the end of the round.

        Raises:
            PlanError: a data set given by weight has no acceptable sample in a whole epoch.
        """
        return next(self._slabs, None)

    def after(self, slab: Slab, index: int) -> Cursor:
        """Where the data set stands after sample `index` of a slab."""
        part = 0 if slab.given is None else int(slab.given[index])
        position = int(slab.positions[index]) + (not part)
        count = int(slab.counts[index]) if len(slab.counts) else 0
        if position < self.part.order.block_size(slab.epoch, slab.block):
            return Cursor(epoch=slab.epoch, block=slab.block, position=position, count=count, part=part)
        if slab.block + 1 < self.part.order.num_blocks:
            return Cursor(epoch=slab.epoch, block=slab.block + 1, count=count)
        return Cursor(epoch=slab.epoch + 1, count=count)

    def _run(self, start: Cursor, blocks: ThreadPoolExecutor) -> Iterator[Slab]:
        epochs = self.part.epochs
        position, part, size = start.position, start.part, FIRST_SLAB
        empty_since = start.epoch
        for epoch, block, rows in self._blocks(start, blocks):
            if epochs is None and epoch > empty_since + 1:
                raise PlanError(
                    f"a data set given by weight has no acceptable sample in epoch {epoch - 1} (rejects by reason: "
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
        """(epoch, block, rows in order) from a cursor to the end of the round, large ones sorted one ahead."""
        ahead: Future[Ints] | None = None
        order, epoch, block = self.part.order, start.epoch, start.block
        while not self._is_over(epoch):
            rows = order.block(epoch, block) if ahead is None else ahead.result()
            following = (epoch, block + 1) if block + 1 < order.num_blocks else (epoch + 1, 0)
            is_worth_it = not self._is_over(following[0]) and order.block_size(*following) >= LARGE_BLOCK
            ahead = blocks.submit(order.block, *following) if is_worth_it else None
            yield epoch, block, rows
            epoch, block = following

    def _is_over(self, epoch: int) -> bool:
        return self.part.epochs is not None and epoch >= self._first_epoch + self.part.epochs

    def _slab(self, epoch: int, block: int, position: int, rows: Ints, part: int) -> Slab:
        """Samples of these rows, which begin at `position` of a block; `part` parts of the first were given before."""
        lengths = self.part.ruler.measure(rows, epoch=epoch)
        split = None if self.part.splitter is None else self.part.splitter.split(rows, lengths)
        self.rejects += np.bincount(lengths.reject, minlength=len(Reject))
        samples, given = rows + self.part.offset, None
        if split is not None:
            split = split.after(part)
            lengths, samples = split.lengths, samples[split.places] + split.parts * self.part.stride
        is_accepted = lengths.reject == Reject.ACCEPTED
        positions = np.flatnonzero(is_accepted) + position
        if split is not None:
            positions, given = split.places[is_accepted] + position, split.given[is_accepted]
        counts, keys = self._keys(epoch, block, positions, lengths.tokens[is_accepted])
        return Slab(
            items=items_of(samples, lengths, is_accepted),
            epoch=epoch,
            block=block,
            positions=positions,
            keys=keys,
            counts=counts,
            given=given,
        )

    def _keys(self, epoch: int, block: int, positions: Ints, tokens: Ints) -> tuple[Ints, Ints]:
        """(counts after, keys) of accepted samples."""
        part = self.part
        if part.epochs is not None:  # rejected samples count too, so that all data sets end together
            passed = (epoch - self._first_epoch) * part.order.num_samples + part.order.block_start(epoch, block)
            return np.empty(0, dtype=np.int64), mix_keys(passed + positions, np.ones_like(positions), part.weight, 30)
        sizes = tokens if part.unit == "tokens" else np.ones_like(positions)
        counts = self.count + np.cumsum(sizes)
        if len(counts):
            self.count = int(counts[-1])
        return counts, mix_keys(counts - sizes, sizes, part.weight, 20)

    def _reasons(self) -> str:
        found = [f"{reason.reason} {self.rejects[reason]}" for reason in Reject if self.rejects[reason]]
        return ", ".join(found) or "it is empty"


class Stream:
    """The data sets of a plan as one sequence, from given cursors to the end of the round."""

    def __init__(self, parts: Sequence[Part], cursors: Sequence[Cursor], round_number: int) -> None:
        self._blocks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wdstream-order")
        self.sources = [
            Source(part, cursor, round_number, self._blocks) for part, cursor in zip(parts, cursors, strict=True)
        ]
        self._cursors = list(cursors)  # after what was taken from earlier slabs
        self._slabs: list[Slab | None] = [None] * len(parts)
        self._merged_from = [0] * len(parts)  # where in its slab the merged list begins
        self._merged_to = [0] * len(parts)
        self._merged: list[Item] = []
        self._owners = np.empty(0, dtype=np.int64)  # data set of each merged item
        self._taken = 0

    def take(self, count: int) -> list[Item]:
        """The next samples; fewer than `count` only at the end of the round."""
        taken = self._merged[self._taken : self._taken + count]
        self._taken += len(taken)
        while len(taken) < count and self._merge():
            more = self._merged[: count - len(taken)]
            self._taken = len(more)
            taken += more
        return taken

    def cursors(self) -> tuple[Cursor, ...]:
        """Where each data set stands after what was taken."""
        owners = self._owners[: self._taken]
        found = []
        for number, source in enumerate(self.sources):
            slab, index = self._slabs[number], self._merged_from[number]
            index += int(np.count_nonzero(owners == number))
            found.append(self._cursors[number] if slab is None or index == 0 else source.after(slab, index - 1))
        return _without_common_count(found, [source.part.weight for source in self.sources])

    def close(self) -> None:
        """End the thread."""
        self._blocks.shutdown(wait=False, cancel_futures=True)

    def _merge(self) -> bool:
        """Make the next merged list, from the current slab of each data set; False at the end of the round."""
        live = []
        self._rebase()
        for number in range(len(self.sources)):
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
            order = np.argsort(np.concatenate(keys), kind="stable")  # ties by data set
            self._owners = self._owners[order]
            merged = self._merged
            self._merged = [merged[place] for place in order.tolist()]
        return True

    def _rebase(self) -> None:
        """Take a common number of rounds off all counts before keys outgrow 64 bits; all keys move alike."""
        weights = [source.part.weight for source in self.sources]
        if max(cursor.count for cursor in self._cursors) < MAX_COUNT:
            return
        rounds = min(cursor.count // weight for cursor, weight in zip(self._cursors, weights, strict=True))
        self._cursors = list(_without_common_count(self._cursors, weights))
        for source, slab in zip(self.sources, self._slabs, strict=True):
            source.count -= rounds * source.part.weight
            if slab is not None:
                slab.counts -= rounds * source.part.weight
                slab.keys -= mix_keys(np.array(rounds * source.part.weight), np.array(0), source.part.weight, 20)

    def _advance(self, number: int) -> Slab | None:
        """The slab of a data set after what was merged of it; a new one when it is used up."""
        slab, self._merged_from[number] = self._slabs[number], self._merged_to[number]
        if slab is not None and self._merged_from[number] < len(slab.items):
            return slab
        source = self.sources[number]
        if slab is not None:
            self._cursors[number] = source.after(slab, len(slab.items) - 1)
        self._slabs[number] = slab = source.next_slab()
        self._merged_from[number] = self._merged_to[number] = 0
        return slab


def items_of(samples: Ints, lengths: SampleLengths, is_accepted: Bools) -> list[Item]:
    """The accepted ones of measured samples, as the packer takes them."""
    columns = (samples, lengths.tokens, lengths.patches, lengths.supervised, lengths.vision_cost, lengths.scale)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return list(
        map(partial(tuple.__new__, Item), compress(rows, is_accepted.tolist()))
    )  # Item._make, three times as fast


def _without_common_count(cursors: Sequence[Cursor], weights: Sequence[int]) -> tuple[Cursor, ...]:
    """Counts less the rounds that all data sets have completed: keys then differ by a constant, and the order stays."""
    rounds = min(cursor.count // weight for cursor, weight in zip(cursors, weights, strict=True))
    return tuple(
        replace(cursor, count=cursor.count - rounds * weight) for cursor, weight in zip(cursors, weights, strict=True)
    )
