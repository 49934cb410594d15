"""One run, one writer: a lock on the output folder, released by the operating system however the process ends.

A launcher that is killed leaves its processes behind, still training. Started again at once, the run would be written
by two; so the second one is refused until the first is gone.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wdstream.errors import TrainError


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the run's folder while the block lasts.

    Raises:
        TrainError: another process holds it; names its process id.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise TrainError(
                f"{output}: another process ({file.read().strip() or 'unknown'}) is training here; "
                "wait for it, end it, or choose another train.output"
            ) from error
        file.truncate(0)
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        yield
