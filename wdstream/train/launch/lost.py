"""What a process says when another one of its run has ended: the launcher ends all, and one of them knows why."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from wdstream.errors import TrainError

_GONE = re.compile("connection (was )?(closed|reset|refused)|broken pipe|remote process exited", re.IGNORECASE)
_LATE = re.compile("timed out waiting|watchdog caught collective operation timeout", re.IGNORECASE)
"""In the errors of gloo and NCCL, which have no type of their own."""


@contextmanager
def lost_processes() -> Iterator[None]:
    """Inside, the error of a collective in which another process is missing is one that a user can read.

    Raises:
        TrainError: a process ended, or did not come in time.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if _GONE.search(text):
            raise TrainError(
                "another process of this run has ended, so this one ends too; its own message says why, and where it "
                "has none it was killed"
            ) from error
        if _LATE.search(text):
            raise TrainError(
                "another process of this run did not come in time: it hangs, or needs longer than "
                f"train.collective_minutes allows ({text.splitlines()[0]})"
            ) from error
        raise
