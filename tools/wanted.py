"""Figures that a bench wants, printed as they are found."""

from rich.console import Console


class Wanted:
    """Figures that are wanted; prints each and remembers whether all were reached."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.missed: list[str] = []

    def check(self, name: str, value: float, limit: float, *, at_least: bool, unit: str = "") -> None:
        """Print one figure beside what is wanted."""
        is_met = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        self.console.print(
            f"  {'ok    ' if is_met else 'MISSED'} {name}: {value:,.4g}{unit} (wanted {sign} {limit:,.6g}{unit})",
            style="" if is_met else "red",
            highlight=False,
        )
        if not is_met:
            self.missed.append(name)
