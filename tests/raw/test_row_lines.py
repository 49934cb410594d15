import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from wdstream.errors import SourceError
from wdstream.raw.reading import reading
from wdstream.raw.row_lines import FoundRow, ReachedRow, find_lines, mark_rows, reached_in, rows_from_mark
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


def test_a_range_begins_at_the_row_that_was_reached() -> None:
    data = b"".join(f"line {n}\n".encode() for n in range(1, 2501))
    begun: list[int] = []

    def find(file: BinaryIO, place: int) -> Iterator[FoundRow]:
        begun.append(place)
        return find_lines(file, place)

    file, reached = io.BytesIO(data), ReachedRow()
    _, marks = mark_rows(find_lines(file, 0))
    read = [list(rows_from_mark(file, find, marks, first, 3, reached)) for first in (1400, 1403, 1100, 2400)]
    assert [rows[0] for rows in read] == [(n, f"line {n}\n".encode()) for n in (1400, 1403, 1100, 2400)]
    line_1402 = data.index(b"line 1402\n")
    assert begun == [marks[1], line_1402, marks[1], marks[2]], "only what is after a mark, and not passed, is nearer"


def test_a_file_that_is_still_read_moves_on_none_that_was_opened_since(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(b"long line\n" * 9)
    two.write_bytes(b"".join(b"%d\n" % number for number in range(1, 21)))
    with one.open("rb") as first, two.open("rb") as second:
        rows = rows_from_mark(first, find_lines, [0], 1, 9, reached_in(one))
        next(rows)
        reached = reached_in(two)
        assert [number for number, _line in rows] == [*range(2, 10)]
        assert [*rows_from_mark(second, find_lines, [0], 12, 2, reached)] == [(12, b"12\n"), (13, b"13\n")]
        assert [*rows_from_mark(second, find_lines, [0], 13, 1, reached_in(two))] == [(13, b"13\n")]


def test_a_row_that_was_reached_is_of_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"a\nb\n")
    reached = reached_in(path)
    reached.number, reached.place = 2, 2
    assert (reached_in(path).number, reached_in(path).place) == (2, 2)
    path.write_bytes(b"longer\nb\n")
    assert (reached_in(path).number, reached_in(path).place) == (0, 0)
