"""A process of make-shards as its parent sees it: its pipes, its job, the page it is at, and how it ends.

Time is counted by a clock that stops while this program does: a pause of the parent (Ctrl-Z, a laptop that is
closed, a machine that is frozen) is nobody's fault.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wdstream.make_shards.jobs import At, Job, PageCell, Setup, WorkerMessage
from wdstream.raw.children import die_with_parent, killed_if_stopped

# One thread each: there is a process per core.
_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
_LARGE_PAGES = "glibc.malloc.hugetlb"
"""Of the C library: memory in pages of 2 MiB, where the system gives them to those who ask. Drawn pages are long."""
# Modules stay, and looking for garbage among them while they are imported takes a tenth of a start.
_WORKER = (
    "import gc; gc.disable(); from wdstream.make_shards.worker_main import serve; gc.freeze(); gc.enable(); serve()"
)
_SHOWN_OF_STDERR = 2000
_MOST_TICK_S = 1.0
"""Ticks come every half second; what is longer, this program did not run."""
_LEAST_SILENCE_S = 30.0
_END_S = 5.0
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


class Clock:
    """Seconds in which this program ran, counted by ticks."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.time = 0.0

    def tick(self) -> None:
        """Count the time since the last tick, as far as this program can have run."""
        now = time.monotonic()
        self.time += min(now - self._last, _MOST_TICK_S)
        self._last = now


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How a process was lost, in words, and whether someone else may have done it, by `kill -9` say."""

    cause: str
    may_be_from_outside: bool = False


class Process:
    """A worker: started with the object, watched by its messages and its cell."""

    def __init__(self, setup: Setup, keep_open: tuple[int, ...], clock: Clock) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        self._cell = PageCell()
        # The package may be found by the path this program set up, not by an installation.
        paths = [path for path in sys.path if path and Path(path).is_dir()]
        with killed_if_stopped(_LEAST_SILENCE_S):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _WORKER, str(self._cell.descriptor)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                pass_fds=(*keep_open, self._cell.descriptor),
                preexec_fn=die_with_parent,  # not later: a process that is stopped while it starts could not
                env={**os.environ, **_ENVIRONMENT, **_large_pages(), "PYTHONPATH": os.pathsep.join(paths)},
            )
        assert self._process.stdout is not None
        self.stdout: IO[bytes] = self._process.stdout
        self._pending = b""
        self._clock = clock
        self._last_word = self._at_since = clock.time
        self._writer: threading.Thread | None = None
        self._signs = self._pages = 0
        self.job: Job | None = None
        self.is_ready = False
        self.is_fresh = True
        self.gave_up: str | None = None
        self._write(setup)

    @property
    def at(self) -> At | None:
        """The page of its job that it is at; None where it has not begun."""
        return self._cell.at

    @property
    def is_at_page(self) -> bool:
        """Whether it is at a page, or opens a file; else it starts, waits, or writes the shard."""
        at = self.at
        return self.job is not None and at is not None and at[0] < len(self.job.items)

    def give(self, job: Job) -> None:
        """Send a job, by a thread: a process that was stopped reads nothing, and a long job fills the pipe."""
        self.job, self.is_fresh = job, False
        self._cell.clear()
        self._pages = self._cell.counts[1]
        self._last_word = self._clock.time
        self._writer = threading.Thread(target=self._write, args=(job.to_json(),), daemon=True)
        self._writer.start()

    def receive(self) -> list[WorkerMessage] | None:
        """Messages that have come, or None when the process is gone."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._last_word = self._clock.time
        messages: list[WorkerMessage] = [json.loads(line) for line in lines]
        self.is_ready = self.is_ready or bool(messages)
        return [message for message in messages if not {"ready", "alive"} & message.keys()]

    def pages_begun(self) -> int:
        """Pages of its job that it has begun since this was asked."""
        before, self._pages = self._pages, self._cell.counts[1]
        return self._pages - before

    def overdue(self, time_limit: float) -> Loss | None:
        """Whether it is at one page for too long, or gives no sign of life; writing the shard may take any time."""
        is_at_page = self.is_at_page  # before the signs: a page that begins in between has given one of its own
        signs, _ = self._cell.counts
        if signs != self._signs:
            self._signs, self._at_since = signs, self._clock.time
        if is_at_page:
            is_late = self._clock.time - self._at_since > time_limit
            return Loss(cause=f"took longer than {time_limit:g} s (--time-limit)") if is_late else None
        silence = max(time_limit, _LEAST_SILENCE_S)
        if (self.job is None and self.is_ready) or self._clock.time - self._last_word <= silence:
            return None
        return Loss(cause=f"gave no sign of life for {silence:g} s")

    def where(self, job: Job) -> str:
        """The page it is at, in words."""
        at = self.at
        if at is None or at[0] >= len(job.items):
            return f"{job.kind} {job.number}"
        file = job.items[at[0]].file.path
        return file if at[1] is None else f"{file} page {at[1]}"

    def loss(self) -> Loss:
        """How the process ended, once it has."""
        code = self._process.wait()
        if self.gave_up is not None:
            return Loss(cause=self.gave_up)
        if code >= 0:
            return Loss(cause=f"ended the process with status {code}")
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        return Loss(cause=f"killed the process ({name})", may_be_from_outside=-code not in _CRASHES)

    def stderr_tail(self) -> str:
        """The last it wrote to stderr."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _SHOWN_OF_STDERR))
        return self._stderr.read().decode(errors="replace")

    def end(self) -> None:
        """Kill it, if it still runs, and close its pipes."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead file server ends later
            self._process.wait(_END_S)
            if self._writer is not None:
                self._writer.join()
            self._cell.close()
            for pipe in (self._process.stdin, self._process.stdout, self._stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _write(self, tree: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a process that is gone is noticed when its stdout ends
            self._process.stdin.write(json.dumps(tree).encode() + b"\n")
            self._process.stdin.flush()


def _large_pages() -> dict[str, str]:
    """The environment that asks for large pages, next to other settings of the C library that are there."""
    settings = os.environ.get("GLIBC_TUNABLES", "")
    if _LARGE_PAGES in settings:
        return {}
    return {"GLIBC_TUNABLES": f"{settings}:{_LARGE_PAGES}=1".lstrip(":")}
