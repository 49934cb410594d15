"""Numbers of steps as a configuration lists them: single ones, and ranges such as "2000-2010"."""

import re
from collections.abc import Sequence

_ENTRY = re.compile(r"([0-9]+)(?:\s*-\s*([0-9]+))?")


def range_of_steps(entry: int | str) -> range:
    """The steps of an entry of `train.skip_steps`, or of `train.profile`; both ends of a range belong to it.

    Raises:
        ValueError: it is neither a number nor a range.
    """
    found = _ENTRY.fullmatch(str(entry).strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if last < first:
        raise ValueError(f'expected a number of a step, such as 1234, or a range, such as "2000-2010", found {entry!r}')
    return range(first, last + 1)


def require_steps_of_run(entries: Sequence[int | str], num_steps: int, *, of: str) -> None:
    """Refuse entries of `train.skip_steps` that a run does not have, and a run of which nothing is left.

    Args:
        entries: each a number or a range.
        num_steps: of the run.
        of: what says this number.

    Raises:
        ValueError: names the entry, and the steps that there are.
    """
    ranges = {entry: range_of_steps(entry) for entry in entries}
    for entry, steps in ranges.items():
        if steps[-1] >= num_steps:
            raise ValueError(f"skip_steps: {entry}: the steps of the run are 0 to {num_steps - 1} ({of})")
    if ranges and all(any(step in steps for steps in ranges.values()) for step in range(num_steps)):
        raise ValueError(f"skip_steps: all {num_steps} steps of the run are passed over, so nothing would be trained")
