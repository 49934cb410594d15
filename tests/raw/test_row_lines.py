from pathlib import Path

import pytest

from wdstream.errors import SourceError
from wdstream.raw.reading import reading
from wdstream.raw.row_lines import mark_lines, numbered_lines
from wdstream.raw.settings import RawSettings


def test_lines_by_number_across_marks(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(f"line {n}\n".encode() for n in range(1, 2501)))
    num_lines, marks = mark_lines(path)
    assert (num_lines, marks) == (2500, (0, 8893, 18893))
    assert list(numbered_lines(path, marks, 1000, 3)) == [(n, f"line {n}\n".encode()) for n in (1000, 1001, 1002)]
    assert list(numbered_lines(path, marks, 2500, 1)) == [(2500, b"line 2500\n")]


def test_no_newline_at_the_end_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"a\n\nb")
    _, marks = mark_lines(path)
    assert list(numbered_lines(path, marks, 1, 3)) == [(1, b"a\n"), (2, b"\n"), (3, b"b")]
    path.write_bytes(b"")
    assert mark_lines(path) == (0, ())


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"short\n" + b"x" * 35 + b"\nlast one\n" + b"y" * 10 + b"\nend")
    with reading(tmp_path, RawSettings(max_line_bytes=10)):
        num_lines, marks = mark_lines(path)
        found = [line for _, line in numbered_lines(path, marks, 1, 5)]
    assert num_lines == 5
    assert found == [b"short\n", None, b"last one\n", None, b"end"]


def test_a_file_that_was_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"a\nb\nc\n")
    _, marks = mark_lines(path)
    path.write_bytes(b"a\n")
    with pytest.raises(SourceError, match="file ends before line 2; it was cut after its lines were counted"):
        list(numbered_lines(path, marks, 1, 3))
