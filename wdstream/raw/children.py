"""Processes that end with the one that started them, however that ends."""

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CLOCKS_DIFFER_S = 1.0  # when a process began is known to a hundredth of a second


def die_with_parent() -> None:
    """Have Linux end this process with its parent, also while it is stopped, when it cannot see the end of stdin."""
    signal_with_parent(signal.SIGKILL)


def signal_with_parent(number: signal.Signals) -> None:
    """Have Linux send this process a signal when its parent ends; other systems do nothing."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, number)


@contextmanager
def killed_if_stopped(limit_s: float) -> Iterator[None]:
    """While the block starts a process, which waits until that runs its program: kill it where it is stopped before.

    Whoever starts a process would wait forever otherwise. Seconds count while this process runs.
    """
    is_started = threading.Event()
    threading.Thread(target=_watch_start, args=(is_started, limit_s, time.time()), daemon=True).start()
    try:
        yield
    finally:
        is_started.set()


def _watch_start(is_started: threading.Event, limit_s: float, begin: float) -> None:
    """Kill the children that are stopped and have no program of their own yet, as long as their parent waits."""
    passed, tick_s = 0.0, min(0.5, limit_s)
    while not is_started.wait(tick_s):
        passed += tick_s
        if passed < limit_s:
            continue
        import psutil  # seldom needed

        own = psutil.Process()
        for child in own.children():
            try:
                is_new = child.create_time() > begin - _CLOCKS_DIFFER_S and child.cmdline() == own.cmdline()
                if is_new and child.status() == psutil.STATUS_STOPPED:
                    child.kill()
            except psutil.Error:
                continue  # it has ended


def _prctl() -> Callable[[int, int], int] | None:
    """The system call, looked up here, since little is safe between fork and exec; None on other systems."""
    try:
        prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return prctl


_PRCTL = _prctl()
