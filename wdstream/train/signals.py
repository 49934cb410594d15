"""Stopping by signal: the step in progress is finished on every rank, a checkpoint written, the exit status 0.

A scheduler sends SIGTERM, a person presses Ctrl-C. Only a flag is set here; the ranks agree on it once a step, inside
the exchange of figures they make anyway, because a signal reaches them at different moments or only one of them.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

ECHO_SECONDS = 2.0
"""Ctrl-C in a terminal arrives twice, from the terminal and forwarded by the launcher; later ones are meant."""


class StopSignals:
    """While entered, the first SIGTERM or SIGINT sets `is_requested`; another one, 2 s or more later, aborts."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.is_requested = False
        self.name: str | None = None
        self._first_at = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.is_requested:
            self.is_requested, self.name, self._first_at = True, signal.Signals(number).name, now
        elif now - self._first_at >= ECHO_SECONDS:
            raise KeyboardInterrupt(f"{signal.Signals(number).name} again: stopping at once, without a checkpoint")
