"""Waiting for events, however loaded the machine is."""

import time
from collections.abc import Callable

HANGS_AFTER_S = 480.0
"""So long that only what never happens takes longer, on a loaded machine too; less than a test may take."""


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Look again and again; fails with `what` was waited for when it never happens."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {HANGS_AFTER_S:.0f} s"
        time.sleep(0.005)
