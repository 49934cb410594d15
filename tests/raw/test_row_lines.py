import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from wdstream.errors import SourceError
from wdstream.raw.reading import reading
from wdstream.raw.row_lines import FoundRow, find_lines, mark_rows, rows_from_mark
from wdstream.raw.settings import RawSettings


def numbered(data: bytes, first: int, count: int) -> list[tuple[int, bytes | None]]:
    file = io.BytesIO(data)
    _, marks = mark_rows(find_lines(file, 0))
    return list(rows_from_mark(file, find_lines, marks, first, count))


def test_lines_by_number_across_marks() -> None:
    data = b"".join(f"line {n}\n".encode() for n in range(1, 2501))
    assert mark_rows(find_lines(io.BytesIO(data), 0)) == (2500, (0, 8893, 18893))
    assert numbered(data, 1000, 3) == [(n, f"line {n}\n".encode()) for n in (1000, 1001, 1002)]
    assert numbered(data, 2500, 2) == [(2500, b"line 2500\n")]


def test_no_newline_at_the_end_and_an_empty_file() -> None:
    assert numbered(b"a\n\nb", 1, 3) == [(1, b"a\n"), (2, b"\n"), (3, b"b")]
    assert mark_rows(find_lines(io.BytesIO(b""), 0)) == (0, ())


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    with reading(tmp_path, RawSettings(max_line_bytes=10)):
        found = numbered(b"short\n" + b"x" * 35 + b"\nlast one\n" + b"y" * 10 + b"\nend", 1, 6)
    assert [line for _, line in found] == [b"short\n", None, b"last one\n", None, b"end"]


@pytest.mark.parametrize("num_rows", [0, 3, 1000])
def test_damage_at_the_end_is_a_row(num_rows: int) -> None:
    def damaged() -> Iterator[FoundRow]:
        yield from ((place, b"row") for place in range(num_rows))
        raise SourceError("cut")

    count, marks = mark_rows(damaged())
    assert (count, len(marks)) == (num_rows + 1, num_rows // 1000 + 1)
