"""Atomic files: whole or absent, and an old file survives a failed write."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from tests.helpers.full_disk import no_file_over
from wdstream.errors import file_trouble, write_trouble
from wdstream.storage import atomic
from wdstream.storage.atomic import atomic_folder, atomic_write, remove_unfinished, write_file
from wdstream.storage.json_lines import LineFile
from wdstream.storage.lock import folder_lock


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


def test_two_writers_of_one_file_write_it_one_after_the_other(tmp_path: Path) -> None:
    target, begun, written = tmp_path / "a.bin", threading.Event(), list[bytes]()

    def write_second() -> None:
        begun.set()
        with atomic_write(target) as file:
            written.append(target.read_bytes())
            file.write(b"second")

    second = threading.Thread(target=write_second)
    with atomic_write(target) as file:
        file.write(b"the first, ")
        second.start()
        begun.wait()
        time.sleep(0.2)  # the second could take the file from the first, and would
        file.write(b"longer")
    second.join()
    assert written == [b"the first, longer"]
    assert target.read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_writer_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_WAIT_S", 0.1)
    with atomic_write(tmp_path / "a.bin"):
        with pytest.raises(OSError, match="another process is writing it") as raised, atomic_write(tmp_path / "a.bin"):
            raise AssertionError
        assert file_trouble(raised.value) == (
            f"{tmp_path}/a.bin.tmp: another process is writing it; wait until that has ended"
        )
    assert (tmp_path / "a.bin").read_bytes() == b""


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As NFS without its lock daemon, and Lustre without its option `flock`: neither runs here."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with folder_lock(tmp_path, wait_s=1.0):
        write_file(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_temporary_file_that_is_another_file_too_is_not_written_into(tmp_path: Path) -> None:
    """As a kill of `bring_file` leaves one."""
    (tmp_path / "part.bin").write_bytes(b"of the part")
    os.link(tmp_path / "part.bin", tmp_path / "a.bin.tmp")
    write_file(tmp_path / "a.bin", b"new")
    assert (tmp_path / "part.bin").read_bytes() == b"of the part"
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert len([*tmp_path.iterdir()]) == 2


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


@pytest.mark.parametrize(
    ("code", "filename", "line"),
    [
        (errno.EMFILE, None, "Too many open files; raise the limit (ulimit -n 4096), or use fewer workers at once"),
        (errno.ENFILE, "a", "Too many open files in system to open a; raise the limit (ulimit -n 4096), or use fewer"),
        (errno.EAGAIN, None, "a process: Resource temporarily unavailable; free memory, raise the limits (ulimit -u"),
        (errno.EIO, None, "a file: Input/output error; the device or file system fails; try again, or look at it"),
        (errno.EROFS, "a", "a: Read-only file system; that file system is read-only: name a place that can be written"),
        (errno.ENAMETOOLONG, "a", "a: File name too long; name a shorter path"),
        (errno.EDQUOT, "a", "a: Disk quota exceeded; make room there, or raise the limit (quota, ulimit -f)"),
        (errno.EACCES, "a", "a: Permission denied; is the path right, and may you read and write there?"),
    ],
)
def test_what_the_system_says_comes_with_what_helps(code: int, filename: str | None, line: str) -> None:
    assert file_trouble(OSError(code, os.strerror(code), filename)).startswith(line)


def test_what_ends_a_job_says_what_helps() -> None:
    again = "when that is put right, run the same command again: it continues"
    assert str(write_trouble("out", OSError(errno.EMFILE, "Too many open files"))) == (
        "out: cannot be written (Too many open files); raise the limit (ulimit -n 4096), or use fewer workers at once; "
        + again
    )
    assert str(write_trouble("out", OSError(errno.EACCES, "Permission denied", "out/a"))) == (
        f"out: cannot be written (Permission denied); {again}"
    )
