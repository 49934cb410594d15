"""A temporary folder of one process: removed when it ends, and by the next one where it was killed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from wdstream.storage.lock import FileLock

_LOCK = "lock"
_RAY_PREFIX = "wds-ray-"
_LONGEST_BASE = 24
"""Bytes of the folder that one of Ray is in: a path of a socket has at most 107, of which Ray adds up to 66."""


class _InUseError(Exception):
    """The process of a folder is alive."""


@contextmanager
def own_folder(base: Path, prefix: str) -> Iterator[Path]:
    """An empty folder for the block, in one that is there. Those of processes that were killed are removed first.

    Args:
        base: the folder that it is in.
        prefix: its name begins so, and those of other processes for the same use.
    """
    for left in base.glob(f"{prefix}*"):
        with suppress(_InUseError, OSError):  # another process may remove it just now
            if left.is_dir() and not left.is_symlink() and left.stat().st_uid == os.getuid():
                with _held(left):
                    shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"new-{prefix}", dir=base))
    with _held(made):  # before others see it by its name, so that none takes it for one that was left
        folder = made.rename(base / made.name.removeprefix("new-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def own_ray_folder() -> AbstractContextManager[Path]:
    """One for a Ray that a command starts for itself, with a path that is short enough for sockets below it.

    In Ray's own folder, /tmp/ray, other programs would find it, and what it leaves would stay.
    """
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
    is_short = len(os.fsencode(base)) <= _LONGEST_BASE
    return own_folder(base if is_short else Path("/tmp"), _RAY_PREFIX)  # that in it is ours alone


def _held(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, wait_s=0, refuse=lambda _: _InUseError())
