"""A Ctrl-C at a chosen place of the code: a real signal, which this process sends itself there."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any, Literal

Place = FunctionType | Callable[..., Any]
LOCK_IS_FREE: Place = vars(threading.Condition)["_release_save"]
"""Where it ends, `threading` cannot clean up after an interrupt: it says "release unlocked lock"."""


@contextmanager
def interrupt_at(
    place: Place, event: Literal["call", "return"] = "call", *, below: Place | None = None
) -> Iterator[None]:
    """In the block, SIGINT once where a function begins or ends, the first time that it runs below another one.

    A shell's background job ignores the signal; here it is what it is in a program that somebody started.
    """
    code, outer = _code_of(place), None if below is None else _code_of(below)

    def trace(frame: FrameType, happens: str, _value: object) -> Any:
        if frame.f_code is not code or (outer is not None and not _is_below(frame, outer)):
            return None
        frame.f_trace_lines = False
        if happens == event:
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGINT)
        return trace

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = sys.gettrace()
    try:
        sys.settrace(trace)
        yield
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGINT, handler)


def _code_of(function: Place) -> CodeType:
    assert isinstance(function, FunctionType)
    return function.__code__


def _is_below(frame: FrameType | None, code: CodeType) -> bool:
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None
