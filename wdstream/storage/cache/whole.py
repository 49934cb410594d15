"""Whole files that a digest names, such as the columns of an index: fetched once on this machine, then mapped by all.

They are fetched by large requests into a file that has its full size from the start, so that it counts in the bound,
and are given their name when they are complete and checked.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from wdstream.storage.cache.cached import CachedStorage
from wdstream.storage.cache.folder import WRITING
from wdstream.storage.local import ByteRange

_REQUEST_BYTES = 1 << 25
_REQUESTS = 4  # at a time
_TRIES = 2  # an answer may be damaged on its way


def kept_whole(
    storage: CachedStorage, name: str, *, digest: str, size: int, is_right: Callable[[Path], bool]
) -> Path | None:
    """The file of the cache that is the remote file `name`; None where the cache takes none, or the answers were wrong.

    Args:
        storage: with the cache.
        name: of the file.
        digest: of its content.
        size: its bytes.
        is_right: whether a file is what the digest says.

    Raises:
        ShardError: the store cannot be read.
    """
    path = path_of_whole(storage, digest)
    folder = storage.folder
    try:
        if not _is_kept(path) and folder.is_writable:
            with folder.claim(folder.claim_of(path.name), waits=True):
                for _ in range(_TRIES):
                    if not _is_kept(path) and folder.begin(path, size):
                        _fetch(storage, name, path, size, is_right)
        if _is_kept(path):
            with suppress(PermissionError):  # of another user: it counts as unused
                os.utime(path)
            return path
    except OSError as error:
        folder.failed(error)
    return None


def _is_kept(path: Path) -> bool:
    """Whether a file is there and can be read, which one of another user may not be."""
    return path.is_file() and os.access(path, os.R_OK)


def path_of_whole(storage: CachedStorage, digest: str) -> Path:
    """Where the file of this digest is, or would be."""
    return storage.folder.columns / digest


def _fetch(storage: CachedStorage, name: str, path: Path, size: int, is_right: Callable[[Path], bool]) -> None:
    temp = path.with_name(path.name + WRITING)
    try:
        with temp.open("r+b") as file:
            for ranges in _requests(name, size):
                for data in storage.source.read_many(ranges):
                    file.write(data)
            is_whole = file.tell() == size
        if is_whole and is_right(temp):
            temp.replace(path)
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def _requests(name: str, size: int) -> Iterator[list[ByteRange]]:
    """All of a file as ranges, those that are asked for side by side together."""
    starts = range(0, size, _REQUEST_BYTES)
    for first in range(0, len(starts), _REQUESTS):
        yield [
            ByteRange(name=name, offset=start, length=min(_REQUEST_BYTES, size - start))
            for start in starts[first : first + _REQUESTS]
        ]
