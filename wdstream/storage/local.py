"""Files under one root, read by ranges: the interface, and folders. remote.py has what fsspec reaches.

Nothing here knows what a tar is.
"""

import errno
import os
import select
import stat
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol

from wdstream.errors import (
    TOO_MANY_FILES,
    AbsentFileError,
    ForbiddenFileError,
    ShardError,
    StorageFailureError,
    StoreDownError,
    file_trouble,
)
from wdstream.storage.forks import ForkSafeLock
from wdstream.storage.settings import ReadSettings

DEFAULT_OPEN_FILES = 128  # descriptors a LocalStorage keeps; the usual limit of a process is 1,024
PIPE_PATIENCE_S = 10


class ByteRange(NamedTuple):
    """`length` bytes of the file `name` from `offset` on."""

    name: str
    offset: int
    length: int


def coalesce(wanted: Sequence[ByteRange], reading: ReadSettings) -> list[ByteRange]:
    """The requests that cover all ranges: of one file in order, small gaps bridged, none larger than a request.

    A single range that is larger stays whole.
    """
    requests: list[ByteRange] = []
    for one in sorted(wanted):
        last = requests[-1] if requests else None
        if last is not None and last.name == one.name:
            end = max(last.offset + last.length, one.offset + one.length)
            is_near = one.offset - (last.offset + last.length) <= reading.max_gap
            if is_near and (end - last.offset <= reading.max_request or end == last.offset + last.length):
                requests[-1] = ByteRange(name=one.name, offset=last.offset, length=end - last.offset)
                continue
        requests.append(one)
    return requests


def cut_out(wanted: ByteRange, requests: Sequence[ByteRange], fetched: Sequence[bytes]) -> bytes:
    """The bytes of `wanted`, out of the request that covers it; shorter where its answer ended early."""
    for request, data in zip(requests, fetched, strict=True):
        start = wanted.offset - request.offset
        if request.name == wanted.name and start >= 0 and start + wanted.length <= request.length:
            return data[start : start + wanted.length]
    raise AssertionError("every range is inside a request")


class Storage(Protocol):
    """Reads of named files under one root. Safe to use from many threads at once.

    What cannot be read is one of three errors: AbsentFileError, ForbiddenFileError and StorageFailureError. A fault of
    the network is never taken for a file that is not there.
    """

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where the storage cannot tell."""

    def read(self, wanted: ByteRange) -> bytes:
        """One range; shorter where the file ends before."""

    def read_many(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        """Several ranges, in the order asked for; together where that is cheaper."""

    def read_file(self, name: str) -> bytes:
        """All bytes of a file."""

    def local_path(self, name: str) -> Path | None:
        """Where a file is, or would be, in this machine's file system; None for a remote one."""

    def forget(self, wanted: ByteRange) -> None:
        """Let the next read of a range, which was not what it must be, come from the source itself: past any cache."""


def file_error(path: Path | str, error: OSError, *, doing: str = "read") -> ShardError:
    """What kept a local file from being read (or written, ...), as the error of its kind.

    Raises:
        StoreDownError: it is no file's fault: too many are open.
    """
    if error.errno in TOO_MANY_FILES:
        raise StoreDownError(f"{path} cannot be {doing}: {file_trouble(error)}") from error
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return AbsentFileError(f"{path} is not there ({reason})")
    if isinstance(error, PermissionError):
        return ForbiddenFileError(f"{path} may not be {doing} ({reason}): give this user the right to")
    return StorageFailureError(f"{path} cannot be {doing} ({reason}): the device or file system fails; try again")


def read_local(path: Path) -> bytes:
    """A whole local file, opened now.

    Raises:
        AbsentFileError, ForbiddenFileError, StorageFailureError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(path, error) from error


def read_small(path: Path, *, limit: int) -> bytes:
    """All bytes of a file that a user named; of a pipe, too, once somebody writes to it.

    Args:
        path: of the file.
        limit: bytes that it may have; no more are read, also of a device without an end.

    Raises:
        OSError: it cannot be read, has more bytes, or is a pipe to which nobody writes.
    """
    # Without O_NONBLOCK, a named pipe is waited for here until somebody writes to it, which may be never.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            waiting = select.poll()
            waiting.register(file.fileno(), select.POLLIN)
            if not waiting.poll(PIPE_PATIENCE_S * 1000):
                raise OSError(errno.EPIPE, f"a pipe to which nobody wrote within {PIPE_PATIENCE_S} s")
        os.set_blocking(file.fileno(), True)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes")
    return data


def read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    """`length` bytes by pread, which may give less at a time; shorter only at the end of the file."""
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    chunks = [data]
    missing = length - len(data)
    while missing and (data := os.pread(descriptor, missing, offset + length - missing)):
        chunks.append(data)
        missing -= len(data)
    return b"".join(chunks)


class _OpenFile:
    """A descriptor that closes when nobody holds it any more: a read in another thread keeps it open."""

    __slots__ = ("descriptor", "last_use")

    def __init__(self, path: Path) -> None:
        self.descriptor, self.last_use = -1, 0
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # waits for no writer of a pipe

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class LocalStorage:
    """Files in a folder, read by pread: one descriptor per file, the least recently used ones closed.

    A forked child reads by the descriptors of its parent: pread has no place in common.
    """

    def __init__(self, root: Path, *, open_files: int = DEFAULT_OPEN_FILES) -> None:
        self._root = root
        self._limit = open_files
        self._files: dict[str, _OpenFile] = {}
        self._uses = count(1)
        self._lock = ForkSafeLock()

    def __getstate__(self) -> tuple[Path, int]:
        return self._root, self._limit

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.__init__(state[0], open_files=state[1])  # type: ignore[misc]  # descriptors do not travel

    @property
    def open_files(self) -> int:
        """How many descriptors are open now."""
        return len(self._files)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        # Held by name: without one, another thread that evicts the file closes it before it is asked.
        file = self._open(name)
        return os.fstat(file.descriptor).st_size

    def read(self, wanted: ByteRange) -> bytes:
        """One range; shorter where the file ends before."""
        file = self._open(wanted.name)
        try:
            return read_exactly(file.descriptor, wanted.offset, wanted.length)
        except OSError as error:
            raise file_error(f"{self._root / wanted.name}: byte {wanted.offset}", error) from error

    def read_many(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        """Several ranges, one by one: a local read costs about 0.05 ms."""
        return [self.read(one) for one in wanted]

    def read_file(self, name: str) -> bytes:
        """All bytes of a file."""
        return self.read(ByteRange(name=name, offset=0, length=self.size(name)))

    def local_path(self, name: str) -> Path | None:
        """The path of a file, whether it is there or not."""
        return self._root / name

    def forget(self, wanted: ByteRange) -> None:
        """Nothing: each read asks the file system."""

    def _open(self, name: str) -> _OpenFile:
        file = self._files.get(name)  # without the lock, which takes half as long as a read
        if file is None:
            file = self._opened_now(name)
        file.last_use = next(self._uses)
        return file

    def _opened_now(self, name: str) -> _OpenFile:
        with self._lock:
            file = self._files.get(name)
            if file is not None:  # another thread was first
                return file
            try:
                file = _OpenFile(self._root / name)
            except OSError as error:
                raise file_error(self._root / name, error) from error
            if self._files and len(self._files) >= self._limit:
                del self._files[min(self._files, key=lambda each: self._files[each].last_use)]
            self._files[name] = file
            return file
