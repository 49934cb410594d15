"""`wdstream cache info|prune`: what a tile cache holds, and making it smaller. Safe while runs use it."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import ConfigError
from wdstream.pixels.cache_usage import (
    USAGE,
    Entry,
    by_right,
    entries_of,
    is_leftover,
    locked_usage,
    policy_folders,
    write_usage,
)

if TYPE_CHECKING:
    from rich.console import Console

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
        """Of all entries."""
        return sum(policy.num_bytes for policy in self.policies)

    def print(self, console: "Console") -> None:
        """A table, one line a policy."""
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
        """One line."""
        console.print(
            f"{self.path}: {self.num_removed:,} entries removed, {self.bytes_removed / MEBI:,.1f} MiB; "
            f"{self.bytes_left / MEBI:,.1f} MiB left",
            highlight=False,
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
        for entry in by_right(entries, path, own=last):
            is_wanted = left <= max_bytes if max_bytes is not None else entry.folder == last
            if is_wanted and not is_leftover(entry.path):
                continue
            entry.path.unlink(missing_ok=True)
            left -= entry.size
            removed.append(entry)
        write_usage(usage, left)
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
        for part in (*folder.iterdir(), folder):
            with suppress(OSError):  # not empty, or no folder
                part.rmdir()
        if folder.exists():
            os.utime(folder, ns=(times.st_atime_ns, times.st_mtime_ns))


def _check(path: Path) -> None:
    if not (path / USAGE).is_file():
        raise ConfigError(
            f"{path}: no tile cache there; expected a folder with a file '{USAGE}', as data.tile_cache.path names it"
        )
