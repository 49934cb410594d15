"""A job that is killed at a chosen moment: when it opens a file for writing, renames or removes one."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def killed(folder: Path, work: Callable[[Path], object], moment: int, *, counts_all: bool = False) -> bool:
    """Run `work(folder)` in a process of its own, and end that by SIGKILL just before it changes a file in the folder
    for the `moment`th time, counted from 1; False when it ended before.

    With `counts_all`, files that are opened by their descriptor, linked, or brought from elsewhere count, too.
    """
    child = os.fork()
    if child == 0:
        touched = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal touched
            is_writing = event == "open" and isinstance(arguments[1], str) and bool(set(arguments[1]) & set("wax+"))
            places = str(arguments[0])
            if counts_all and event in ("os.rename", "os.link"):
                places, is_writing = str(arguments[:2]), True
            if counts_all and event == "open" and isinstance(arguments[2], int):
                is_writing = is_writing or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if (is_writing or event in ("os.rename", "os.remove")) and str(folder) in places:
                touched += 1
                if touched == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work(folder)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL
