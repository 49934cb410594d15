"""`wdstream run losses` in the terminal, as CSV and as JSON."""

import csv
import io
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.report.words import counted
from wdstream.runs.loss_report import LossLine, LossReport
from wdstream.text.characters import printable


def print_losses(report: LossReport, console: Console) -> None:
    """Print a table, a line per document or group; nothing in it is markup."""
    names = _columns(report)
    table = Table(title=f"loss of {counted(report.num_rows, 'document')}, the highest first")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name != "name", justify="left" if _is_text(name) else "right")
    for line in report.lines:
        table.add_row(*(Text(text) for text in _row(line, names)))
    console.print(table)


def losses_as_csv(report: LossReport) -> str:
    """A head and a line per document or group; control characters of keys are written out."""
    names = _columns(report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for line in report.lines:
        writer.writerow([printable(str(value)) for name, value in asdict(line).items() if name in names])
    return text.getvalue()


def losses_as_json(report: LossReport) -> str:
    """One object, all lines in it."""
    names = _columns(report)
    lines = [{name: value for name, value in asdict(line).items() if name in names} for line in report.lines]
    return json.dumps({"by": report.by, "documents": report.num_rows, "lines": lines}, indent=2)


def _columns(report: LossReport) -> list[str]:
    left_out = {None: {"pages"}, "page": {"step"}}.get(report.by, {"step", "dataset"})
    return [name for name in LossLine.__dataclass_fields__ if name not in left_out]


def _row(line: LossLine, names: list[str]) -> list[str]:
    values = asdict(line)
    return [f"{values[name]:.4f}" if name == "loss" else str(values[name]) for name in names]


def _is_text(name: str) -> bool:
    return name in ("name", "dataset")
