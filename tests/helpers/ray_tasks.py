"""Functions that a cluster is asked to call."""

import time
from pathlib import Path

from wdstream.errors import ShardError


def square(number: int) -> int:
    """At once."""
    return number * number


def slow_square(number: int) -> int:
    """The earlier, the longer it takes, so that later ones are done first."""
    time.sleep(0.05 * (5 - number % 6))
    return number * number


def refuses(number: int) -> int:
    """An error of ours."""
    raise ShardError(f"{number}: no such page")


def waits_for_file(path: str) -> int:
    """Until it is there."""
    while not Path(path).exists():
        time.sleep(0.1)
    return 1
