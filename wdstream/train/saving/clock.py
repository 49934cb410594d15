"""`train.checkpoint_minutes`: how long the last checkpoint was ago."""

from time import monotonic


class SaveClock:
    """Runs from the start of the run and from each checkpoint on; the ranks go by that of the main process.

    Args:
        minutes: after which a checkpoint is due; None: never.
    """

    def __init__(self, minutes: float | None) -> None:
        self._seconds = None if minutes is None else 60 * minutes
        self._began = monotonic()

    def restart(self) -> None:
        """A checkpoint is being written."""
        self._began = monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._seconds is not None and monotonic() - self._began >= self._seconds
