"""Growing files: torn and zeroed ends, damage in the middle, and cutting back to a checkpoint."""

from pathlib import Path

import pytest

from wdstream.errors import DamagedFileError
from wdstream.storage.json_lines import LineFile, cut_back, read_lines, sync_lines

LINES = [{"step": 0, "key": "é\n"}, {"step": 1, "key": "b"}, {"step": 2, "key": "c"}]


def write(path: Path) -> bytes:
    """Three lines; returns their bytes."""
    for line in LINES:
        LineFile(path).append(line)
    sync_lines(path)
    return path.read_bytes()


def test_append_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert list(read_lines(path)) == []
    LineFile(path).append({"step": 0, "key": "é\n"})
    LineFile(path).append({"step": 1})
    assert path.read_bytes() == '{"step": 0, "key": "é\\n"}\n{"step": 1}\n'.encode()
    assert list(read_lines(path)) == [{"step": 0, "key": "é\n"}, {"step": 1}]


def test_cut_back_drops_later_steps_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 3}\n{"step": 4}\n{"step": 5}\n{"ste')
    cut_back(path, next_step=5)
    assert path.read_text() == '{"step": 3}\n{"step": 4}\n'
    cut_back(tmp_path / "none.jsonl", next_step=5)
    assert not (tmp_path / "none.jsonl").exists()


def test_an_end_that_is_torn_anywhere_is_passed_over(tmp_path: Path) -> None:
    """At every byte of the last two lines: by a kill, or with zeros in place of what did not reach the disk."""
    path = tmp_path / "a.jsonl"
    whole = write(path)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0], len(whole) + 1):
        num_whole = sum(end <= cut for end in ends)
        zeros = bytes(len(whole) - cut)
        for rest in (b"", zeros, zeros + b"\n", zeros + b"\n" + bytes(20), b"\n" * 3):
            path.write_bytes(whole[:cut] + rest)
            is_ended = cut + 1 in ends and rest.startswith(b"\n")  # only the line end was torn off, and is back
            found = list(read_lines(path))
            assert found == LINES[: num_whole + is_ended], (cut, rest)
            cut_back(path, next_step=9)
            LineFile(path).append({"step": 3})
            assert list(read_lines(path)) == [*found, {"step": 3}]
            assert path.read_bytes().count(b"\n") == len(found) + 1


@pytest.mark.parametrize(
    "damage", [b"\0" * 24, b'{"step": 1, "ke', b"[1]", b"3", b"\xff\xfe", b"", b"[" * 100_000, b"{}"]
)
def test_damage_in_the_middle_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.jsonl"
    first, _, last = write(path).splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + last)
    for read in (lambda: list(read_lines(path, needed=("step", "key"))), lambda: cut_back(path, next_step=9)):
        with pytest.raises(
            DamagedFileError, match=r"a\.jsonl: line 2 is damaged, and line 3 after it is not"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == first + damage + b"\n" + last


def test_a_line_that_is_there_twice_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = write(path)
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1])
    cut_back(path, next_step=9)
    assert path.read_bytes() == whole


def test_what_is_synced_need_not_exist(tmp_path: Path) -> None:
    sync_lines(tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()
