"""Parts of one job on one output folder, at the same time: each holds its own, and a whole job holds all.

What all parts write alike, such as what the job is of, is written by one of them at a time. The locks are files in the
folder where the job keeps how far it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.storage.atomic import write_file
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.lock import FileLock

_SAVING = "saving"
PARTS = "parts"
"""The file that says in how many parts an output is made."""


@contextmanager
def part_lock(state: Path, part: WorkPart, wait_s: float) -> Iterator[int]:
    """Hold a part of an output for the block; yields the lock's descriptor.

    Raises:
        ConfigError: another process makes this part, or the output is made in another number of parts.
        OSError: the folder cannot be written.
    """
    busy = ConfigError(f"{state.parent}: part {part} is being made there by another process; wait until it has ended")
    with ExitStack() as stack:
        with saving(state, part):
            _refuse_other_number(state, part)
            lock = stack.enter_context(FileLock(state / part.name, wait_s=wait_s, refuse=lambda _: busy))
        yield lock.fileno()


def saving(state: Path, part: WorkPart | None) -> AbstractContextManager[object]:
    """What all parts write is written by one of them at a time; all of a job holds the folder alone anyway."""
    return nullcontext() if part is None else FileLock(state / _SAVING)


def number_of_parts(states: Iterable[Path]) -> int | None:
    """In how many parts an output is made; None where that is not known, or differs between its folders."""
    found = set[int]()
    for state in states:
        try:
            found.add(int((state / PARTS).read_text()))
        except (OSError, ValueError):
            continue
    return found.pop() if len(found) == 1 else None


def remove_part_notes(state: Path) -> None:
    """Remove what parts leave, from an output that is complete and held alone."""
    for path in [state / PARTS, state / _SAVING, *state.glob("part-*-of-*")]:
        path.unlink(missing_ok=True)


def _refuse_other_number(state: Path, part: WorkPart) -> None:
    """Two ways to share out the pieces would have two processes write one.

    Raises:
        ConfigError: parts of another number are at work.
    """
    known = number_of_parts([state])
    if known not in (None, part.of):
        for path in state.glob("part-*-of-*"):
            text = f"{state.parent}: is made in {known} parts by others just now, not in {part.of}; use that number"
            with FileLock(path, wait_s=0, refuse=lambda _, text=text: ConfigError(text)):  # type: ignore[misc]
                path.unlink()
    if known != part.of:
        write_file(state / PARTS, str(part.of).encode())
