"""How full a tile cache is, shared by all processes that use it, and who has to go when it is full.

`<path>/tile-cache-usage` holds the bytes of all entries. Who writes an entry holds a lock on it, so the bound holds for
any number of processes, and a killed one, whose lock the kernel opens, leaves a wrong count at most, which the next
count puts right. When an entry does not fit, the files are counted anew and some go, down to KEPT of the bound:

    1. entries of other policies (other tilings, other versions), those of the longest unused policy first
    2. of this policy, the entries with the largest digests; from then on entries with such digests are not written

Every epoch passes over all pages, so evicting what was used longest ago would evict everything just before it is needed
again. Digests are as good as random, so what stays is a fixed share of the pages: a cache of half the size hits half
the time.

Whatever else lies in the folder is nobody's entry: it is neither counted nor ever removed.
"""

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

USAGE = "tile-cache-usage"
TEMP_PREFIX = ".writing-"
_FOLDER_NAME = re.compile(r"v\d+-[0-9a-f]{16}")  # of a policy
_PART_NAME = re.compile(r"[0-9a-f]{2}")
_ENTRY_NAME = re.compile(rf"[0-9a-f]{{40}}-\d+|{re.escape(TEMP_PREFIX)}.*")
KEPT = 0.9
_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a cache: its bytes, its policy's folder, its place."""

    path: Path
    folder: str
    size: int


class Room:
    """The bound of a cache.

    Args:
        path: the cache.
        max_bytes: of all entries of all policies.
        own: name of the folder whose entries are evicted last.
    """

    def __init__(self, path: Path, *, max_bytes: int, own: str) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._own = own
        self._limit: str | None = None  # names from here on were evicted, and would be again

    @contextmanager
    def reserve(self, name: str, size: int) -> Iterator[bool]:
        """Hold the cache while an entry of `size` bytes is written in the block; False when it must not be.

        Raises:
            OSError: the cache cannot be written to.
        """
        if size > self._max_bytes or self._is_refused(name):
            yield False
            return
        with locked_usage(self._path) as usage:
            used = read_usage(usage)
            if used is None or used + size > self._max_bytes:
                used = self._evict(size)
            is_accepted = not self._is_refused(name)
            write_usage(usage, used + size if is_accepted else used)
            yield is_accepted

    def _is_refused(self, name: str) -> bool:
        return self._limit is not None and name >= self._limit

    def _evict(self, size: int) -> int:
        """Make room for `size` bytes where it is lacking; the bytes in use then."""
        entries = list(entries_of(self._path))
        used = sum(entry.size for entry in entries)
        if used + size <= self._max_bytes:
            return used
        for entry in by_right(entries, self._path, self._own):
            if used + size <= KEPT * self._max_bytes:
                break
            entry.path.unlink(missing_ok=True)
            used -= entry.size
            if entry.folder == self._own and not is_leftover(entry.path):
                self._limit = entry.path.name
        return used


def entries_of(path: Path) -> Iterator[Entry]:
    """All entries of a cache, those that killed writers began too; what vanishes meanwhile is left out."""
    for folder in policy_folders(path):
        for part in _named(folder, _PART_NAME):
            for file in _named(part, _ENTRY_NAME):
                try:
                    if file.is_file():
                        yield Entry(path=file, folder=folder.name, size=file.stat().st_size)
                except FileNotFoundError:  # evicted by another process
                    continue


def policy_folders(path: Path) -> list[Path]:
    """The folders of a cache that hold entries, by name; other folders are none of ours."""
    return [folder for folder in _named(path, _FOLDER_NAME) if folder.is_dir()]


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """What lies in a folder under such names, in order; nothing when it is gone, or no folder."""
    try:
        return sorted(item for item in folder.iterdir() if pattern.fullmatch(item.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def by_right(entries: list[Entry], path: Path, own: str | None) -> list[Entry]:
    """Entries in the order in which they go: what killed writers left, other policies, then `own` by its digests."""
    used = {folder: (path / folder).stat().st_mtime_ns for folder in {entry.folder for entry in entries}}
    by_digest = sorted(entries, key=lambda entry: entry.path.name, reverse=True)
    return sorted(by_digest, key=lambda entry: (not is_leftover(entry.path), entry.folder == own, used[entry.folder]))


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process had begun to write; who asks holds the lock, so nobody writes now."""
    return path.name.startswith(TEMP_PREFIX)


@contextmanager
def locked_usage(path: Path) -> Iterator[BinaryIO]:
    """The usage file of a cache, for one writer at a time: among threads and among processes."""
    with (path / USAGE).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def read_usage(file: BinaryIO) -> int | None:
    """The bytes in use, as last counted; None when nobody counted, or the count is torn."""
    file.seek(0)
    data = file.read()
    return int.from_bytes(data, "little") if len(data) == _COUNT_BYTES else None


def write_usage(file: BinaryIO, used: int) -> None:
    """Keep the bytes in use."""
    file.seek(0)
    file.truncate()
    file.write(used.to_bytes(_COUNT_BYTES, "little"))
    file.flush()
