"""`wdstream run show` in the terminal: what a run has done so far, and its figures as small curves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.storage.json_lines import read_lines

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH = 48
_SHOWN = ("loss", "lr", "grad_norm", "clipped_pct", "data_wait_pct", "step_s", "tokens_per_s", "mfu_pct", "cpu_peak_gb")
_OF_EVALUATION = ("loss", "cer")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureCurve:
    """A figure of a run over its steps, at least one."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCurves:
    """What `wdstream run show` shows.

    Attributes:
        output: of the run.
        steps: done so far.
        starts: how often it was started, as far as that is still part of it.
        failed: pages in the quarantine.
        curves: its figures.
    """

    output: Path
    steps: int
    starts: int
    failed: int
    curves: tuple[FigureCurve, ...]

    def figures(self) -> dict[str, object]:
        """As one JSON object, all values in it."""
        curves = {curve.name: {"steps": curve.steps, "values": curve.values} for curve in self.curves}
        return {"steps": self.steps, "starts": self.starts, "failed_pages": self.failed, "curves": curves}

    def print(self, console: Console) -> None:
        """Print a line about the run, and a table with a curve in each line."""
        text = f"{self.output}: {self.steps:,} steps in {self.starts} starts, {self.failed:,} pages failed"
        console.print(Text(text), soft_wrap=True)
        if not self.curves:
            console.print("no figures are written yet; every train.log_every steps there are some")
            return
        table = Table()
        for name in ("figure", "first", "last", "lowest", "highest"):
            table.add_column(name, justify="left" if name == "figure" else "right", no_wrap=True)
        table.add_column("over the steps", no_wrap=True)
        for curve in self.curves:
            values = curve.values
            ends = (values[0], values[-1], min(values), max(values))
            table.add_row(Text(curve.name), *(f"{value:.4g}" for value in ends), drawn(curve))
        console.print(table)


def run_curves(output: Path) -> RunCurves:
    """What a run has written down.

    Raises:
        TrainError: no run in the folder.
    """
    folder = read_run(output)
    return RunCurves(
        output=output,
        steps=max((line["step"] + 1 for line in folder.steps), default=0),
        starts=len(folder.starts),
        failed=len(folder.quarantine),
        curves=tuple([*_of_training(folder.files), *_of_evaluations(folder.files)]),
    )


def _of_training(files: RunLayout) -> Iterator[FigureCurve]:
    lines = list(files.read_metrics())
    own = sorted({name for line in lines for name in line if name.startswith("loss/")})
    for name in (*_SHOWN, *own):
        yield from _curve(name, name, lines)


def _of_evaluations(files: RunLayout) -> Iterator[FigureCurve]:
    lines = list(read_lines(files.evaluations, needed=("step", "name")))
    for name in sorted({line["name"] for line in lines}):
        for figure in _OF_EVALUATION:
            yield from _curve(f"eval {name}: {figure}", figure, [line for line in lines if line["name"] == name])


def _curve(title: str, name: str, lines: Sequence[Mapping[str, float]]) -> Iterator[FigureCurve]:
    """The curve of a figure, where a line has it."""
    points = [(int(line["step"]), float(line[name])) for line in lines if name in line]
    if points:
        steps, values = zip(*points, strict=True)
        yield FigureCurve(name=title, steps=steps, values=values)


def drawn(curve: FigureCurve, width: int = _WIDTH) -> str:
    """A curve as a line of blocks, each the mean of a share of the steps; a space where there is nothing."""
    first, last = curve.steps[0], curve.steps[-1]
    columns: list[list[float]] = [[] for _ in range(min(width, last - first + 1))]
    for step, value in zip(curve.steps, curve.values, strict=True):
        if isfinite(value):  # in float16 a gradient may be infinite
            columns[(step - first) * len(columns) // (last - first + 1)].append(value)
    means = [sum(values) / len(values) if values else None for values in columns]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(_LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else _LEVELS[round((mean - low) * scale)] for mean in means)
