"""Atomic files: whole or absent, and an old file survives a failed write."""

import errno
from pathlib import Path

import pytest

from tests.helpers.full_disk import no_file_over
from wdstream.errors import file_trouble
from wdstream.storage.atomic import atomic_folder, atomic_write, remove_unfinished, write_file
from wdstream.storage.json_lines import LineFile


def test_writes_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as file:
        file.write(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_replaces_an_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old and longer")
    with atomic_write(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"), atomic_write(target) as file:
        file.write(b"half")
        raise RuntimeError("stop")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_overwrites_a_temporary_file_left_by_a_kill(tmp_path: Path) -> None:
    (tmp_path / "a.bin.tmp").write_bytes(b"half of something longer")
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_folder_appears_whole_in_place_of_an_older_one(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        with atomic_folder(tmp_path / "a") as folder:
            write_file(folder / "file", content)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_bytes() == b"new"
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(tmp_path / "a") as folder:
        raise RuntimeError("stop")
    assert (tmp_path / "a" / "file").read_bytes() == b"new"


def test_what_a_kill_left_is_removed_files_and_folders(tmp_path: Path) -> None:
    for name in ("a.tmp", ".nv-meta.tmp/inner", "b", "c.tmp.d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.tmp").symlink_to(tmp_path / "b")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c.tmp.d"]


def test_a_disk_that_is_full_is_said_of_the_file(tmp_path: Path) -> None:
    """The system's own error names none: it would be a traceback."""
    lines, whole = tmp_path / "steps.jsonl", tmp_path / "whole"
    with no_file_over(1000):
        with pytest.raises(OSError, match="File too large") as of_lines:
            LineFile(lines).append({"text": "x" * 2000})
        with pytest.raises(OSError, match="File too large") as of_whole:
            write_file(whole, bytes(2000))
    for path, raised in ((lines, of_lines), (whole, of_whole)):
        expected = f"{path}: File too large; make room there, or raise the limit (quota, ulimit -f)"
        assert file_trouble(raised.value) == expected
    assert not whole.exists()
    unnamed = file_trouble(OSError(errno.ENOSPC, "No space left on device"))
    assert unnamed == "a file: No space left on device; make room there, or raise the limit (quota, ulimit -f)"
    with pytest.raises(OSError, match="Connection reset"):
        file_trouble(OSError(errno.ECONNRESET, "Connection reset by peer"))
