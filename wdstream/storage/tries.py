"""Trying again what may pass: the same for every request, with waits that grow and are never the same on two ranks."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from wdstream.errors import StorageFailureError

if TYPE_CHECKING:  # imported with the first request: it brings asyncio, and most processes make none
    import tenacity

ATTEMPTS = 10
"""Tries of one request: where 20 % fail, all of one fail once in ten million. In an outage they are over in 20 s."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
MOST_S = 120.0
"""Seconds after which a request is not tried again."""
_GRACE_S = 1.0
_LOOK_S = 0.2
"""Seconds after which a wait looks whether it is still wanted."""
_LONGEST_LOOK_S = 1.0
_LONGEST_TRY_S = 30.0
"""Seconds from one look to the next in which a process can have run, where it looks all the time, and where a request
is sent that is given up when nothing comes for 20 s."""
_ASKED = 12
"""Times of one question, until the same answer comes twice; where a fifth of the answers is damaged, a few do."""
_Outcome = TypeVar("_Outcome")


class Stop:
    """Whether what threads wait for is wanted no more. A fork may take it along."""

    _at = float("inf")

    def set(self) -> None:
        """End the waits of these threads in a moment, so that what comes at once still comes."""
        self._at = min(self._at, time.monotonic() + _GRACE_S)

    @property
    def is_over(self) -> bool:
        """Whether the moment is over."""
        return time.monotonic() >= self._at


_OF_THREAD = threading.local()


def stop_of_thread() -> Stop | None:
    """What ends the waits of this thread; None where nothing does."""
    return getattr(_OF_THREAD, "stop", None)


def end_by(stop: Stop | None) -> None:
    """Have waits of this thread ended by `stop`, and of threads that nodes start from it."""
    _OF_THREAD.stop = stop


def is_stopped() -> bool:
    """Whether this thread is to wait for nothing more."""
    stop = stop_of_thread()
    return stop is not None and stop.is_over


class Deadline:
    """Some seconds in which this process runs, after which nothing is waited for.

    What it is stopped for does not count: a Ctrl-Z, a machine that is suspended or moved, a clock that jumps. What is
    waited for may be there long ago.

    Args:
        seconds: how many.
    """

    def __init__(self, seconds: float) -> None:
        self._left, self._looked_at = seconds, time.monotonic()
        self._most_s = _LONGEST_TRY_S

    def is_over_by_try(self, *, after_s: float = 0.0) -> bool:
        """Whether they are over, asked before or after a request that may have looked by `result_of`, or not at all.

        Args:
            after_s: seconds that are to be waited first.
        """
        return self.is_over(most_s=self._most_s) or self._left <= after_s

    def is_over(self, *, most_s: float = _LONGEST_LOOK_S) -> bool:
        """Whether they are over; to be asked now and then.

        Args:
            most_s: seconds since it was asked last, or began, that this process can have run at most.
        """
        now = time.monotonic()
        self._left -= min(now - self._looked_at, most_s)
        self._looked_at = now
        return self._left <= 0

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than anybody wants what comes after."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not is_stopped():
            time.sleep(min(left, _LOOK_S))
            self.is_over()

    def result_of(self, future: "Future[_Outcome]") -> _Outcome:
        """What a future gives.

        Raises:
            TimeoutError: it is not there in time, or wanted no more; it is cancelled.
        """
        self.is_over_by_try()  # what came before
        self._most_s = _LONGEST_LOOK_S  # from here on it is looked at all the time
        while True:
            try:
                return future.result(_LOOK_S)
            except TimeoutError:
                if future.done():
                    return future.result()  # which may have come in this moment
                if self.is_over() or is_stopped():
                    future.cancel()
                    raise
            finally:
                self.is_over()  # it may be stopped while the answer comes


def come_twice(
    ask: Callable[[], _Outcome],
    what: str,
    *,
    part: Callable[[_Outcome], object] = lambda answer: answer,
    is_sure: Callable[[_Outcome], bool] = lambda _: False,
) -> _Outcome:
    """An answer, asked for until it comes twice the same: what is changed on its way is not changed so again.

    Args:
        ask: for it, once.
        what: is asked for, for the error.
        part: of an answer that is to be the same.
        is_sure: whether an answer vouches for itself, so that it need not come twice.

    Raises:
        StorageFailureError: no answer comes twice; or as `ask`.
    """
    seen: list[object] = []
    while len(seen) < _ASKED:
        answer = ask()
        if is_sure(answer) or part(answer) in seen:
            return answer
        seen.append(part(answer))
    raise StorageFailureError(
        f"{what} came otherwise each of {_ASKED} times: the network or the storage damages what it sends"
    )


class Retrying:
    """Calls a function until it succeeds, raises what does not pass, or time is over.

    Args:
        may_pass: whether trying again may help against an error.
        attempts: calls at most.
        first_wait_s: seconds before the second call, at most: the wait is a random part of it. The most doubles with
            each further call, up to 10 s.
        most_s: seconds from the first call on, after which no other begins.
        waits_out: whether calls continue against an error for all of these seconds, however many they are.
    """

    def __init__(
        self,
        may_pass: Callable[[BaseException], bool],
        *,
        attempts: int = ATTEMPTS,
        first_wait_s: float = FIRST_WAIT_S,
        most_s: float = MOST_S,
        waits_out: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self._may_pass, self._attempts, self._waits_out = may_pass, attempts, waits_out
        self._first_wait_s, self._most_s = first_wait_s, most_s
        self._of_thread = threading.local()

    @property
    def num_tries(self) -> int:
        """How often the last function of this thread was called."""
        return getattr(self._of_thread, "num_tries", 1)

    def __call__(self, request: Callable[[Deadline], _Outcome]) -> _Outcome:
        """What the function gives, which is passed when all is over."""
        import tenacity

        deadline = Deadline(self._most_s)
        trying = tenacity.Retrying(
            stop=partial(self._is_enough, deadline),
            wait=tenacity.wait_random_exponential(multiplier=self._first_wait_s, max=LONGEST_WAIT_S),
            retry=tenacity.retry_if_exception(self._may_pass),
            reraise=True,
            sleep=deadline.wait,
            before=self._note,
        )
        return trying(request, deadline)

    def _note(self, state: "tenacity.RetryCallState") -> None:
        self._of_thread.num_tries = state.attempt_number

    def _is_enough(self, deadline: Deadline, state: "tenacity.RetryCallState") -> bool:
        """Whether no other call is to be made."""
        if deadline.is_over_by_try(after_s=state.upcoming_sleep) or is_stopped():
            return True
        error = None if state.outcome is None else state.outcome.exception()
        return state.attempt_number >= self._attempts and not (error is not None and self._waits_out(error))
