"""The processes of make-shards: started, given jobs, watched, and replaced when one dies or hangs.

A process that is lost names the page it was at (`worker.py`). The job goes to another process with that page to be
skipped, so that one bad page costs one page. A loss that no page explains stops the run.
"""

import contextlib
import selectors
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wdstream.errors import ShardError, WdstreamError
from wdstream.make_shards.jobs import Job, Skip
from wdstream.make_shards.process import Process

_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PageStarted:
    """A process turned to a page of a job."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDone:
    """A job's result, as JSON; None for a shard, whose record is on disk."""

    job: Job
    result: Any


class Crew:
    """So many processes; use as a context manager, which ends them whatever happens."""

    def __init__(
        self, num_workers: int, setup: dict[str, Any], *, time_limit: float, keep_open: Sequence[int] = ()
    ) -> None:
        """Store how processes are started.

        Args:
            num_workers: most processes at a time; they start as jobs need them.
            setup: the first line each is sent.
            time_limit: seconds a process may take over one page.
            keep_open: file descriptors that processes hold too, a lock's.
        """
        self._num_workers = num_workers
        self._setup = setup
        self._time_limit = time_limit
        self._keep_open = tuple(keep_open)
        self._selector = selectors.DefaultSelector()
        self._workers: list[Process] = []

    def __enter__(self) -> "Crew":
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
        """Give jobs to processes that have none, and start processes while there are more jobs than those."""
        idle = [worker for worker in self._workers if worker.job is None]
        for _ in range(min(len(pending) - len(idle), self._num_workers - len(self._workers))):
            worker = Process(self._setup, self._keep_open)
            self._workers.append(worker)
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        for worker in idle:
            if pending and worker.is_ready:
                worker.give(pending.popleft())

    def _handle(self, worker: Process, message: dict[str, Any]) -> Iterator[PageStarted | JobDone]:
        job = worker.job
        assert job is not None  # a process without a job has nothing to say
        if "fatal" in message:
            raise ShardError(f"{message['fatal']}; when that is put right, run the same command again: it goes on")
        if "bug" in message:
            raise WdstreamError(f"make-shards met a bug at {worker.place(job)}; please report it:\n{message['bug']}")
        if "at" in message:
            worker.at = (int(message["at"][0]), message["at"][1])
            if worker.at[1] is not None or job.kind == "survey":
                yield PageStarted(job=job)
        elif "done" in message:
            worker.job = worker.at = None
            yield JobDone(job=job, result=message["done"])

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
