"""A lock on a file: one holder at a time among threads and processes, released however the holder ends."""

import errno
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from wdstream.storage.atomic import LOCKS_NOTHING
from wdstream.storage.tries import Deadline, is_stopped

_POLL_S = 0.05
_FIRST_POLL_S = 0.001


class FileLock:
    """Hold a file, which is made when it is missing; its folder exists.

    The operating system releases the lock when the last descriptor of this opening is closed. So a process that is
    killed leaves no lock, and child processes that inherit `fileno()` hold it together with their parent.

    Args:
        path: the file; what it contains is the holder's to use.
        refuse: makes the error to raise when another holder keeps the file; it is passed the note of that holder, or
            "" when there is none.
        wait_s: seconds to wait for another holder before refusing; without end when left out.
        note: text to leave in the file for whoever is refused; without one the file is not written to.
        is_shared: hold it together with others that share it, and with nobody else.

    Raises:
        OSError: on entering, when the file cannot be opened.
        Exception: on entering, what `refuse` makes.
    """

    def __init__(
        self,
        path: Path,
        *,
        refuse: Callable[[str], Exception] = OSError,
        wait_s: float = math.inf,
        note: str = "",
        is_shared: bool = False,
    ) -> None:
        self._path = path
        self._refuse = refuse
        self._wait_s = wait_s
        self._note = note
        self._operation = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        file = self._path.open("a+b")
        try:
            self._take(file)
            if self._note:
                file.truncate(0)
                file.write(self._note.encode())
                file.flush()
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __exit__(self, *_exception: object) -> None:
        # Closed, not unlocked: unlocking would take the lock from child processes, too.
        self.file.close()
        self._file = None

    @property
    def file(self) -> BinaryIO:
        """The locked file, open for reading and appending, while it is held."""
        assert self._file is not None, f"{self._path} is not held"
        return self._file

    def fileno(self) -> int:
        """The descriptor to pass on to child processes that are to hold the lock, too."""
        return self.file.fileno()

    def _take(self, file: BinaryIO) -> None:
        if not _is_taken(file.fileno(), self._operation, self._wait_s):
            file.seek(0)
            raise self._refuse(file.read().decode(errors="replace").strip())


def _is_taken(descriptor: int, operation: int, wait_s: float) -> bool:
    """Take a lock, for which others are waited for so long; whether it is taken."""
    if math.isinf(wait_s):
        fcntl.flock(descriptor, operation)
        return True
    deadline, pause = Deadline(wait_s), _FIRST_POLL_S
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if deadline.is_over() or is_stopped():
                return False
        time.sleep(pause)
        pause = min(2 * pause, _POLL_S)


_BRIEFLY_HELD: set[BinaryIO] = set()


@contextmanager
def brief_lock(
    path: Path, *, wait_s: float = math.inf, refuse: Callable[[str], Exception] = OSError
) -> Iterator[BinaryIO]:
    """A file, locked for the block by this process alone; arguments as of FileLock.

    A process that another thread forks meanwhile has it open, too, and for long: so it is unlocked at the end, and
    closed in that process, or the lock would outlast this one.
    """
    with FileLock(path, wait_s=wait_s, refuse=refuse) as lock:
        file = lock.file
        _BRIEFLY_HELD.add(file)
        try:
            yield file
        finally:
            _BRIEFLY_HELD.discard(file)
            fcntl.flock(file, fcntl.LOCK_UN)


def _close_in_child() -> None:
    for file in _BRIEFLY_HELD:
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, file.fileno(), inheritable=False)  # its object stays usable, whoever has it
        os.close(nothing)
    _BRIEFLY_HELD.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def folder_lock(
    folder: Path, *, is_shared: bool = False, wait_s: float = math.inf, refuse: Exception | None = None
) -> Iterator[None]:
    """Hold a folder for the block; leaves no file. Arguments are as of FileLock, but `refuse` is the error.

    A file system that locks no folders (NFS does not) is written without a lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            is_held = _is_taken(descriptor, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, wait_s)
        except OSError as error:
            if error.errno not in LOCKS_NOTHING:
                raise
            is_held = True
        if not is_held:
            raise refuse or OSError(errno.EBUSY, "another process holds it", str(folder))
        yield
    finally:
        os.close(descriptor)
