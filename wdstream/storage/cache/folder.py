"""The folder of a cache: what is written, by one process at a time, within the bound; and what goes when it is full.

    <path>/v1/usage                          bytes of all files; its lock is held by who writes
    <path>/v1/claims/<number>                locked while what it stands for is being fetched
    <path>/v1/files/<file>/version           which version of a remote file is kept (cached.py)
    <path>/v1/files/<file>/<version>-<n>     its block n (block_files.py)
    <path>/v1/columns/<digest>               a whole column of an index (whole.py)

A file appears whole, by a rename. What a killed process leaves is a file under WRITING, which the next one overwrites,
and a wrong count at most, which is counted again as soon as it says that the cache is full.

When something does not fit, files are counted and some removed, down to KEPT_SHARE of the bound:

    1. columns that nobody opened for a week
    2. blocks that were not used recently, those with the largest digests first
    3. the other blocks, those used longest ago first; then the other columns

Every epoch passes over all pages, so removing what was used longest ago would remove everything just before it is
needed again. Digests are as good as random, so what stays is a fixed share: a cache of half the size hits half the
time. Recent are the blocks used last, as many as the shards have that are being read side by side (`window_bytes`).
A reader of a file that is removed keeps it open, and reads on.
"""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.lock import brief_lock

CACHE_FORMAT = "v1"
"""Raised whenever the files in a cache are written in another way."""
KEPT_SHARE = 0.9
WRITING = ".writing"
"""End of the name of a file that is being written."""
_RECENT_SHARE = 0.5
_STALE_S = 7 * 24 * 3600.0
_PAUSE_S = 60.0
"""Seconds after a failure in which nothing is written: a disk that is full may be so for a moment."""
HELD_S = 150.0
"""Seconds to wait for another process, more than a request takes: one that is stopped holds its locks forever."""
_STOPPED_PAUSE_S = 600.0
"""Seconds in which nothing is written after such a wait, so that not every read waits so long."""
_NUM_CLAIMS = 1024
_COUNT_BYTES = 8
_CLOCK_S = 3600.0
"""A file that was used later than this many seconds from now was marked by a clock that is wrong and says nothing."""

_log = logging.getLogger("wdstream")


class _ClaimedError(Exception):
    """Another thread or process has the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file of a cache: its path, bytes, and when it was used last, in seconds."""

    path: Path
    size: int
    used: float
    is_column: bool


@lru_cache
def open_cache_folder(settings: CacheSettings) -> "CacheFolder":
    """The folder of these settings, within its bound: one object in a process, so that a failure is reported once."""
    folder = CacheFolder(settings)
    folder.shrink()
    return folder


class CacheFolder:
    """Files within a bound, for many threads and processes. A failure is reported once, and then nothing is kept for a
    minute.

    Args:
        settings: path and bound.

    Attributes:
        files, columns: folders of blocks and of columns.
        window_bytes: the blocks used last, as many bytes as these, are removed after all others; half of the bound
            until somebody knows better.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self._max_bytes = settings.max_bytes
        self._path = settings.path / CACHE_FORMAT
        self.files, self.columns = self._path / "files", self._path / "columns"
        self.window_bytes = int(_RECENT_SHARE * settings.max_bytes)
        self._resumes = 0.0
        self._is_reported = False

    @property
    def is_writable(self) -> bool:
        """Whether writing did not fail just now."""
        return time.monotonic() >= self._resumes

    def failed(self, error: OSError) -> None:
        """Note that the folder cannot be written to, and say so the first time."""
        self._resumes = time.monotonic() + (_STOPPED_PAUSE_S if isinstance(error, TimeoutError) else _PAUSE_S)
        if not self._is_reported:
            self._is_reported = True
            _log.warning(
                "data.cache %s cannot be written to (%s): what it lacks is read from the store, as without a cache",
                self._path.parent,
                error.strerror or error,
            )

    def shrink(self) -> None:
        """See to it that the folder is within the bound, which may be lower than that of an earlier run."""
        try:
            if (self._path / "usage").exists():
                with self._room(0):
                    pass
        except OSError as error:
            self.failed(error)

    @contextmanager
    def claim(self, claim: str, *, waits: bool) -> Iterator[bool]:
        """Hold what a claim stands for in the block, so that it is fetched once on this machine.

        Args:
            claim: of `claim_of`.
            waits: for another holder; else gives False where there is one.

        Raises:
            OSError: the folder cannot be written to.
        """
        claims = self._path / "claims"
        claims.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(_locked(claims / claim, waits=waits))
            except _ClaimedError:
                yield False
                return
            yield True

    @staticmethod
    def claim_of(name: str) -> str:
        """The claim for what has this name; a few names share one."""
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % _NUM_CLAIMS
        return f"{number:04d}"

    def keep(self, path: Path, pieces: Sequence[bytes]) -> None:
        """Write a small file, its contents in pieces, if there is room for it. What fails is noted."""
        try:
            with self._room(sum(map(len, pieces))) as has_room:
                if has_room:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    # One name for all: nobody else writes now, and what a killed process left is overwritten.
                    _write_whole(self._path / WRITING, path, pieces)
        except OSError as error:
            self.failed(error)

    def begin(self, path: Path, size: int) -> bool:
        """Make `<path>.writing` of `size` bytes, to be filled and renamed by who claimed it; False: no room for it.

        Raises:
            OSError: the folder cannot be written to, or the disk is full.
        """
        with self._room(size) as has_room:
            if has_room:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.with_name(path.name + WRITING).open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, size)  # so that it counts before it is filled
            return has_room

    @contextmanager
    def _room(self, size: int) -> Iterator[bool]:
        """Hold the folder, with room made for `size` bytes, or False."""
        if size > KEPT_SHARE * self._max_bytes:
            yield False
            return
        self._path.mkdir(parents=True, exist_ok=True)
        with _locked(self._path / "usage", waits=True) as usage:
            used = _read_count(usage)
            if used is None or used + size > self._max_bytes:
                used = self._evict(size)
            has_room = used + size <= self._max_bytes
            _write_count(usage, used + size if has_room else used)
            yield has_room

    def _evict(self, size: int) -> int:
        """Make room for `size` bytes where it is lacking; returns the bytes then in use."""
        self._remove_unfinished()
        kept = list(self._kept())
        used = sum(file.size for file in kept)
        if used + size <= self._max_bytes:
            return used
        for file in eviction(kept, recent_bytes=self.window_bytes, now=time.time()):
            if used + size <= KEPT_SHARE * self._max_bytes:
                break
            if not _is_removed(file.path):
                continue
            used -= file.size
            if not file.is_column:
                with suppress(OSError):  # not empty
                    file.path.parent.rmdir()
        return used

    def _kept(self) -> Iterator[KeptFile]:
        """All files; what vanishes meanwhile is left out."""
        for folder in _folders(self.files):
            yield from _files_in(folder, is_column=False)
        yield from _files_in(self.columns, is_column=True)

    def _remove_unfinished(self) -> None:
        """Remove what killed processes began; a column that is being fetched is claimed, and stays."""
        (self._path / WRITING).unlink(missing_ok=True)
        for file in [*_files_in(self.columns, is_column=True)]:
            if file.path.name.endswith(WRITING):
                with self.claim(self.claim_of(file.path.name.removesuffix(WRITING)), waits=False) as is_mine:
                    if is_mine:
                        file.path.unlink(missing_ok=True)


def _locked(path: Path, *, waits: bool) -> AbstractContextManager[BinaryIO]:
    """A file that is locked for the block.

    Raises:
        OSError: on entering, somebody holds it for longer than any request takes: it does not continue.
        _ClaimedError: on entering, somebody holds it, and is not waited for.
    """
    if not waits:
        return brief_lock(path, wait_s=0, refuse=_claimed)
    told = f"{path} has been locked for {HELD_S:g} s by a process that does not continue; is one stopped?"
    return brief_lock(path, wait_s=HELD_S, refuse=lambda _: TimeoutError(errno.ETIMEDOUT, told))


def eviction(kept: Iterable[KeptFile], *, recent_bytes: int, now: float) -> list[KeptFile]:
    """Files in the order in which they are removed; the module says which come first."""
    by_use = sorted(kept, key=lambda file: file.used, reverse=True)
    stale = [file for file in by_use if file.is_column and now - file.used > _STALE_S]
    columns = [file for file in by_use if file.is_column and now - file.used <= _STALE_S]
    recent: list[KeptFile] = []
    others: list[KeptFile] = []
    taken = 0
    for file in by_use:
        if not file.is_column:
            taken += file.size
            (recent if taken <= recent_bytes else others).append(file)
    others.sort(key=_by_digest, reverse=True)
    return [*reversed(stale), *others, *reversed(recent), *reversed(columns)]


def _by_digest(file: KeptFile) -> bytes:
    """Blocks in an order that has nothing to do with their use; a file's version goes after its blocks."""
    if file.path.name == "version":
        return b""
    return hashlib.blake2b(f"{file.path.parent.name}/{file.path.name}".encode(), digest_size=8).digest()


def _is_removed(path: Path) -> bool:
    """Remove a file; False where it may not be, or is none."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _write_whole(temp: Path, path: Path, pieces: Sequence[bytes]) -> None:
    """A file out of pieces, complete or absent; not synced, as a torn one is found by its checksum."""
    try:
        with temp.open("wb", buffering=0) as file:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
        temp.replace(path)
    except BaseException:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        raise


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files_in(path: Path, *, is_column: bool) -> Iterator[KeptFile]:
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    now = time.time()
    for entry in entries:
        with suppress(FileNotFoundError):  # removed by another process
            status = entry.stat()
            used = max((at for at in (status.st_atime, status.st_mtime) if at < now + _CLOCK_S), default=0.0)
            yield KeptFile(path=Path(entry.path), size=status.st_size, used=used, is_column=is_column)


def _claimed(_note: str) -> Exception:
    return _ClaimedError()


def _read_count(file: BinaryIO) -> int | None:
    """The bytes in use, as last counted; None when nobody has counted, or the count is torn."""
    file.seek(0)
    data = file.read()
    return int.from_bytes(data, "little") if len(data) == _COUNT_BYTES else None


def _write_count(file: BinaryIO, used: int) -> None:
    file.seek(0)
    file.truncate()
    file.write(used.to_bytes(_COUNT_BYTES, "little"))
    file.flush()
