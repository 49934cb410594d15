"""One thread that finishes what saving has begun, while training continues."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Runs jobs one after the other in a thread; in this one, at once, where there is to be none.

    Args:
        is_threaded: False for a run that saves between steps.
    """

    def __init__(self, *, is_threaded: bool) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saving") if is_threaded else None
        self._jobs: list[Future[None]] = []

    def add(self, job: Callable[[], None]) -> None:
        """Run a job after those before it."""
        if self._pool is None:
            job()
        else:
            self._jobs.append(self._pool.submit(job))

    @property
    def has_failed(self) -> bool:
        """Whether a job ended in an error, which `wait` raises."""
        return any(job.done() and job.exception() is not None for job in self._jobs)

    def wait(self) -> None:
        """Return when every job is done; raises the error of the first that failed."""
        while self._jobs:
            self._jobs.pop(0).result()

    def close(self) -> None:
        """Wait for the jobs, whatever becomes of them; nothing can be added any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
