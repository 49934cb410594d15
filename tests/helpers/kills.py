"""A job that is killed at a chosen moment: when it opens a file for writing, renames or removes one."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def killed(folder: Path, work: Callable[[Path], object], moment: int) -> bool:
    """Run `work(folder)` in a process of its own, and end that by SIGKILL just before it changes a file in the folder
    for the `moment`th time, counted from 1; False when it ended before."""
    child = os.fork()
    if child == 0:
        touched = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal touched
            is_writing = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
            if (is_writing or event in ("os.rename", "os.remove")) and str(folder) in str(arguments[0]):
                touched += 1
                if touched == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work(folder)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL
