"""Trying again what may pass: the same for every request, with waits that grow and are never the same on two ranks."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
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


def wait(seconds: float) -> None:
    """Wait, but no longer than anybody wants what comes after."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not is_stopped():
        time.sleep(min(left, _LOOK_S))


class Deadline:
    """A point in time, after which nothing is waited for.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds up to it; a tenth when it is past, so that what waits so long ends by its own error."""
        return max(0.1, self._end - time.monotonic())

    def result_of(self, future: "Future[_Outcome]") -> _Outcome:
        """What a future gives.

        Raises:
            TimeoutError: it is not there in time, or wanted no more; it is cancelled.
        """
        while True:
            try:
                return future.result(min(self.left(), _LOOK_S))
            except TimeoutError:
                if not future.done() and (is_stopped() or time.monotonic() >= self._end):
                    future.cancel()
                if future.done():
                    raise


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


def retrying(
    may_pass: Callable[[BaseException], bool],
    *,
    attempts: int = ATTEMPTS,
    first_wait_s: float = FIRST_WAIT_S,
    most_s: float = MOST_S,
    waits_out: Callable[[BaseException], bool] = lambda _: False,
) -> "tenacity.Retrying":
    """Calls a function until it succeeds, raises what does not pass, or time is over.

    Args:
        may_pass: whether trying again may help against an error.
        attempts: calls at most.
        first_wait_s: seconds before the second call, at most: the wait is a random part of it. The most doubles with
            each further call, up to 10 s.
        most_s: seconds from the first call on, after which no other begins.
        waits_out: whether calls continue against an error for all of these seconds, however many they are.
    """
    import tenacity

    is_late, is_enough = tenacity.stop_before_delay(most_s), _StopAfter(attempts, waits_out)
    return tenacity.Retrying(
        stop=lambda state: is_late(state) or is_enough(state),
        wait=tenacity.wait_random_exponential(multiplier=first_wait_s, max=LONGEST_WAIT_S),
        retry=tenacity.retry_if_exception(may_pass),
        reraise=True,
        sleep=wait,
    )


class _StopAfter:
    """Stops after a number of calls, but where the last one failed in a way that is waited out."""

    def __init__(self, attempts: int, waits_out: Callable[[BaseException], bool]) -> None:
        self._attempts, self._waits_out = attempts, waits_out

    def __call__(self, retry_state: "tenacity.RetryCallState") -> bool:
        if is_stopped():
            return True
        error = None if retry_state.outcome is None else retry_state.outcome.exception()
        return retry_state.attempt_number >= self._attempts and not (error is not None and self._waits_out(error))
