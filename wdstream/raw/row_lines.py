"""Rows of a large file by number: the survey notes where each thousandth starts, and readers begin at that mark.

What a row is, its file's form says: a line (here), a member of an array (json_array.py), a record (csv_rows.py). Each
form finds rows from a place on, and tells the place of each, and its bytes, or None for one above `max_line_bytes`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import SourceError
from wdstream.raw.reading import limits
from wdstream.raw.remote.access import raw_state, store_of

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
        rest = _skip_rest(file, line, most) if len(line) == most else 0
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


@dataclass(slots=True)
class ReachedRow:
    """A row of a file that was read, and its place, from which those after it are found without passing others.

    Attributes:
        file: which file, and as of when.
        number: of the row.
        place: of the row.
    """

    file: tuple[object, ...] = ()
    number: int = 0
    place: int = 0


_reached: ContextVar[ReachedRow | None] = ContextVar("reached", default=None)
"""The row that this process read last: it mostly reads on where it stopped."""


def reached_in(path: Path) -> ReachedRow:
    """The row that this process read last of a file, if it is as it was then; no row of one in a store.

    Raises:
        OSError: the file cannot be looked at.
    """
    if store_of(path) is not None:
        return ReachedRow()
    identity = raw_state(path).identity
    reached = _reached.get()
    if reached is None or reached.file != identity:
        reached = ReachedRow(file=identity)  # another one: whoever still reads the file before moves its own on
        _reached.set(reached)
    return reached


def rows_from_mark(
    file: BinaryIO,
    find: RowFinder,
    marks: Sequence[int],
    first: int,
    count: int,
    reached: ReachedRow | None = None,
) -> Iterator[tuple[int, bytes | None]]:
    """Rows `first` to `first + count - 1` of a file with their numbers, found from the mark before, or from the row
    that was reached, which moves on with them.

    Raises:
        SourceError: the file is damaged at its end.
    """
    reached = reached or ReachedRow()
    mark = (first - 1) // _ROWS_PER_MARK
    start, place = mark * _ROWS_PER_MARK + 1, marks[mark]
    if start < reached.number <= first:
        start, place = reached.number, reached.place
    file.seek(place)
    found = islice(find(file, place), first - start, first - start + count)
    for number, (place, row) in enumerate(found, first):
        reached.number, reached.place = number, place
        yield number, row


def _skip_rest(file: BinaryIO, line: bytes, most: int) -> int:
    """Read to the end of a line of which only the beginning was read; returns the number of bytes skipped."""
    skipped = 0
    while len(line) == most and not line.endswith(b"\n"):
        line = file.readline(most)
        skipped += len(line)
    return skipped
