"""Folders of this machine for what a job has only while it is at work; what a killed one left, a later one removes."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.storage.lock import FileLock

_WAIT_S = 10.0


def temporary_folder() -> Path:
    """The folder in `$TMPDIR` that all jobs of this user share.

    Raises:
        ConfigError: it is somebody else's.
    """
    ours = Path(tempfile.gettempdir()) / f"wdstream-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ConfigError(f"{ours} belongs to somebody else: set TMPDIR to a folder of your own")
    return ours


@contextmanager
def scratch_of(what: str) -> Iterator[tuple[Path, int]]:
    """An empty folder for the block, always the same one for `what`, so that the next job removes what a kill left.

    Yields:
        The folder; and the descriptor of its lock, for child processes, which may outlive a killed parent a little.

    Raises:
        ConfigError: processes of another job are at work there; or it cannot be used.
    """
    top = temporary_folder() / hashlib.blake2b(what.encode(), digest_size=8).hexdigest()
    with ExitStack() as held:
        lock = _locked(top, held)
        shutil.rmtree(top / "out", ignore_errors=True)
        (top / "out").mkdir()
        try:
            yield top / "out", lock.fileno()
        finally:
            shutil.rmtree(top / "out", ignore_errors=True)  # before the lock, after which it may be the next job's
            shutil.rmtree(top, ignore_errors=True)


def _locked(top: Path, held: ExitStack) -> FileLock:
    """The lock of a folder, which is made; the job before removes both at its end, also while they are waited for."""
    busy = ConfigError(f"{top}: processes of another job are at work there; wait until they have ended")
    while True:
        top.mkdir(exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as taken:
            lock = taken.enter_context(FileLock(top / "lock", wait_s=_WAIT_S, refuse=lambda _: busy))
            if os.path.samestat(os.fstat(lock.fileno()), (top / "lock").stat()):
                held.push(taken.pop_all())
                return lock
