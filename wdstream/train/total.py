"""How many steps a run has, while it begins: known at once, or counted next to the first steps.

`train.max_steps` alone needs no count. With `data.epochs` the learning rate needs the number when the warm-up is over,
and not before; until then the main process has it counted in the background, and the ranks hear of it in the exchange
that ends each step. When it is needed and not there, all of them wait. An estimate would make another learning rate.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from accelerate.utils import gather_object

from wdstream.errors import PlanError
from wdstream.pipeline.totals import StepCounter
from wdstream.plan.summary import no_step

_POLL_S = 0.1
_ROUND_S = 5.0
"""Between two words of the main process to those that wait: well within the time limit of any process group."""


@dataclass(kw_only=True)
class RunTotal:
    """Steps of the whole run, on one rank.

    Attributes:
        limit: `train.max_steps`.
        of_data: steps that the data are enough for, as far as `limit` asks; None while they are being counted, or where
            the data tell nothing.
        is_counted: whether the data end by themselves.
        counter: what counts them, on the main process.
        up_to: the count went no further than this, and where it came so far the data may be longer; None: to the end of
            the data.
        key: of what the number is for; 0 where nobody counts.
        is_from_start: nothing that decides it changed since the run began, so that any count for `key` holds.
        global_batch_size: for a message.
        on_wait: called with the steps counted so far, now and then, while the ranks wait.
    """

    limit: int | None
    of_data: int | None = None
    is_counted: bool = False
    up_to: int | None = None
    key: int = 0
    is_from_start: bool = True
    global_batch_size: int = 1
    counter: StepCounter | None = None
    on_wait: Callable[[int], None] = field(default=lambda steps: None)

    @property
    def known(self) -> int | None:
        """Steps of the run; None while they are being counted."""
        if self.is_counted and self.of_data is None:
            return None
        limits = [limit for limit in (self.limit, self.of_data) if limit is not None]
        return min(limits)

    @property
    def ends_with_data(self) -> bool:
        """Whether the run ends because the data do, by an exact count."""
        if not self.is_counted or self.of_data is None:
            return False
        return self.of_data == self.known and (self.up_to is None or self.of_data < self.up_to)

    def news(self) -> int:
        """On the main process, what there is to tell the others: the count, or 0.

        That it cannot be counted is said when it is needed (`wait`), to all ranks.
        """
        if self.counter is None or self.of_data is not None:
            return 0
        with suppress(PlanError):
            return self.counter.poll() or 0
        return 0

    def learn(self, found: int) -> None:
        """Take the main process's `news`, the same on every rank; 0 is none."""
        if found and self.of_data is None:
            self.of_data = found

    def learn_end(self, step: int) -> None:
        """Take that the data ended before this step, where no rate has needed the number so far: it is counted now."""
        if self.is_counted and self.of_data is None:
            self.of_data, self.up_to = step, None

    def wait(self, is_stopping: Callable[[], bool] = bool) -> int | None:
        """The steps of the run, when they are counted; None when a rank was asked to stop before. All call it together.

        Raises:
            PlanError: they cannot be counted, or there is not one.
        """
        while self.known is None:
            told: list[tuple[int | str | None, bool]] = gather_object([(self._wait_here(is_stopping), is_stopping())])
            found, _ = told[0]
            if isinstance(found, str):
                raise PlanError(found)
            self.of_data = found
            if found is None and any(stops for _, stops in told):
                return None
        if self.known == 0:
            raise PlanError(no_step(self.global_batch_size))
        return self.known

    def saved(self) -> dict[str, int]:
        """For the checkpoint; `steps_of_checkpoint` reads it."""
        if not self.is_counted:
            return {}
        is_valid = self.of_data is not None or self.is_from_start
        return {"data_steps": self.of_data or 0, "counted_up_to": self.up_to or 0, "counted_for": self.key * is_valid}

    def close(self) -> None:
        """End the count in the background, if there is one."""
        if self.counter is not None:
            self.counter.close()

    def _wait_here(self, is_stopping: Callable[[], bool]) -> int | str | None:
        """On the main process the count, an error's text, or None when neither came for a while."""
        until = time.monotonic() + _ROUND_S
        while self.counter is not None and time.monotonic() < until and not is_stopping():
            try:
                found = self.counter.poll()
            except PlanError as error:
                return str(error)
            if found is not None:
                return found
            time.sleep(_POLL_S)
        if self.counter is not None:
            self.on_wait(self.counter.steps)
        return None


def steps_of_checkpoint(trainer: Mapping[str, int], *, key: int, limit: int | None) -> tuple[int | None, int | None]:
    """The steps of the data that a checkpoint keeps, where they are those of `key`, and enough is known for `limit`.

    Returns:
        `of_data` and `up_to` of a RunTotal.
    """
    steps, up_to = trainer.get("data_steps", 0), trainer.get("counted_up_to", 0)
    if not steps or trainer.get("counted_for") != key:
        return None, None
    if not up_to or steps < up_to:
        return steps, None
    return (steps, up_to) if limit is not None and steps >= limit else (None, None)
