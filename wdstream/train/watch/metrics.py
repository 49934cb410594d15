"""Figures of the run: `metrics.jsonl`, TensorBoard, and a progress bar; all on the main process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import TrainError, needs_extra
from wdstream.report.console import PrintableConsole
from wdstream.report.progress import ProgressBar
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import LineFile
from wdstream.train.step.exchange import StepFigures
from wdstream.train.stream import Share, StepContents

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

BOARD_RATES = {"loss", "cer", "wer"}
"""Figures of an evaluation that TensorBoard gets; eval.jsonl has the counts, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """One step over all ranks.

    Attributes:
        contents: what it held.
        figures: what came out.
        lr: learning rate.
        seconds: from the end of the step before to the end of this one.
        fill_tokens, fill_patches: share of the two budgets that the contents use, 0 to 1.
    """

    contents: StepContents
    figures: StepFigures
    lr: float
    seconds: float
    fill_tokens: float
    fill_patches: float


def summarise_steps(window: Sequence[StepMetrics]) -> dict[str, float]:
    """Figures of one log line over the steps since the last one."""
    last = window[-1]
    contents, figures = [step.contents for step in window], [step.figures for step in window]
    seconds = sum(step.seconds for step in window)
    supervised = sum(step.num_supervised for step in contents)
    weighted = sum(step.figures.loss * step.contents.num_supervised for step in window)
    return {
        "loss": weighted / supervised if supervised else 0.0,
        "lr": last.lr,
        "grad_norm": last.figures.grad_norm,
        "tokens_per_s": sum(step.num_tokens for step in contents) / seconds,
        "pages_per_s": sum(step.num_pages for step in contents) / seconds,
        "step_s": seconds / len(window),
        "data_wait_pct": 100.0 * sum(step.wait_seconds for step in figures) / seconds,
        "fill_tokens_pct": 100.0 * sum(step.fill_tokens for step in window) / len(window),
        "fill_patches_pct": 100.0 * sum(step.fill_patches for step in window) / len(window),
        "imbalance": max(step.imbalance for step in contents),
        "supervised_tokens": float(supervised),
        **_count_without_image(contents),
        **summarise_mix([step.mix for step in contents]),
        **_losses_by_dataset(window),
    }


def _losses_by_dataset(window: Sequence[StepMetrics]) -> dict[str, float]:
    """Mean loss per supervised token of each of several datasets that gave some."""
    sums: dict[str, tuple[float, float]] = {}
    for step in window:
        for name, (loss, tokens) in zip(step.contents.mix, step.figures.dataset_losses, strict=False):
            before = sums.get(name, (0.0, 0.0))
            sums[name] = before[0] + loss, before[1] + tokens
    return {f"loss/{name}": loss / tokens for name, (loss, tokens) in sums.items() if tokens}


def _count_without_image(contents: Sequence[StepContents]) -> dict[str, float]:
    """Pages, and those of them without an image, in streams; what an index says is said before the first step."""
    if contents[-1].keys is None:
        return {}
    pages, without = (sum(step.num_pages for step in contents), sum(step.num_without_image for step in contents))
    return {"pages": float(pages), "pages_without_image": float(without)}


def summarise_mix(mixes: Sequence[Mapping[str, Share]]) -> dict[str, float]:
    """Shares of pages and of tokens, in percent, of each of several datasets: the mix that was really trained."""
    shares: dict[str, float] = {}
    for unit in Share._fields:
        sums = {name: sum(getattr(mix[name], unit) for mix in mixes) for name in mixes[-1]}
        shares |= {f"mix_{unit}_pct/{name}": 100.0 * sums[name] / max(sum(sums.values()), 1) for name in sums}
    return shares


class Metrics:
    """Collects steps and writes a log line every `log_every` of them.

    Args:
        files: of the run.
        first_step: where this start begins; TensorBoard drops what a killed run wrote at and after it.
        total_steps: of the run; None while they are being counted.
        log_every: steps per line.
        is_main: other processes collect nothing and write nothing.
    """

    def __init__(
        self, files: RunLayout, *, first_step: int, total_steps: int | None, log_every: int, is_main: bool
    ) -> None:
        self._is_main = is_main
        self._log_every = log_every
        self._window: list[StepMetrics] = []
        self.total_steps = total_steps
        if not is_main:
            return
        self._console = PrintableConsole()
        self._file = LineFile(files.metrics)
        self._eval_file = LineFile(files.evaluations)
        self._board = _open_board(files.tensorboard, first_step)
        self._progress = ProgressBar(self._console, is_transient=False)
        self._progress.show("steps", first_step, total_steps, unit="steps")
        if self._console.is_terminal:
            self._progress.start()

    def add(self, step: StepMetrics) -> None:
        """Take in a step; write when a line is due."""
        if not self._is_main:
            return
        self._window.append(step)
        figures, number = summarise_steps(self._window), step.contents.step
        self._progress.figures = describe(figures)
        self._progress.show("steps", number + 1, self.total_steps, unit="steps")
        if (number + 1) % self._log_every == 0:
            self._write(number, figures)

    def add_eval(self, step: int, name: str, figures: dict[str, float]) -> None:
        """Write the result of an evaluation set after `step`."""
        if not self._is_main:
            return
        self._eval_file.append({"step": step, "name": name, **figures})
        for key in BOARD_RATES & figures.keys():
            self._board.add_scalar(f"eval/{name}/{key}", figures[key], step)
        self._board.flush()
        self.say(f"step {step}: eval {name}: {describe_eval(figures)}")

    @contextmanager
    def work(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """A second line of the bar for work between two steps; called with (pages done, pages in total)."""
        if not self._is_main:
            yield lambda done, total: None
            return
        try:
            yield self._progress.task(description, "pages")
        finally:
            self._progress.remove(description)

    def say(self, message: str) -> None:
        """Print a line above the progress bar, as it is: page text may hold brackets."""
        if self._is_main:
            self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Write what is left and end the bar."""
        if not self._is_main:
            return
        if self._window:
            self._write(self._window[-1].contents.step, summarise_steps(self._window))
        if self._console.is_terminal:
            self._progress.stop()
        self._board.close()

    def _write(self, step: int, figures: dict[str, float]) -> None:
        self._window.clear()
        self._file.append({"step": step, **figures})
        for name, value in figures.items():
            self._board.add_scalar(f"train/{name}", value, step)
        self._board.flush()
        if not self._console.is_terminal:
            self.say(f"step {step}: {describe(figures)}")


def describe(figures: dict[str, float]) -> str:
    """The figures that a person watches; fill is of tokens and of patches."""
    mix = ", ".join(
        f"{name.partition('/')[2]} {value:.1f} %"
        for name, value in figures.items()
        if name.startswith("mix_tokens_pct/")
    )
    without, pages = figures.get("pages_without_image"), figures.get("pages", 0.0)
    no_image = "" if without is None else f" {without:,.0f} of {pages:,.0f} pages have no image"
    return (
        f"loss {figures['loss']:.4f} lr {figures['lr']:.1e} {figures['tokens_per_s']:,.0f} tokens/s "
        f"{figures['pages_per_s']:.1f} pages/s wait {figures['data_wait_pct']:.0f} % "
        f"fill {figures['fill_tokens_pct']:.0f}/{figures['fill_patches_pct']:.0f} % "
        f"imbalance {figures['imbalance']:.2f}" + (f" tokens of {mix}" if mix else "") + no_image
    )


def describe_eval(figures: dict[str, float]) -> str:
    """The figures of an evaluation set; the rates are there where the model wrote pages."""
    line = f"loss {figures['loss']:.4f} over {int(figures['tokens'])} tokens"
    if "cer" not in figures:
        return line
    cut = f", {int(figures['cut'])} of them cut off" if figures["cut"] else ""
    return f"{line}, CER {figures['cer']:.4f} WER {figures['wer']:.4f} over {int(figures['generated'])} pages{cut}"


def _open_board(folder: Path, first_step: int) -> "SummaryWriter":
    with needs_extra("training", "train", error_type=TrainError):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(log_dir=str(folder), purge_step=first_step)
