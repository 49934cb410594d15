"""A worker process as its parent sees it: pipes, the job it has, the page it is at, how it ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from wdstream.make_shards.jobs import Job

# One thread each: there is a process a core.
_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_SHOWN_OF_STDERR = 2000


class Process:
    """A running worker: its pipes, its job, and the page it is at."""

    def __init__(self, setup: dict[str, Any], keep_open: tuple[int, ...]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        # The package may be found by the path this program set up, not by an installation.
        paths = [path for path in sys.path if path and Path(path).is_dir()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wdstream.make_shards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=keep_open,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdout is not None
        self.stdout: IO[bytes] = self._process.stdout
        self._pending = b""
        self.job: Job | None = None
        self.at: tuple[int, int | None] | None = None
        self.is_ready = False
        self._last_word = time.monotonic()
        self._write(setup)

    def give(self, job: Job) -> None:
        """Send a job; a process that is ready reads it at once, however long it is."""
        self.job, self.at = job, None
        self._last_word = time.monotonic()
        self._write(job.to_json())

    def receive(self) -> list[dict[str, Any]] | None:
        """Messages that have come, or None when the process is gone."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._last_word = time.monotonic()
        messages = [json.loads(line) for line in lines]
        self.is_ready = self.is_ready or bool(messages)
        return [message for message in messages if "ready" not in message]

    def is_late(self, time_limit: float) -> bool:
        """Whether it has been at one page for too long; writing the shard, after the last page, may take any time."""
        is_at_page = self.job is not None and self.at is not None and self.at[0] < len(self.job.items)
        return is_at_page and time.monotonic() - self._last_word > time_limit

    def place(self, job: Job) -> str:
        """The page it is at, in words."""
        if self.at is None or self.at[0] >= len(job.items):
            return f"{job.kind} {job.number}"
        file = job.items[self.at[0]].file.path
        return file if self.at[1] is None else f"{file} page {self.at[1]}"

    def cause_of_death(self) -> str:
        """How it ended, in words."""
        code = self._process.wait()
        if code >= 0:
            return f"ended the process with status {code}"
        return f"killed the process ({signal.Signals(-code).name})"

    def stderr_tail(self) -> str:
        """The last it wrote to stderr."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")[-_SHOWN_OF_STDERR:]

    def end(self) -> None:
        """Kill it, if it still runs, and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _write(self, tree: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a process that is gone is noticed when its stdout ends
            self._process.stdin.write(json.dumps(tree).encode() + b"\n")
            self._process.stdin.flush()
