"""Figures that a bench wants, printed as they are found, or in a table at its end."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


class Wanted:
    """Figures that are wanted; prints each and remembers whether all were reached."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.missed: list[str] = []

    def check(self, name: str, value: float, limit: float, *, at_least: bool, unit: str = "") -> None:
        """Print one figure next to what is wanted."""
        is_met = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        self.console.print(
            f"  {'ok    ' if is_met else 'MISSED'} {name}: {value:,.4g}{unit} (wanted {sign} {limit:,.6g}{unit})",
            style="" if is_met else "red",
            highlight=False,
        )
        if not is_met:
            self.missed.append(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the report; `is_met` is None for what is only reported."""

    what: str
    found: str
    wanted: str = ""
    is_met: bool | None = None


def show(lines: Sequence[Line], title: str, console: Console) -> list[str]:
    """Print lines as a table; returns what was missed."""
    table = Table("what", "found", "wanted", title=title)
    for line in lines:
        mark = {True: "[green]", False: "[red]", None: ""}[line.is_met]
        table.add_row(line.what, f"{mark}{line.found}", line.wanted)
    console.print(table)
    return [line.what.strip() for line in lines if line.is_met is False]
