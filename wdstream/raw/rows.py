"""JSONL files: a line is a row, whose images are files next to it, or in the row itself.

    {"text": "see <image> and <image>", "images": ["a.png", "b.jpg"], "lang": "en"}
    {"content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "..."}]}
    {"messages": [{"role": "user", "content": "<image>Read."}, ...], "images": ["a.png"]}

wdstream/text/row_forms.py has all forms, wdstream/raw/row_files.py says where images are looked for. The text of a row
is taken word for word; it is split at placeholders here, once, and never searched again. A text of a content list that
is not to be supervised carries `"is_supervised": false`. All other fields become the row's metadata.
"""

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from wdstream.errors import RowError
from wdstream.raw.reading import limits
from wdstream.raw.row_lines import mark_lines, numbered_lines
from wdstream.raw.row_pages import FileRow, RowFileSource
from wdstream.raw.source import PageRange
from wdstream.text.characters import replace_surrogates
from wdstream.text.row_fields import unambiguous

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class RowSource(RowFileSource):
    """JSONL files: a line is a row of text and the names of its images."""

    kind = "rows"
    suffixes = (".jsonl",)

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of lines, and marks to find them by."""
        return mark_lines(path)

    def rows(self, pages: PageRange, path: Path) -> Generator[tuple[int, FileRow]]:
        """The lines of the range."""
        for number, line in numbered_lines(path, pages.file.marks, pages.first, pages.count):
            yield number, JsonRow(line)


@dataclass(frozen=True, slots=True)
class JsonRow:
    """A row in JSON; None for one above the limit."""

    line: bytes | None

    def content(self) -> bytes:
        """The row as it is written."""
        return self.line or b""

    def fields(self) -> dict[str, object] | None:
        """Its fields; None for a blank line."""
        if self.line is None:
            raise RowError(f"line is above the limit of {limits().max_line_bytes} bytes (--max-line-bytes)")
        return parse_line(self.line) if self.line.strip() else None


def parse_line(line: bytes) -> dict[str, object]:
    """The fields of a row.

    Raises:
        RowError: the line is not a JSON object in UTF-8.
    """
    try:
        row = _loaded(line.decode("utf-8-sig"))
        if _ESCAPED_SURROGATE.search(line):
            row = _loaded(replace_surrogates(json.dumps(row, ensure_ascii=False)))
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 (byte {error.start} of the line)") from error
    except RecursionError as error:
        raise RowError("not readable JSON: nested too deeply") from error
    except ValueError as error:
        raise RowError(f"not readable JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowError(f"a JSON object expected, found {type(row).__name__}")
    return row


def _loaded(text: str) -> object:
    row: object = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unambiguous)
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
