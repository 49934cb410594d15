"""Rows of a large file by number: the survey notes where each thousandth starts, and readers begin at that mark.

What a row is, its file's form says: a line (here), a member of an array (json_array.py), a record (csv_rows.py). Each
form finds rows from a place on, and tells the place of each, and its bytes, or None for one above `max_line_bytes`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from wdstream.errors import SourceError
from wdstream.raw.reading import limits

FoundRow = tuple[int, bytes | None]
RowFinder = Callable[[BinaryIO, int], Iterator[FoundRow]]
"""Place and bytes of the rows of an open file, from a place that it gave before, or 0.

Raises SourceError at the end where the file is damaged there.
"""
_ROWS_PER_MARK = 1000


def find_lines(file: BinaryIO, place: int) -> Iterator[FoundRow]:
    """The lines of a file from a place on."""
    most = limits().max_line_bytes
    while line := file.readline(most):
        rest = _skip_rest(file, line, most)
        yield place, None if rest else line
        place += len(line) + rest


def mark_rows(rows: Iterator[FoundRow]) -> tuple[int, tuple[int, ...]]:
    """Count rows, and note the place of each thousandth, from the first. Damage at the end counts as a row."""
    marks: list[int] = []
    count = 0
    try:
        for place, _row in rows:
            if count % _ROWS_PER_MARK == 0:
                marks.append(place)
            count += 1
    except SourceError:
        marks += [marks[-1] if marks else 0] * (count % _ROWS_PER_MARK == 0)
        count += 1
    return count, tuple(marks)


def rows_from_mark(
    file: BinaryIO, find: RowFinder, marks: Sequence[int], first: int, count: int
) -> Iterator[tuple[int, bytes | None]]:
    """Rows `first` to `first + count - 1` of a file with their numbers, found from the mark before.

    Raises:
        SourceError: the file is damaged at its end.
    """
    mark = (first - 1) // _ROWS_PER_MARK
    file.seek(marks[mark])
    passed = first - 1 - mark * _ROWS_PER_MARK
    found = islice(find(file, marks[mark]), passed, passed + count)
    yield from enumerate((row for _place, row in found), first)


def _skip_rest(file: BinaryIO, line: bytes, most: int) -> int:
    """Read to the end of a line of which only the beginning was read; returns the number of bytes skipped."""
    skipped = 0
    while len(line) == most and not line.endswith(b"\n"):
        line = file.readline(most)
        skipped += len(line)
    return skipped
