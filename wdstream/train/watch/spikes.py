"""Spikes of the loss: a step far above those before it, and a report that names its pages.

    score = (loss - median of the last 100 steps) / (1.4826 * median of their distances from it)

Medians do not move with the spikes themselves. All ranks see the same losses, so they agree without a word.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from accelerate.utils import broadcast_object_list

from wdstream.runs.layout import RunLayout, step_of_file
from wdstream.storage.atomic import write_file
from wdstream.train.setup import Run

HISTORY = 100
"""Steps that a loss is compared with."""
FEWEST = 20
"""As many are needed for a comparison."""
PAUSE = 20
"""Steps after a report without another one: a spike is seldom a single step."""
_NORMAL = 1.4826  # of a normal distribution: standard deviation over median distance
_LEAST = 1e-3  # of the median: losses that hardly move make no spike of a hair's breadth
NUM_PAGES = 50
"""Pages in a report: the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """A step whose loss is far above those before.

    Attributes:
        step: its number.
        loss: mean over its supervised tokens.
        median, deviation: of the steps before; the second as a standard deviation.
        score: deviations above the median.
    """

    step: int
    loss: float
    median: float
    deviation: float
    score: float


class SpikeWatch:
    """Compares each loss with those before it.

    Args:
        threshold: score from which on a step is a spike.
        losses: of the steps before this start, oldest first.
        last: the last step that was reported; None for none.
    """

    def __init__(self, threshold: float, losses: Iterable[float] = (), last: int | None = None) -> None:
        self._threshold = threshold
        self._losses = deque(losses, maxlen=HISTORY)
        self._last = last

    def look(self, step: int, loss: float) -> Spike | None:
        """Take in the loss of a step; the spike that is to be reported, if it is one."""
        before = list(self._losses)
        self._losses.append(loss)
        if len(before) < FEWEST:
            return None
        middle = median(before)
        deviation = max(_NORMAL * median(abs(value - middle) for value in before), _LEAST * abs(middle))
        score = (loss - middle) / deviation if deviation else 0.0
        is_quiet = self._last is not None and step - self._last <= PAUSE
        if score < self._threshold or is_quiet:
            return None
        self._last = step
        return Spike(step=step, loss=loss, median=middle, deviation=deviation, score=score)


def write_spike(files: RunLayout, spike: Spike, pages: Sequence[Mapping[str, object]]) -> str:
    """Write a report, and give the line for the log."""
    files.spikes.mkdir(exist_ok=True)
    path = files.spikes / f"step-{spike.step:08}.json"
    write_file(
        path, json.dumps({**asdict(spike), "num_pages": len(pages), "pages": pages[:NUM_PAGES]}, indent=2).encode()
    )
    worst = f"; worst page {pages[0]['key']}" if pages and "loss" in pages[0] else ""
    return (
        f"step {spike.step}: the loss is {spike.loss:.4f}, {spike.score:.1f} deviations above the median "
        f"{spike.median:.4f} of the steps before{worst}; its pages are in {path}"
    )


def last_spike(files: RunLayout) -> int | None:
    """The last step that a run has a report of."""
    return max(map(step_of_file, files.spikes.glob("step-*.json")), default=None)


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
