"""Numbers of steps as a configuration lists them: single ones, and ranges such as "2000-2010"."""

import re

_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")


def range_of_steps(entry: int | str) -> range:
    """The steps of an entry of `train.skip_steps`, or of `train.profile`; both ends of a range belong to it.

    Raises:
        ValueError: it is neither a number nor a range.
    """
    found = _RANGE.fullmatch(str(entry).strip())
    first, last = map(int, found.groups() if found else (str(entry), str(entry)) if str(entry).isdigit() else (1, 0))
    if last < first:
        raise ValueError(f'expected a number of a step, such as 1234, or a range, such as "2000-2010", found {entry!r}')
    return range(first, last + 1)
