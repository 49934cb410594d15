"""How full a tile cache is, shared by all processes that use it; what is evicted when it is full; info and prune.

`<path>/tile-cache-usage` holds the bytes of all entries. Whoever writes an entry holds a lock on it, so the bound holds
for any number of processes; a process that is killed leaves a wrong count at most, which the next count corrects. When
an entry does not fit, the files are counted again and some are evicted, down to KEPT of the bound:

    1. entries of other policies (other tilings, other versions), those of the longest unused policy first
    2. of this policy, the entries with the largest digests; from then on entries with such digests are not written

Every epoch passes over all pages, so evicting what was used longest ago would evict everything just before it is needed
again. Digests are as good as random, so what stays is a fixed share of the pages: a cache of half the size hits half
the time.

Anything else in the folder is not the cache's: it is neither counted nor ever removed. `wdstream cache info|prune` are
safe while runs use the cache.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wdstream.errors import ConfigError
from wdstream.storage.lock import brief_lock

if TYPE_CHECKING:
    from rich.console import Console

USAGE = "tile-cache-usage"
TEMP_PREFIX = ".writing-"
_FOLDER_NAME = re.compile(r"v\d+-[0-9a-f]{16}")  # of a policy
_SUBFOLDER_NAME = re.compile(r"[0-9a-f]{2}")
_ENTRY_NAME = re.compile(rf"[0-9a-f]{{40}}-\d+|{re.escape(TEMP_PREFIX)}.*")
KEPT = 0.9
_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a cache: its path, its policy's folder, its bytes."""

    path: Path
    folder: str
    size: int


class CacheSpace:
    """The bound of a cache.

    Args:
        path: the cache.
        max_bytes: of all entries of all policies.
        newest: name of the folder whose entries are evicted last.
    """

    def __init__(self, path: Path, *, max_bytes: int, newest: str) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._newest = newest
        self._limit: str | None = None  # names from here on were evicted, and would be again

    @contextmanager
    def reserve(self, name: str, size: int) -> Iterator[bool]:
        """Lock the cache while an entry of `size` bytes is written in the block; gives False when it must not be.

        Raises:
            OSError: the cache cannot be written to.
        """
        if size > self._max_bytes or self._is_refused(name):
            yield False
            return
        with locked_usage(self._path) as usage:
            used = _read_usage(usage)
            if used is None or used + size > self._max_bytes:
                used = self._evict(size)
            is_accepted = not self._is_refused(name)
            _write_usage(usage, used + size if is_accepted else used)
            yield is_accepted

    def _is_refused(self, name: str) -> bool:
        return self._limit is not None and name >= self._limit

    def _evict(self, size: int) -> int:
        """Make room for `size` bytes where it is lacking; returns the bytes then in use."""
        entries = list(entries_of(self._path))
        used = sum(entry.size for entry in entries)
        if used + size <= self._max_bytes:
            return used
        for entry in eviction_order(entries, self._path, self._newest):
            if used + size <= KEPT * self._max_bytes:
                break
            entry.path.unlink(missing_ok=True)
            used -= entry.size
            if entry.folder == self._newest and not is_leftover(entry.path):
                self._limit = entry.path.name
        return used


def entries_of(path: Path) -> Iterator[Entry]:
    """All entries of a cache, also those that killed writers began; what vanishes meanwhile is left out."""
    for folder in policy_folders(path):
        for subfolder in _named(folder, _SUBFOLDER_NAME):
            for file in _named(subfolder, _ENTRY_NAME):
                try:
                    if file.is_file():
                        yield Entry(path=file, folder=folder.name, size=file.stat().st_size)
                except FileNotFoundError:  # evicted by another process
                    continue


def policy_folders(path: Path) -> list[Path]:
    """The folders of a cache that hold entries, by name; no other folder is the cache's."""
    return [folder for folder in _named(path, _FOLDER_NAME) if folder.is_dir()]


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """What a folder holds under such names, in order; nothing when it is gone, or not a folder."""
    try:
        return sorted(item for item in folder.iterdir() if pattern.fullmatch(item.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def eviction_order(entries: list[Entry], path: Path, newest: str | None) -> list[Entry]:
    """Entries in the order of eviction: what killed writers left, other policies, then `newest` by its digests."""
    used = {folder: (path / folder).stat().st_mtime_ns for folder in {entry.folder for entry in entries}}
    by_digest = sorted(entries, key=lambda entry: entry.path.name, reverse=True)
    return sorted(
        by_digest, key=lambda entry: (not is_leftover(entry.path), entry.folder == newest, used[entry.folder])
    )


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process had begun to write; the caller holds the lock, so nobody writes now."""
    return path.name.startswith(TEMP_PREFIX)


def locked_usage(path: Path) -> AbstractContextManager[BinaryIO]:
    """The usage file of a cache, for one writer at a time among threads and processes."""
    return brief_lock(path / USAGE)


def _read_usage(file: BinaryIO) -> int | None:
    """The bytes in use, as last counted; None when nobody has counted, or the count is torn."""
    file.seek(0)
    data = file.read()
    return int.from_bytes(data, "little") if len(data) == _COUNT_BYTES else None


def _write_usage(file: BinaryIO, used: int) -> None:
    """Replace the count of bytes in use."""
    file.seek(0)
    file.truncate()
    file.write(used.to_bytes(_COUNT_BYTES, "little"))
    file.flush()


MEBI = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUse:
    """What one policy (a tiling, a way of decoding, versions of libraries) takes: entries and bytes."""

    folder: str
    num_entries: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """A cache: its policies, the longest unused first."""

    path: Path
    policies: tuple[PolicyUse, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(policy.num_bytes for policy in self.policies)

    def print(self, console: "Console") -> None:
        """A table, one line per policy."""
        from rich.table import Table

        table = Table("policy, the last used below", "images", "MiB", title=f"tile cache {self.path}")
        for policy in self.policies:
            table.add_row(policy.folder, f"{policy.num_entries:,}", f"{policy.num_bytes / MEBI:,.1f}")
        total = sum(policy.num_entries for policy in self.policies)
        table.add_row("all", f"{total:,}", f"{self.num_bytes / MEBI:,.1f}")
        console.print(table)


def cache_info(path: Path) -> CacheInfo:
    """What a cache holds.

    Raises:
        ConfigError: there is no tile cache.
    """
    _check(path)
    entries = list(entries_of(path))
    sizes: Counter[str] = Counter()
    for entry in entries:
        sizes[entry.folder] += entry.size
    counts = Counter(entry.folder for entry in entries)
    uses = [PolicyUse(folder=name, num_entries=counts[name], num_bytes=sizes[name]) for name in folders_by_use(path)]
    return CacheInfo(path=path, policies=tuple(uses))


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What was removed from a cache, and the bytes that are left."""

    path: Path
    num_removed: int
    bytes_removed: int
    bytes_left: int

    def print(self, console: "Console") -> None:
        """One line on what was removed."""
        console.print(
            f"{self.path}: {self.num_removed:,} entries removed, {self.bytes_removed / MEBI:,.1f} MiB; "
            f"{self.bytes_left / MEBI:,.1f} MiB left",
            highlight=False,
            soft_wrap=True,
        )


def prune_cache(path: Path, *, max_bytes: int | None = None) -> PruneReport:
    """Remove what killed runs left, and entries until at most `max_bytes` are left, the longest unused policies first.

    Args:
        path: of the cache.
        max_bytes: None keeps the policy used last, whole, and nothing else.

    Raises:
        ConfigError: there is no tile cache.
    """
    _check(path)
    with locked_usage(path) as usage:
        last = next(reversed(folders_by_use(path)), None)
        entries = list(entries_of(path))
        left = sum(entry.size for entry in entries)
        removed: list[Entry] = []
        for entry in eviction_order(entries, path, newest=last):
            is_wanted = left <= max_bytes if max_bytes is not None else entry.folder == last
            if is_wanted and not is_leftover(entry.path):
                continue
            entry.path.unlink(missing_ok=True)
            left -= entry.size
            removed.append(entry)
        _write_usage(usage, left)
        _remove_empty(path)  # under the lock: a writer makes folders, then the file in them
    return PruneReport(
        path=path, num_removed=len(removed), bytes_removed=sum(entry.size for entry in removed), bytes_left=left
    )


def folders_by_use(path: Path) -> list[str]:
    """The folders of a cache's policies, the longest unused first."""
    used: list[tuple[int, str]] = []
    for folder in policy_folders(path):
        with suppress(FileNotFoundError):  # pruned meanwhile
            used.append((folder.stat().st_mtime_ns, folder.name))
    return [name for _, name in sorted(used)]


def _remove_empty(path: Path) -> None:
    """Remove folders without entries; those that stay keep the time of their last use."""
    for folder in policy_folders(path):
        times = folder.stat()
        for inner in (*folder.iterdir(), folder):
            with suppress(OSError):  # not empty, or no folder
                inner.rmdir()
        if folder.exists():
            os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def _check(path: Path) -> None:
    if not (path / USAGE).is_file():
        raise ConfigError(
            f"{path}: no tile cache there; expected a folder with a file '{USAGE}', as data.tile_cache.path names it"
        )
