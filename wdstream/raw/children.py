"""Processes that end with the one that started them, however that ends."""

import ctypes
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Have Linux end this process with its parent, also while it is stopped, when it cannot see the end of stdin."""
    signal_with_parent(signal.SIGKILL)


def signal_with_parent(number: signal.Signals) -> None:
    """Have Linux send this process a signal when its parent ends; other systems do nothing."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, number)


def _prctl() -> Callable[[int, int], int] | None:
    """The system call, looked up here, since little is safe between fork and exec; None on other systems."""
    try:
        prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return prctl


_PRCTL = _prctl()
