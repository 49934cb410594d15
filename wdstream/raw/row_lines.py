"""Lines of a large file by number: the survey notes where each thousandth starts, and readers seek to that mark."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import SourceError
from wdstream.raw.reading import limits

_LINES_PER_MARK = 1000


def mark_lines(path: Path) -> tuple[int, tuple[int, ...]]:
    """Count a file's lines, and note the offset of each thousandth, from the first.

    Raises:
        OSError: the file cannot be read.
    """
    marks: list[int] = []
    num_lines = offset = 0
    most = limits().max_line_bytes
    with path.open("rb") as file:
        while line := file.readline(most):
            if num_lines % _LINES_PER_MARK == 0:
                marks.append(offset)
            num_lines += 1
            offset += len(line) + _skip_rest(file, line, most)
    return num_lines, tuple(marks)


def numbered_lines(path: Path, marks: Sequence[int], first: int, count: int) -> Iterator[tuple[int, bytes | None]]:
    """Lines `first` to `first + count - 1`, from 1, with their numbers; None for one above `max_line_bytes`.

    Raises:
        SourceError: the file ends before, as it was cut after its lines were counted.
        OSError: the file cannot be read.
    """
    most = limits().max_line_bytes
    mark = (first - 1) // _LINES_PER_MARK
    with path.open("rb") as file:
        file.seek(marks[mark])
        for number in range(mark * _LINES_PER_MARK + 1, first + count):
            line = file.readline(most)
            is_long = _skip_rest(file, line, most) > 0
            if not line:
                raise SourceError(f"file ends before line {number}; it was cut after its lines were counted")
            if number >= first:
                yield number, None if is_long else line


def _skip_rest(file: BinaryIO, line: bytes, most: int) -> int:
    """Read to the end of a line of which only the beginning was read; returns the number of bytes skipped."""
    skipped = 0
    while len(line) == most and not line.endswith(b"\n"):
        line = file.readline(most)
        skipped += len(line)
    return skipped
