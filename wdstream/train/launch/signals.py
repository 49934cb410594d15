"""How a training process is asked to stop.

A scheduler sends SIGTERM, SIGUSR1 or SIGUSR2, a person presses Ctrl-C, a terminal is closed (SIGHUP, which nohup
ignores), or the launcher ends. The step in progress is finished on every rank, a checkpoint is written, and the process
ends (statuses.py says with which status). Only a flag is set here; the ranks agree on it once per step, in the exchange
of figures they make anyway, because a signal reaches them at different moments or only one of them.

Signals are caught from the first moment of the command on, before torch is imported: one that comes while the model is
loaded stops the run after the first step, on all ranks alike, where it would else kill one rank and leave the others
waiting for it.
"""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import FrameType
from typing import Self

from wdstream.raw.children import signal_with_parent

ECHO_SECONDS = 2.0
"""Ctrl-C in a terminal arrives twice, from the terminal and forwarded by the launcher; later ones are meant."""
LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")
"""What `accelerate launch` and torchrun leave in the environment of the processes that they start."""


def is_launched(environment: Mapping[str, str]) -> bool:
    """Whether this process is a child of `accelerate launch` or torchrun, which make any status but 0 into 1."""
    return any(name in environment for name in LAUNCHED)


def stop_with_launcher(environment: Mapping[str, str]) -> None:
    """Have Linux send this process SIGTERM when its launcher ends, however that ends: a scheduler signals the launcher,
    which does not pass every signal on, and leaves training alive. Started otherwise, nothing changes."""
    if is_launched(environment):
        signal_with_parent(signal.SIGTERM)


def signals_to_catch() -> tuple[signal.Signals, ...]:
    """Those of `StopSignals`, without SIGHUP where nohup has it ignored."""
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in StopSignals.SIGNALS if not (is_nohup and number is signal.SIGHUP))


class CaughtSignals(ABC):
    """While entered, signals that ask to stop are handled by `_handle`."""

    def __init__(self) -> None:
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        for number in signals_to_catch():
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @abstractmethod
    def _handle(self, number: int, frame: FrameType | None) -> None: ...


class StopSignals(CaughtSignals):
    """While entered, the first of `SIGNALS` sets `is_requested`; another one, 2 s or more later, aborts.

    The SIGTERM of `stop_with_launcher` never aborts, however late: after one Ctrl-C the launcher ends, too, and takes
    several seconds for it where the machine is busy."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

    def __init__(self) -> None:
        super().__init__()
        self.is_requested = False
        self._first_at = 0.0
        self._launcher: int | None = os.getppid()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.is_requested:
            self.is_requested, self._first_at = True, now
            self._has_launcher_ended(number)
        elif self._has_launcher_ended(number):
            return
        elif now - self._first_at >= ECHO_SECONDS:
            raise KeyboardInterrupt(f"{signal.Signals(number).name} again: stopping at once, without a checkpoint")

    def _has_launcher_ended(self, number: int) -> bool:
        """Whether this signal says that the launcher ended: true once."""
        if number != signal.SIGTERM or self._launcher in (None, os.getppid()):
            return False
        self._launcher = None
        return True
