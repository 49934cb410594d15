"""A folder of a machine that stands for a store while a task builds shards, and what is left of those of the past."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.storage.lock import FileLock

_PREFIX = "ray-"
_held: list[FileLock] = []
"""Locks of the folders of this process, held until it ends."""


class _InUseError(Exception):
    """The process of a folder is alive."""


def new_scratch() -> Path:
    """An empty folder for this process; those of processes that have ended, by `kill -9` say, are removed.

    Raises:
        ConfigError: the folder for temporary files is somebody else's.
    """
    ours = Path(tempfile.gettempdir()) / f"wdstream-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ConfigError(f"{ours} belongs to somebody else: set TMPDIR to a folder of your own")
    for folder in ours.glob(f"{_PREFIX}*"):
        with suppress(_InUseError, FileNotFoundError), _lock(folder):
            shutil.rmtree(folder, ignore_errors=True)
    top = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=ours))
    lock = _lock(top)
    _held.append(lock.__enter__())
    (top / "out" / STATE_FOLDER).mkdir(parents=True)
    return top / "out"


def empty_scratch(out: Path) -> None:
    """Remove what a task left there: its shard is in the store."""
    for path in out.rglob("*"):
        if path.is_file():
            path.unlink()


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / "lock", wait_s=0, refuse=lambda _: _InUseError())
