"""Files and folders that are complete or absent: written under a temporary name, synced, renamed."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import NO_ROOM, WdstreamError

TEMP_SUFFIX = ".tmp"
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
    overwrites.

    Args:
        path: the file to write; its folder exists.
        temp: the temporary file; `<path>.tmp` when left out.
        is_durable: False leaves out both syncs, for what can be made again after a power cut.
        is_last: False leaves the folder to whoever writes the last of several files there.

    Yields:
        A writable, seekable and readable binary file.
    """
    temp = temp or path.with_name(path.name + TEMP_SUFFIX)
    try:
        with naming(path), temp.open("w+b") as file:
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    if is_durable and is_last:
        sync_folder(path.parent)


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
