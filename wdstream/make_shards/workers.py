"""The processes of make-shards: started, given jobs, watched, and replaced when one is lost.

A process that is lost, or takes too long over a page, is replaced; recovery.py says which jobs follow. A process that
cannot start, again and again, ends the run.
"""

import contextlib
import selectors
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from wdstream.errors import ShardError, WdstreamError
from wdstream.make_shards.jobs import Job, Setup, WorkerMessage
from wdstream.make_shards.process import Clock, Loss, Process
from wdstream.make_shards.recovery import Recovery
from wdstream.raw.source import RawFile
from wdstream.storage.processes import interrupts_wait

_WAIT_S = 0.5
_MOST_FAILED_STARTS = {False: 5, True: 50}
"""In a row; more where someone else may have ended the processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesStarted:
    """A process began pages of a job, since it was last heard of."""

    job: Job
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDone:
    """A job is done; `files` are those of a survey, and none for a shard, whose record is on disk."""

    job: Job
    files: tuple[RawFile, ...]


MoreJobs = Callable[[JobDone], Sequence[Job]]
"""Jobs that follow from one that is done, to be done before all others."""


class Workers:
    """The processes of a job; use as a context manager, which ends them whatever happens.

    Attributes:
        recovery: what was lost, and what became of it.
        is_elsewhere: see JobEngine.
    """

    is_elsewhere = False

    def __init__(self, num_workers: int, setup: Setup, *, time_limit: float, keep_open: Sequence[int] = ()) -> None:
        """Store how processes are started.

        Args:
            num_workers: most processes at a time; they start as jobs need them.
            setup: the first line that each is sent.
            time_limit: seconds that a process may take over one page.
            keep_open: file descriptors that they inherit, such as a lock's.
        """
        self.recovery = Recovery()
        self._num_workers = num_workers
        self._setup = setup
        self._time_limit = time_limit
        self._keep_open = tuple(keep_open)
        self._selector = selectors.DefaultSelector()
        self._workers: list[Process] = []
        self._clock = Clock()
        self._failed_starts = Counter[bool]()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_exception: object) -> None:
        for worker in list(self._workers):
            self._remove(worker)
        self._selector.close()

    def run(self, jobs: Iterable[Job], more: MoreJobs | None = None) -> Iterator[PagesStarted | JobDone]:
        """Have all jobs done, in any order; yields what happens. See `JobEngine`.

        Raises:
            ShardError: a process cannot write.
            WdstreamError: processes cannot start, are lost outside of any page again and again, or one met a bug.
        """
        pending, upcoming = deque[Job](), iter(jobs)
        while self._take(upcoming, pending) or any(worker.job for worker in self._workers):
            self._hand_out(pending)
            ready = self._selector.select(min(_WAIT_S, self._time_limit / 4))
            self._clock.tick()
            for selected, _ in ready:
                worker: Process = selected.data
                messages = worker.receive()
                if messages is None:
                    pending.extendleft(reversed(self._after_loss(worker, worker.loss())))
                for message in messages or ():
                    for event in self._handle(worker, message, pending):
                        yield event
                        if more is not None and isinstance(event, JobDone):
                            pending.extendleft(reversed(more(event)))
            for worker in list(self._workers):
                loss = worker.overdue(self._time_limit)
                if loss is not None:
                    pending.extendleft(reversed(self._after_loss(worker, loss)))

    def _take(self, upcoming: Iterator[Job], pending: deque[Job]) -> bool:
        """Take as many of the jobs to come as there is work for, since all together may need much memory; whether any
        is pending."""
        enough = 2 * self._num_workers - sum(not job.is_alone for job in pending)
        pending.extend(islice(upcoming, max(enough, 0)))
        return bool(pending)

    def _hand_out(self, pending: deque[Job]) -> None:
        """Give jobs to idle processes, and start processes while there are more jobs than idle ones."""
        for worker in self._idle():
            job = next((job for job in pending if worker.is_fresh or not job.is_alone), None)
            if worker.is_ready and job is not None:
                with interrupts_wait():
                    pending.remove(job)
                    worker.give(job)
        idle = self._idle()
        wanted = len(pending) - len(idle)
        # Only losses make jobs that are done alone; there may be many thousands of others.
        is_any_alone = self.recovery.tried_again > 0 and any(job.is_alone for job in pending)
        if is_any_alone and not any(worker.is_fresh for worker in idle):
            wanted = max(wanted, 1)
            if idle and len(self._workers) == self._num_workers:
                self._remove(idle[0])  # in favour of one that has done nothing yet
        for _ in range(min(wanted, self._num_workers - len(self._workers))):
            with interrupts_wait():
                worker = Process(self._setup, self._keep_open, self._clock)
                self._workers.append(worker)
                self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def _idle(self) -> list[Process]:
        return [worker for worker in self._workers if worker.job is None]

    def _handle(self, worker: Process, message: WorkerMessage, pending: deque[Job]) -> Iterator[PagesStarted | JobDone]:
        job = worker.job
        assert job is not None  # a process without a job sends nothing
        self._failed_starts.clear()
        if "fatal" in message:
            raise ShardError(f"{message['fatal']}; when that is put right, run the same command again: it continues")
        if "bug" in message:
            raise WdstreamError(
                f"make-shards has a bug, met at {worker.where(job)}; please report it:\n{message['bug']}"
            )
        if "lost" in message:
            worker.gave_up = message["lost"]
        elif "pages" in message:
            if count := worker.pages_begun():
                yield PagesStarted(job=job, count=count)
        elif "done" in message:
            worker.job = None
            if job.kind == "keep":
                pending.extendleft(self.recovery.after_keeping(job))
            else:
                yield JobDone(job=job, files=tuple(map(RawFile.from_json, message["done"] or ())))

    def _after_loss(self, worker: Process, loss: Loss) -> list[Job]:
        """Remove a lost process; the jobs that take the place of its own."""
        job, at = worker.job, worker.at
        stderr = worker.stderr_tail()
        self._remove(worker)
        if job is not None:
            return self.recovery.after_loss(job, at, loss)
        kind = loss.may_be_from_outside
        self._failed_starts[kind] += not worker.is_ready
        if self._failed_starts[kind] > _MOST_FAILED_STARTS[kind]:
            raise WdstreamError(
                f"processes of make-shards cannot start: {self._failed_starts[kind]} in a row were lost outside of any "
                f"page, the last one {loss.cause}; run the same command again.\n{stderr}".rstrip()
            )
        return []

    def _remove(self, worker: Process) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.stdout)
        worker.end()
        self._workers.remove(worker)
