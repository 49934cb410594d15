"""The progress bar: lines come and go with their tasks, figures are below them, and no text is markup."""

import io

import pytest
from rich.console import Console

from wdstream.report import progress
from wdstream.report.progress import ProgressBar


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=120, force_terminal=True, color_system=None), file


def drawn(bar: ProgressBar) -> list[str]:
    """The lines of the bar as they are now, without the spaces that make columns."""
    console, file = terminal()
    for part in bar.get_renderables():
        console.print(part)
    return [" ".join(line.split()) for line in file.getvalue().splitlines() if line.strip()]


def test_a_line_for_each_task() -> None:
    console, _ = terminal()
    with ProgressBar(console) as bar:
        on_bytes, on_pages = bar.task("indexing [a]", "bytes"), bar.task("counting", "pages")
        on_bytes(3, 10)
        on_pages(0, 5)
        on_bytes(7, 10)
        first, second = drawn(bar)
        assert first.startswith("indexing [a] ━") and "7/10" in first
        assert second.startswith("counting") and "0/5" in second
        bar.remove("counting")
        bar.remove("never there")
        assert [line.split(" ")[0] for line in drawn(bar)] == ["indexing"]
        on_pages(1, 5)
        assert "1/5" in drawn(bar)[1]


def test_speed_counts_what_is_done_here() -> None:
    """Work that continues begins with what was done before, which is not speed."""
    console, _ = terminal()
    with ProgressBar(console) as bar:
        bar.show("making shards", 1000, 2000, unit="pages")
        (line,) = drawn(bar)
        assert "1000/2000" in line and "pages/s" not in line
        assert bar.tasks[0].speed is None


def test_without_a_terminal_the_time_left_is_said_once_a_speed_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of a run comes after the loading of its model: a run of 40 s was said to take 14 minutes more."""
    for name in ("_FIRST_LINE_S", "_LINE_EVERY_S"):
        monkeypatch.setattr(progress, name, 0.0)  # a line each time
    file = io.StringIO()
    with ProgressBar(Console(file=file, width=120)) as bar:
        for done in (10, 10, 11, 13):
            bar.show("steps", done, 30, unit="steps")
        bar.show("pages", 0, None, unit="pages")
    lines = file.getvalue().splitlines()
    assert lines[:3] == ["steps: 10 of 30 steps", "steps: 10 of 30 steps", "steps: 11 of 30 steps"]
    assert lines[3].startswith("steps: 13 of 30 steps, ") and lines[3].endswith(" left") and "steps/s" in lines[3]
    assert lines[4] == "pages: 0 pages"


def test_figures_below_the_tasks() -> None:
    console, _ = terminal()
    with ProgressBar(console, is_transient=False) as bar:
        bar.show("steps", 2, 4, unit="steps")
        bar.figures = "loss 1.25 [red]"
        assert drawn(bar)[1:] == ["loss 1.25 [red]"]


def test_nothing_is_left_of_a_transient_bar_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with ProgressBar(Console(file=file, width=80)) as bar:
        bar.task("indexing", "bytes")(1, 2)
    assert not file.getvalue().strip()
