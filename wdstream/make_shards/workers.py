"""The processes of make-shards: started, given jobs, watched, and replaced when one dies or hangs.

A process that is lost names the page it was at (`worker_main.py`). The job goes to another process with that page to be
skipped, so that one bad page costs one page. A loss that no page explains stops the job.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from wdstream.errors import ShardError, WdstreamError
from wdstream.make_shards.jobs import Job, Setup, Skip, WorkerMessage
from wdstream.raw.source import RawFile

# One thread each: there is a process per core.
_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_SHOWN_OF_STDERR = 2000


class Process:
    """A running worker: its pipes, its job, and the page it is at."""

    def __init__(self, setup: Setup, keep_open: tuple[int, ...]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        # The package may be found by the path this program set up, not by an installation.
        paths = [path for path in sys.path if path and Path(path).is_dir()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wdstream.make_shards.worker_main"],
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
        self._write(asdict(job))

    def receive(self) -> list[WorkerMessage] | None:
        """Messages that have come, or None when the process is gone."""
        data = os.read(self.stdout.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._last_word = time.monotonic()
        messages: list[WorkerMessage] = [json.loads(line) for line in lines]
        self.is_ready = self.is_ready or bool(messages)
        return [message for message in messages if "ready" not in message]

    def is_late(self, time_limit: float) -> bool:
        """Whether it has been at one page for too long; writing the shard, after the last page, may take any time."""
        is_at_page = self.job is not None and self.at is not None and self.at[0] < len(self.job.items)
        return is_at_page and time.monotonic() - self._last_word > time_limit

    def where(self, job: Job) -> str:
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

    def _write(self, tree: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a process that is gone is noticed when its stdout ends
            self._process.stdin.write(json.dumps(tree).encode() + b"\n")
            self._process.stdin.flush()


_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PageStarted:
    """A process begins a page of a job."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDone:
    """A job is done; `files` are those of a survey, and none for a shard, whose record is on disk."""

    job: Job
    files: tuple[RawFile, ...]


class Workers:
    """The processes of a job; use as a context manager, which ends them whatever happens."""

    def __init__(self, num_workers: int, setup: Setup, *, time_limit: float, keep_open: Sequence[int] = ()) -> None:
        """Store how processes are started.

        Args:
            num_workers: most processes at a time; they start as jobs need them.
            setup: the first line that each is sent.
            time_limit: seconds that a process may take over one page.
            keep_open: file descriptors that they inherit, such as a lock's.
        """
        self._num_workers = num_workers
        self._setup = setup
        self._time_limit = time_limit
        self._keep_open = tuple(keep_open)
        self._selector = selectors.DefaultSelector()
        self._workers: list[Process] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_exception: object) -> None:
        for worker in list(self._workers):
            self._remove(worker)
        self._selector.close()

    def run(self, jobs: Sequence[Job]) -> Iterator[PageStarted | JobDone]:
        """Have all jobs done, in any order; yields what happens.

        Raises:
            ShardError: a process cannot write.
            WdstreamError: a process cannot start, dies outside of any page, or met a bug.
        """
        pending = deque(jobs)
        while pending or any(worker.job for worker in self._workers):
            self._hand_out(pending)
            for selected, _ in self._selector.select(min(_WAIT_S, self._time_limit / 4)):
                worker: Process = selected.data
                messages = worker.receive()
                if messages is None:
                    pending.appendleft(self._replacement(worker, worker.cause_of_death()))
                for message in messages or ():
                    yield from self._handle(worker, message)
            for worker in [worker for worker in self._workers if worker.is_late(self._time_limit)]:
                pending.appendleft(self._replacement(worker, f"took longer than {self._time_limit:g} s"))

    def _hand_out(self, pending: deque[Job]) -> None:
        """Give jobs to idle processes, and start processes while there are more jobs than idle ones."""
        idle = [worker for worker in self._workers if worker.job is None]
        for _ in range(min(len(pending) - len(idle), self._num_workers - len(self._workers))):
            worker = Process(self._setup, self._keep_open)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        for worker in idle:
            if pending and worker.is_ready:
                worker.give(pending.popleft())

    def _handle(self, worker: Process, message: WorkerMessage) -> Iterator[PageStarted | JobDone]:
        job = worker.job
        assert job is not None  # a process without a job sends nothing
        if "fatal" in message:
            raise ShardError(f"{message['fatal']}; when that is put right, run the same command again: it continues")
        if "bug" in message:
            raise WdstreamError(
                f"make-shards has a bug, met at {worker.where(job)}; please report it:\n{message['bug']}"
            )
        if "at" in message:
            worker.at = message["at"]
            if worker.at[1] is not None or job.kind == "survey":
                yield PageStarted(job=job)
        elif "done" in message:
            worker.job = worker.at = None
            yield JobDone(job=job, files=tuple(map(RawFile.from_json, message["done"] or ())))

    def _replacement(self, worker: Process, cause: str) -> Job:
        """Remove a lost process; its job again, without the page it was lost at."""
        job, at = worker.job, worker.at
        stderr = worker.stderr_tail()
        self._remove(worker)
        if job is None or at is None or at[0] >= len(job.items):
            raise WdstreamError(
                f"a process of make-shards {cause} outside of any page; run the same command again.\n{stderr}".rstrip()
            )
        return replace(job, skips=(*job.skips, Skip(item=at[0], page=at[1], reason=f"reading it {cause}")))

    def _remove(self, worker: Process) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.stdout)
        worker.end()
        self._workers.remove(worker)
