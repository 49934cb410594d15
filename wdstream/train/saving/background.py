"""One thread that finishes what saving has begun, while training continues."""

from collections.abc import Callable
from queue import Queue
from threading import Thread


class Background:
    """Runs jobs one after the other in a thread; in this one, at once, where there is to be none.

    After a job that failed no other is run: it would build on what is not there.

    Args:
        is_threaded: False for a run that saves between steps.
    """

    def __init__(self, *, is_threaded: bool) -> None:
        self._jobs: Queue[Callable[[], object] | None] = Queue()
        self._error: BaseException | None = None
        # A daemon, which the end of the process does not wait for: see `abandon`.
        self._thread = Thread(target=self._work, name="saving", daemon=True) if is_threaded else None
        if self._thread is not None:
            self._thread.start()

    def add(self, job: Callable[[], object]) -> None:
        """Run a job after those before it."""
        if self._thread is None:
            job()
        else:
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # whatever it is, `wait` raises it in the thread that trains
                self._error = error
            finally:
                self._jobs.task_done()

    @property
    def has_failed(self) -> bool:
        """Whether a job ended in an error, which `wait` raises."""
        return self._error is not None

    def wait(self) -> None:
        """Return when every job is done; raises the error of the one that failed."""
        self._jobs.join()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Wait for nothing any more, and leave unfinished what is being written."""
        self._thread = None

    def close(self) -> None:
        """Wait for the jobs, whatever becomes of them; nothing can be added any more."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
