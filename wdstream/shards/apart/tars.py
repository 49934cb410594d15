"""Where the bytes of tars are: in the folder that describes them, or at an address of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from wdstream.errors import ShardError
from wdstream.shards.tar_header import ReadAt
from wdstream.storage.ahead import ReadAhead
from wdstream.storage.local import Storage, file_error, read_exactly
from wdstream.storage.remote import open_storage


@dataclass(frozen=True, slots=True, kw_only=True)
class TarElsewhere:
    """A tar that is not next to what describes it.

    Attributes:
        at: folder or URL.
        name: of the tar there.
        num_bytes: of the tar, as it was listed.
        has_idx: whether `x.tar.idx` belongs next to what describes it, which is copied to where the tar is.
    """

    at: str
    name: str
    num_bytes: int
    has_idx: bool = False


@contextmanager
def reads_of_tar(tar: Path, elsewhere: TarElsewhere | None = None) -> Iterator[tuple[ReadAt, int]]:
    """Reads of a tar, and its bytes; one at a URL is read front to back in large ranges.

    Raises:
        ShardError: it cannot be opened or read.
    """
    if elsewhere is not None:
        storage = _storage_at(elsewhere.at)
        path = storage.local_path(elsewhere.name)
        if path is None:
            with ReadAhead(storage.read, elsewhere.name, elsewhere.num_bytes) as ahead:
                yield ahead.read, elsewhere.num_bytes
            return
        tar = path
    try:
        descriptor = os.open(tar, os.O_RDONLY)
    except OSError as error:
        raise ShardError(f"{tar} cannot be opened: {error}") from file_error(tar, error)
    try:
        yield partial(read_exactly, descriptor), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


@lru_cache(maxsize=4)
def _storage_at(address: str) -> Storage:
    """One for all tars of a process, so that connections are kept."""
    return open_storage(address)
