"""Files that are complete or absent: written beside their place, synced, renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMP_SUFFIX = ".tmp"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for binary writing so that it appears whole at the end of the block, or not at all.

    The bytes go to `<path>.tmp` in the same folder, are synced, and take the place of `path` in one rename; then the
    folder is synced, so that the new name survives a power cut. When the block raises, the temporary file is removed
    and an existing `path` stays as it was. A kill leaves at most a `.tmp` file, which the next write overwrites.

    Args:
        path: the file to write; its folder exists.

    Yields:
        A writable, seekable and readable binary file.
    """
    temp = path.with_name(path.name + TEMP_SUFFIX)
    try:
        with temp.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename survives a power cut once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
