"""The loss of each page, from the losses of tokens that a step computes; their sums by dataset; the pages of a spike.

The output head keeps the cross-entropy of every supervised token (`LossHead.keeping_token_losses`); they are in the
order of the documents, so that a page's loss is the sum over as many of them as it has supervised tokens. They are
plain cross-entropies, without weights, smoothing and z-loss, so that pages of all runs compare.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.plan.step_columns import datasets_of_samples
from wdstream.records import IGNORED, Ints
from wdstream.runs.losses import NO_SAMPLE, LossRows, append_losses, join_rows
from wdstream.train.setup import Run
from wdstream.train.step.exchange import StepFigures
from wdstream.train.watch.spikes import open_spikes, write_spike

BLOCK_STEPS = 64
"""Steps whose rows are gathered and written together, unless a checkpoint comes before."""


class PageLosses:
    """Collects the rows of this rank, and writes those of all ranks on the main process.

    Args:
        run: whose folder is written to, with `train.record_losses`.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: list[LossRows] = []
        self._offsets = run.stream.dataset_offsets
        self._is_recorded = run.config.train.record_losses

    @property
    def num_datasets(self) -> int:
        """Datasets whose losses are told apart."""
        return 1 if self._offsets is None else len(self._offsets) - 1

    @property
    def are_needed(self) -> bool:
        """Whether a step has to keep the losses of its tokens."""
        return self._is_recorded or self.num_datasets > 1

    def of_step(self, step: int, batches: Sequence[Batch], kept: Sequence[Tensor]) -> LossRows | None:
        """This rank's rows of a step; None where they are not needed."""
        return page_rows(step, batches, kept, self._offsets) if self.are_needed else None

    def by_dataset(self, rows: LossRows | None) -> list[tuple[float, float]]:
        """(summed loss, tokens) of each of several datasets on this rank."""
        if rows is None or self.num_datasets == 1:
            return []
        sums = (
            np.bincount(rows.dataset, weights=values, minlength=self.num_datasets)
            for values in (rows.loss, rows.tokens)
        )
        return list(zip(*(column.tolist() for column in sums), strict=True))

    def add(self, step: int, rows: LossRows | None) -> None:
        """Take in a step, and write when a block is full. All ranks call it together."""
        if rows is None or not self._is_recorded:
            return
        self._rows.append(rows)
        if (step + 1) % BLOCK_STEPS == 0:
            self.write()

    def write(self) -> None:
        """Write what is collected, of all ranks. All ranks call it together."""
        if not self._rows:
            return
        own, self._rows = join_rows(self._rows), []
        ranks: list[LossRows] = gather_object([own])
        if self._run.is_main and any(map(len, ranks)):
            append_losses(self._run.files.losses, join_rows(ranks).sorted())


class PageWatch:
    """The losses of pages on this rank; the main process writes.

    All ranks make one together, after the growing files were cut back.

    Args:
        run: whose folder is written to.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.losses = PageLosses(run)
        self._spikes = open_spikes(run)

    def add(self, step: int, figures: StepFigures, batches: Sequence[Batch], rows: LossRows | None) -> str | None:
        """Take in a step; a line for the log where it is a spike. All ranks call it together."""
        self.losses.add(step, rows)
        spikes = self._spikes if figures.num_supervised else None  # where all pages failed there is no loss
        spike = None if spikes is None else spikes.look(step, figures.loss)
        if spike is None:
            return None
        own = pages_by_loss(batches, rows, tuple(self._run.stream.data))
        pages: list[dict[str, object]] = gather_object(own)
        return write_spike(self._run.files, spike, worst_first(pages)) if self._run.is_main else None


def page_rows(step: int, batches: Sequence[Batch], kept: Sequence[Tensor], offsets: Ints | None) -> LossRows:
    """The rows of one rank's micro-batches.

    Args:
        step: their step.
        batches: this rank's micro-batches.
        kept: of each, float32 (S,), the losses of its supervised tokens in order; one more where there are none.
        offsets: see `Stream.dataset_offsets`.
    """
    parts = [_batch_rows(step, batch, losses, offsets) for batch, losses in zip(batches, kept, strict=True)]
    return join_rows(parts)


def _batch_rows(step: int, batch: Batch, kept: Tensor, offsets: Ints | None) -> LossRows:
    tokens = np.array(list(_supervised_tokens(batch)), dtype=np.int32)
    losses = kept.cpu().numpy()[: int(tokens.sum())]
    owners = np.repeat(np.arange(len(tokens)), tokens)
    numbers = [
        (pack, slot) for pack, lengths in zip(batch.packs, batch.lengths, strict=True) for slot in range(len(lengths))
    ]
    packs, slots = np.array(numbers, dtype=np.int64).reshape(-1, 2).T
    samples = np.array(list(_samples(batch)), dtype=np.int64)
    return LossRows(
        step=np.full(len(tokens), step, dtype=np.int64),
        pack=packs,
        slot=slots.astype(np.int32),
        dataset=datasets_of(samples, offsets),
        sample=samples,
        tokens=tokens,
        loss=np.bincount(owners, weights=losses, minlength=len(tokens)).astype(np.float32),
    )


def _supervised_tokens(batch: Batch) -> Iterator[int]:
    """Of each document, in order."""
    labels = batch.labels.cpu().numpy()
    for row, lengths in enumerate(batch.lengths):
        is_supervised = labels[row] != IGNORED
        is_supervised[:1] = False  # nothing predicts the first token of a row
        ends = np.cumsum(lengths, dtype=np.int64)
        counts = np.concatenate(([0], np.cumsum(is_supervised)))
        yield from (counts[ends] - counts[ends - np.array(lengths, dtype=np.int64)]).tolist()


def _samples(batch: Batch) -> Iterator[int]:
    """Sample numbers of each document, in order."""
    plan = batch.step_plan
    for pack, lengths in zip(batch.packs, batch.lengths, strict=True):
        if plan is None:
            yield from [NO_SAMPLE] * len(lengths)
        elif lengths:
            yield from plan.packs[pack - plan.packs[0].number].samples


def datasets_of(samples: Ints, offsets: Ints | None) -> NDArray[np.int32]:
    """int32 (n,): the number of each sample's dataset; 0 without offsets."""
    if offsets is None:
        return np.zeros(len(samples), dtype=np.int32)
    return datasets_of_samples(samples, offsets).astype(np.int32)


def pages_by_loss(batches: Sequence[Batch], rows: LossRows | None, names: Sequence[str]) -> list[dict[str, object]]:
    """The pages of one rank's micro-batches for a report; with rows their losses too.

    Args:
        batches: this rank's micro-batches.
        rows: of them; None where losses are not recorded.
        names: of the datasets.
    """
    keys = [
        (pack, slot, key)
        for batch in batches
        for pack, in_pack in zip(batch.packs, batch.page_keys, strict=True)
        for slot, key in enumerate(in_pack)
    ]
    pages: list[dict[str, object]] = [{"pack": pack, "slot": slot, "key": key} for pack, slot, key in keys]
    if rows is None:
        return pages
    columns = zip(pages, rows.dataset.tolist(), rows.tokens.tolist(), rows.mean.tolist(), strict=True)
    return [
        {**page, "dataset": names[number], "tokens": tokens, "loss": mean} for page, number, tokens, mean in columns
    ]


def worst_first(pages: list[dict[str, object]]) -> list[dict[str, object]]:
    """By falling loss per token, where it is known, else in the order of packs."""
    return sorted(pages, key=lambda page: (-float(str(page.get("loss", 0.0))), page["pack"], page["slot"]))
