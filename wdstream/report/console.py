"""The way to the terminal: whatever is printed by it, nothing that came from a file acts on the terminal.

Every command prints by `PrintableConsole`; warnings of the package's log go through `show_log`. Both use
`text.characters.printable`, so that names of files, keys, errors of libraries and text of pages need no care where they
are printed.
"""

import io
import logging
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.rule import Rule
from rich.segment import Segment
from rich.text import Text, TextType

from wdstream.storage.addresses import without_passwords
from wdstream.text.characters import printable

UNCUT = 100_000
"""Columns of a file, or of another program that reads what is printed."""
LEAST = 40
"""Columns of a terminal, at least; where it has fewer it breaks the lines."""
RULE_WIDTH = 100
"""Columns of a line that divides, at most."""


class PrintableConsole(Console):
    """A console of rich on which control characters and marks of direction are written out: ESC becomes ␛.

    Lines are cut to fit a terminal, and only there: a key that grep looks for is in one piece.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and rows: of the terminal, or as COLUMNS says; where neither is there, lines are not cut. In fewer
        columns than a table needs it would show nothing, and some programs say 0."""
        found = super().size
        is_known = self.is_terminal or self._width
        return ConsoleDimensions(max(found.width, LEAST) if is_known else UNCUT, found.height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size

    def render_str(self, text: str, **options: Any) -> Text:
        """A string of a line or of a table's cell, as it is shown before its width is measured."""
        return super().render_str(shown_text(text), **options)

    def rule(self, title: TextType = "", **options: Any) -> None:
        """A line that divides, with a title: in a file not as wide as lines may be there."""
        self.print(Rule(title, **options), width=min(self.width, RULE_WIDTH))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever else is printed; moves of the cursor by rich itself are control segments, and stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown_text(segment.text), segment.style)


def shown_text(text: str) -> str:
    """A text as it is shown to people: nothing in it acts on the terminal, and addresses are without passwords."""
    return printable(without_passwords(text))


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown_text(super().format(record))


class _PrintableRecord(logging.LogRecord):
    """A line of any library's log, such as of one that quotes from a model folder."""

    def getMessage(self) -> str:
        return shown_text(super().getMessage())


def show_every_character() -> None:
    """Where the encoding of the output lacks a character of a key or a curve, as ASCII does, it is written as an escape
    and not the end of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # closed ones are None
            stream.reconfigure(errors="backslashreplace")


def show_log() -> None:
    """Print the package's log on standard error; these and all other logs as `PrintableConsole` would.

    Once, however often called. For commands: a program that uses the package has its own logging.
    """
    logging.setLogRecordFactory(_PrintableRecord)
    log = logging.getLogger("wdstream")
    if not log.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_PrintableFormatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
