"""Files and folders that are complete or absent: written under a temporary name, synced, renamed."""

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import NO_ROOM, WdstreamError
from wdstream.storage.tries import Deadline

TEMP_SUFFIX = ".tmp"
LOCKS_NOTHING = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of file systems that have no locks (Lustre without its option `flock`), or none for this kind of file."""
_WAIT_S = 60.0
_POLL_S = 0.02
_IN_WORDS = re.compile(r"\(os error (\d+)\)")
"""The number of a system's error in those of libraries that are written in Rust, such as safetensors."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, the error of a write that fails, as on a disk that is full, names this file: the system's does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (*NO_ROOM, errno.EIO):
            error.filename = str(path)
        raise
    except WdstreamError:
        raise
    except Exception as error:
        found = _IN_WORDS.search(str(error))
        if found is None or int(found[1]) not in (*NO_ROOM, errno.EIO):
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


@contextmanager
def atomic_write(
    path: Path, *, temp: Path | None = None, is_durable: bool = True, is_last: bool = True
) -> Iterator[BinaryIO]:
    """Open `path` for binary writing so that it appears whole at the end of the block, or not at all.

    The bytes go to a temporary file in the same folder, are synced, and take the place of `path` in one rename; then
    the folder is synced, so that the new name survives a power cut. When the block raises, the temporary file is
    removed and an existing `path` stays as it was. A kill leaves at most the temporary file, which the next write
    overwrites. Of two that write `path` at the same time, one waits for the other.

    Args:
        path: the file to write; its folder exists.
        temp: the temporary file; `<path>.tmp` when left out.
        is_durable: False leaves out both syncs, for what can be made again after a power cut.
        is_last: False leaves the folder to whoever writes the last of several files there.

    Yields:
        A writable, seekable and readable binary file.
    """
    temp = temp or path.with_name(path.name + TEMP_SUFFIX)
    with naming(path), _opened_alone(temp) as file:
        try:
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
            temp.replace(path)  # while nobody else can open it
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    if is_durable and is_last:
        sync_folder(path.parent)


@contextmanager
def _opened_alone(temp: Path) -> Iterator[BinaryIO]:
    """A temporary file, empty, that no other process or thread has open to write.

    Raises:
        OSError: another has, and does not end.
    """
    deadline = Deadline(_WAIT_S)
    while True:
        with open(temp, "w+b", opener=_as_it_is) as file:  # which alone takes an opener
            if _is_alone(file.fileno(), temp):
                file.truncate()
                yield file
                return
        if deadline.is_over():
            raise OSError(errno.EBUSY, "another process is writing it", str(temp))
        time.sleep(_POLL_S)


def _as_it_is(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC | os.O_CLOEXEC, 0o666)


def _is_alone(descriptor: int, temp: Path) -> bool:
    """Take the lock of a temporary file that still has its name, and no other one: a kill of `bring_file` leaves one
    that is the file of a part."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LOCKS_NOTHING:
            raise
    try:
        here, named = os.fstat(descriptor), temp.stat()
    except FileNotFoundError:
        return False
    if os.path.samestat(here, named) and here.st_nlink > 1:
        temp.unlink(missing_ok=True)
        return False
    return os.path.samestat(here, named)


def write_file(path: Path, data: bytes, *, is_last: bool = True) -> None:
    """Write all of a file by `atomic_write`."""
    with atomic_write(path, is_last=is_last) as file:
        file.write(data)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill the folder `path` so that it appears whole at the end of the block, in place of an older one.

    When the block raises, `<path>.tmp` stays, to be looked at; the next call removes it.

    Yields:
        An empty folder, `<path>.tmp`, to write to.
    """
    temp = path.with_name(path.name + TEMP_SUFFIX)
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    with naming(path):
        yield temp
    shutil.rmtree(path, ignore_errors=True)
    temp.rename(path)


def bring_file(source: Path, target: Path) -> None:
    """The same file at another place, whole or not at all: a second name of it within one file system, else a copy.

    Both are to be files that are only ever replaced, never written into. The folder is not synced.
    """
    temp = target.with_name(target.name + TEMP_SUFFIX)
    temp.unlink(missing_ok=True)
    try:
        os.link(source, temp)
    except OSError:
        shutil.copyfile(source, temp)
        with temp.open("rb") as file:
            os.fsync(file.fileno())
    temp.replace(target)


def remove_unfinished(folder: Path, pattern: str = "*") -> None:
    """Remove what a kill left of files and folders whose names fit the pattern: their temporary ones."""
    for path in folder.glob(pattern + TEMP_SUFFIX):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename survives a power cut once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
