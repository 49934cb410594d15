"""What the pages of a step did to its loss: recorded page by page, summed by dataset, reported when it spikes."""

from collections.abc import Sequence

from accelerate.utils import broadcast_object_list, gather_object

from wdstream.batches.batch import Batch
from wdstream.runs.losses import LossRows
from wdstream.train.setup import Run
from wdstream.train.step.exchange import StepFigures
from wdstream.train.watch.page_losses import PageLosses, pages_by_loss, worst_first
from wdstream.train.watch.spikes import HISTORY, SpikeWatch, last_spike, write_spike


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


def open_spikes(run: Run) -> SpikeWatch | None:
    """The watch, with the losses that the ledger has; None where none is wanted. All ranks call it together."""
    threshold = run.config.train.spike_threshold
    if threshold is None:
        return None
    before: list[tuple[list[float], int | None]] = [([], None)]
    if run.is_main:
        losses = [line["loss"] for line in run.files.read_steps() if "loss" in line]
        before = [(losses[-HISTORY:], last_spike(run.files))]
    broadcast_object_list(before)
    losses, last = before[0]
    return SpikeWatch(threshold, losses, last)
