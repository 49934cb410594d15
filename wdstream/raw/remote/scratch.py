"""Copies of single files of a store, for libraries that read nothing but a path; each is there while it is used.

A folder of a process that was killed is removed by the next process: whoever lives holds a lock in its folder.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "wdstream-raw-"
_LOCK = ".held"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the block; those that killed processes left are removed."""
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left() -> None:
    """Remove folders whose process is gone; one that is made this moment has no lock yet, and stays."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
