"""Renders templates in another process, with limits of time and memory; see template_process.py.

One such process serves all templates of this one. It starts with the first template, takes a few tenths of a second,
and ends with this process, or when a template used it up; then the next template starts another.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Literal

from wdstream.text.template_process import MAX_CHARACTERS, MAX_MEMORY

CPU_SECONDS = 10
WAIT_SECONDS = 900.0
"""Of the clock, for a process that is stopped, or on a machine that has no time for it."""
_MAX_ANSWER = 16 * MAX_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a template.

    Attributes:
        kind: text: it was rendered; refused: it raises; unreadable: it is not a template; limit: it wants more of
            something than it may have.
        text: what it wrote, or why not.
    """

    kind: Literal["text", "refused", "unreadable", "limit"]
    text: str


class TemplateRenderer:
    """The process, and the pipes to it. Safe to use from many threads, which then wait for each other.

    Args:
        cpu_seconds: that a template may take.
    """

    def __init__(self, cpu_seconds: int = CPU_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def render(self, source: str, variables: Mapping[str, object]) -> Answer:
        """Render a template.

        Args:
            source: of the template.
            variables: JSON-serialisable; what it is rendered with.
        """
        request = {"source": source, "variables": variables, "cpu_seconds": self._cpu_seconds}
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self._started()
            answer = self._asked(process, line)
            if answer is None:
                self._process = None
                return Answer(kind="limit", text=self._ended(process))
        ((kind, text),) = json.loads(answer).items()
        return Answer(kind=kind, text=text)

    def close(self) -> None:
        """End the process; the next template starts another."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _forget(self) -> None:
        """In a forked process: the pipes are its parent's, and the lock may be held by a thread that is not here."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None:
            process.returncode = 0  # not a child of this process: there is nothing to wait for
            _close(process)

    def _started(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None:
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109  (as Python means "")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "wdstream.text.template_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,  # nothing is held back here that a fork could write twice
                env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
                start_new_session=True,  # a Ctrl-C is for this process, which still has rows to write out
            )
            self._process = process
        return process

    def _asked(self, process: subprocess.Popen[bytes], line: bytes) -> bytes | None:
        """The line that the process answers; None when it ends instead, or writes without end."""
        assert process.stdin is not None and process.stdout is not None, "made with pipes"
        try:
            left = memoryview(line)
            while left:
                left = left[process.stdin.write(left) :]
        except OSError:  # it has ended
            return None
        return _read_line(process.stdout)

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        """What a process ran out of that gave no answer; it is ended if it has not."""
        try:
            status = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"{WAIT_SECONDS:.0f} seconds"
        _end(process)
        if status == -signal.SIGXCPU:
            return f"{self._cpu_seconds} seconds of CPU time"
        if status == -signal.SIGKILL:
            return "the memory that the system has left (its process was killed)"
        return f"its process has (it ended with status {status}, {MAX_MEMORY >> 20} MB of memory were allowed)"


def _read_line(stream: IO[bytes]) -> bytes | None:
    """Bytes up to the end of a line; None when the stream ends before, or the line is too long or too late."""
    found, poll, seconds, looked_at = bytearray(), select.poll(), 0.0, time.monotonic()
    poll.register(stream, select.POLLIN)
    while not found.endswith(b"\n"):
        if seconds >= WAIT_SECONDS or len(found) > _MAX_ANSWER:
            return None
        is_there, now = poll.poll(1000), time.monotonic()
        seconds, looked_at = seconds + min(1.0, now - looked_at), now  # what both processes were stopped for is one
        if not is_there:
            continue
        block = os.read(stream.fileno(), 1 << 20)
        if not block:
            return None
        found += block
    return bytes(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, wait for it, and close its pipes."""
    process.kill()
    process.wait()
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


RENDERER = TemplateRenderer()
"""Of this process, for all templates."""
