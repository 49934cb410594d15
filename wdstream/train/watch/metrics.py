"""Figures of the run: `metrics.jsonl`, TensorBoard, and a progress bar or log lines; all on the main process."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wdstream.errors import TrainError, needs_extra
from wdstream.report.console import PrintableConsole
from wdstream.report.progress import ProgressBar
from wdstream.runs.layout import RunLayout
from wdstream.storage.atomic import naming
from wdstream.storage.json_lines import LineFile
from wdstream.train.watch.summary import (
    Spent,
    StepMetrics,
    describe,
    describe_eval,
    describe_place,
    summarise_steps,
)
from wdstream.train.watch.trackers import Trackers, named_figures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LINES_OF_ETA = 20
"""The time left is that of the last lines' steps, with all that was done between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a run is written down.

    Attributes:
        every: steps per line.
        form: of what is printed: text, or JSON lines.
        devices: processes of the run.
        peak: FLOP/s of each at most; None where nobody knows.
        has_board: TensorBoard's files are written.
    """

    every: int = 1
    form: Literal["text", "json"] = "text"
    devices: int = 1
    peak: float | None = None
    has_board: bool = True


class Metrics:
    """Collects steps and writes a log line every few of them.

    Args:
        files: of the run.
        first_step: where this start begins; TensorBoard drops what a killed run wrote at and after it.
        total_steps: of the run; None while they are being counted.
        log: how.
        trackers: what else the figures are sent to.
        is_main: other processes collect nothing and write nothing.
    """

    def __init__(
        self,
        files: RunLayout,
        *,
        first_step: int,
        total_steps: int | None,
        log: LogSettings,
        is_main: bool,
        trackers: Trackers | None = None,
    ) -> None:
        self._is_main = is_main
        self._log = log
        self._window: list[StepMetrics] = []
        self._spent = {"evaluating": 0.0, "saving": 0.0}
        self._line_at: float | None = None
        self._recent: deque[tuple[int, float]] = deque(maxlen=_LINES_OF_ETA)  # (steps, seconds) of lines
        self.total_steps = total_steps
        if not is_main:
            return
        self._console = PrintableConsole()
        self._file = LineFile(files.metrics)
        self._eval_file = LineFile(files.evaluations)
        self._board = _open_board(files.tensorboard, first_step) if log.has_board else None
        self._trackers = trackers
        if trackers is not None:
            trackers.say = self.say
        self._progress = ProgressBar(self._console, is_transient=False)
        self._show_progress(first_step)
        self._has_bar = self._console.is_terminal and log.form == "text"
        if self._has_bar:
            self._progress.start()

    def add(self, step: StepMetrics) -> None:
        """Take in a step; write when a line is due."""
        if not self._is_main:
            return
        if self._line_at is None:
            self._line_at = time.perf_counter() - step.seconds
        self._window.append(step)
        number = step.contents.step
        is_due = (number + 1) % self._log.every == 0
        if is_due or self._has_bar:  # not each step: it goes through all steps since the line before
            figures = self._summary()
            self._progress.figures = describe(figures)
            if is_due:
                self._write(number, figures)
        self._show_progress(number + 1)

    def _show_progress(self, done: int) -> None:
        if self._log.form == "text":
            self._progress.show("steps", done, self.total_steps, unit="steps")

    def add_eval(self, step: int, name: str, figures: dict[str, float]) -> None:
        """Write the result of an evaluation set after `step`."""
        if not self._is_main:
            return
        self._eval_file.append({"step": step, "name": name, **figures})
        self._send(f"eval/{name}", figures, step)
        text = f"step {step}: eval {name}: {describe_eval(figures)}"
        self._print(text, {"event": "evaluation", "step": step, "name": name, **figures})

    @contextmanager
    def work(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A second line of the bar for work between two steps; called with (pages done, pages in total)."""
        if not self._is_main or self._log.form == "json":  # where no bar is drawn it prints lines of text
            yield lambda done, total: None
            return
        try:
            yield self._progress.task(description, "pages")
        finally:
            self._progress.remove(description)

    @contextmanager
    def timed(self, what: Literal["evaluating", "saving"]) -> Iterator[None]:
        """Count the time inside apart from the steps'; the next line has it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[what] += time.perf_counter() - began

    def say(self, message: str) -> None:
        """Print a line above the progress bar, as it is: page text may hold brackets."""
        self._print(message, {"event": "message", "message": message})

    def close(self) -> None:
        """Write what is left and end the bar."""
        if not self._is_main:
            return
        if self._window:
            self._write(self._window[-1].contents.step, self._summary())
        if self._has_bar:
            self._progress.stop()
        if self._board is not None:
            with naming(Path(self._board.log_dir)):
                self._board.close()
        if self._trackers is not None:
            self._trackers.close()

    def _summary(self) -> dict[str, float]:
        spent = Spent(wall=self._wall(), **self._spent)
        return summarise_steps(self._window, spent, devices=self._log.devices, peak=self._log.peak)

    def _wall(self) -> float:
        """Seconds since the line before, all of them."""
        steps = sum(step.seconds for step in self._window)
        return steps if self._line_at is None else max(steps, time.perf_counter() - self._line_at)

    def _write(self, step: int, figures: dict[str, float]) -> None:
        self._recent.append((len(self._window), self._wall()))
        self._window.clear()
        self._spent = dict.fromkeys(self._spent, 0.0)
        self._line_at = time.perf_counter()
        self._file.append({"step": step, **figures})
        self._send("train", figures, step)
        if not self._has_bar:
            left = self._seconds_left(step)
            place = describe_place(step, self.total_steps, figures, left)
            fields = {"event": "step", "step": step, "total": self.total_steps, "eta_s": left, **figures}
            self._print(f"{place}: {describe(figures)}", fields)

    def _send(self, kind: str, figures: Mapping[str, float], step: int) -> None:
        """To TensorBoard and the other trackers."""
        if self._board is not None:
            with naming(Path(self._board.log_dir)):
                for name, value in named_figures(kind, figures).items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()
        if self._trackers is not None:
            self._trackers.log(kind, figures, step)

    def _seconds_left(self, step: int) -> float | None:
        """By the pace of the last lines, evaluation and saving included."""
        if self.total_steps is None:
            return None
        steps, seconds = sum(line[0] for line in self._recent), sum(line[1] for line in self._recent)
        return (self.total_steps - step - 1) * seconds / steps

    def _print(self, text: str, fields: Mapping[str, object]) -> None:
        if not self._is_main:
            return
        if self._log.form == "json":
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            text = json.dumps({"time": now, **fields})
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _open_board(folder: Path, first_step: int) -> "SummaryWriter":
    with needs_extra("training", "train", error_type=TrainError):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(log_dir=str(folder), purge_step=first_step)
