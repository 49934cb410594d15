"""Trying again what may pass: the same for every request, with waits that grow and are never the same on two ranks."""

import time
from collections.abc import Callable

import tenacity
from tenacity.stop import stop_base

ATTEMPTS = 10
"""Tries of one request: where 20 % fail, all of one fail once in ten million. In an outage they are over in 20 s."""
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
MOST_S = 120.0
"""Seconds after which a request is not tried again."""


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


def retrying(
    may_pass: Callable[[BaseException], bool],
    *,
    attempts: int = ATTEMPTS,
    first_wait_s: float = FIRST_WAIT_S,
    most_s: float = MOST_S,
    waits_out: Callable[[BaseException], bool] = lambda _: False,
) -> tenacity.Retrying:
    """Calls a function until it succeeds, raises what does not pass, or time is over.

    Args:
        may_pass: whether trying again may help against an error.
        attempts: calls at most.
        first_wait_s: seconds before the second call, at most: the wait is a random part of it. The most doubles with
            each further call, up to 10 s.
        most_s: seconds from the first call on, after which no other begins.
        waits_out: whether calls go on against an error for all of these seconds, however many they are.
    """
    return tenacity.Retrying(
        stop=tenacity.stop_before_delay(most_s) | _StopAfter(attempts, waits_out),
        wait=tenacity.wait_random_exponential(multiplier=first_wait_s, max=LONGEST_WAIT_S),
        retry=tenacity.retry_if_exception(may_pass),
        reraise=True,
    )


class _StopAfter(stop_base):
    """Stops after a number of calls, but where the last one failed in a way that is waited out."""

    def __init__(self, attempts: int, waits_out: Callable[[BaseException], bool]) -> None:
        self._attempts, self._waits_out = attempts, waits_out

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = None if retry_state.outcome is None else retry_state.outcome.exception()
        return retry_state.attempt_number >= self._attempts and not (error is not None and self._waits_out(error))
