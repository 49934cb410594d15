"""Nothing that came from a file acts on the terminal it is printed on."""

import io
import logging

import pytest
from rich.table import Table
from rich.text import Text

from wdstream.report.console import PrintableConsole, show_log
from wdstream.report.progress import ProgressBar

HOSTILE = "a\x1b]0;title\x07\r\x9b31m\u202egpj.exe\ud800"
WRITTEN_OUT = "a␛]0;title␇␍<U+009B>31m<U+202E>gpj.exe<U+D800>"


def printed(*things: object) -> str:
    console = PrintableConsole(file=io.StringIO(), width=80, markup=False)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_strings_cells_and_text_are_written_out() -> None:
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    shown = printed(HOSTILE, Text(HOSTILE), table)
    assert shown.count(WRITTEN_OUT) == 4
    assert shown.count(WRITTEN_OUT.replace("␇␍", "")) == 2  # rich's Text drops these two
    assert not {*shown} & {*HOSTILE} - {*WRITTEN_OUT}


def test_a_line_that_divides_is_short_in_a_file() -> None:
    console = PrintableConsole(file=io.StringIO(), _environ={})
    console.rule("the plan", align="left")
    assert console.file.getvalue() == "the plan " + "─" * 91 + "\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("columns", "width"), [("0", 100_000), ("5", 40), ("120", 120), ("x", 100_000)])
def test_a_table_is_shown_whatever_columns_says(columns: str, width: int) -> None:
    console = PrintableConsole(file=io.StringIO(), _environ={"COLUMNS": columns})
    table = Table("figure", "first")
    table.add_row("loss", "8.298")
    console.print(table)
    assert console.width == width
    assert "loss" in console.file.getvalue() and "8.298" in console.file.getvalue()  # type: ignore[attr-defined]


def test_styles_and_the_progress_bar_still_reach_the_terminal() -> None:
    console = PrintableConsole(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(Text(HOSTILE, style="red"))
    assert console.file.getvalue() == "\x1b[31m" + WRITTEN_OUT.replace("␇␍", "") + "\x1b[0m\n"  # type: ignore[attr-defined]
    with ProgressBar(console) as bar:
        bar.show(HOSTILE, 1, 2, unit="pages")
    hidden, _, shown = console.file.getvalue().partition("\x1b[?25l")  # type: ignore[attr-defined]
    assert hidden and shown, "the cursor is hidden by rich itself"
    assert "a␛]0;title" in shown and "\x1b]0" not in shown and "\x07" not in shown


def test_warnings_of_the_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log = logging.getLogger("wdstream")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(log, "handlers", [])
    show_log()
    show_log()
    log.warning("page %s", HOSTILE)
    assert capsys.readouterr().err == f"page {WRITTEN_OUT}\n"


def test_passwords_in_addresses_are_not_shown() -> None:
    url = "http://joe:hidden@host/x"
    table = Table("a")
    table.add_row(url)
    shown = printed(url, f"{url}: at 12:30 by a@b", table)
    assert "hidden" not in shown and shown.count("joe:***@host/x") == 3 and "at 12:30 by a@b" in shown


def test_lines_are_cut_for_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "scans/" + 200 * "x"
    for columns, is_terminal, is_whole in (("", False, True), ("80", False, False), ("", True, False)):
        monkeypatch.setenv("COLUMNS", columns)
        file, table = io.StringIO(), Table("key", "step")
        table.add_row(key, "1")
        PrintableConsole(file=file, force_terminal=is_terminal).print(table)
        assert any(key in line for line in file.getvalue().splitlines()) == is_whole
