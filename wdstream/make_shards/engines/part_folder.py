"""Parts of one job on one output folder, at the same time: each holds its own, and leaves those of others alone.

A part makes the shards whose number is its own. The manifest, the survey and the stamps of the input are the same for
all, and are written one part at a time.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.storage.atomic import TEMP_SUFFIX, write_file
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.lock import FileLock

_SAVING = "saving"
_PARTS = "parts"
_DOING = "doing-"
_SHARD_NUMBER = re.compile(r"(?:shard|kept|readings|doing)-(\d{6,})\b")


@contextmanager
def part_lock(out: Path, part: WorkPart, wait_s: float) -> Iterator[int]:
    """Hold a part of the output for the block; yields the lock's descriptor.

    Raises:
        ConfigError: another process makes this part, or the output is made in another number of parts.
        OSError: the folder cannot be written.
    """
    state = out / STATE_FOLDER
    busy = ConfigError(f"{out}: part {part} is being made there by another make-shards; wait until it has ended")
    with ExitStack() as stack:
        with saving(out, part):
            _refuse_other_number(out, part)
            lock = stack.enter_context(FileLock(state / part.name, wait_s=wait_s, refuse=lambda _: busy))
        yield lock.fileno()


def saving(out: Path, part: WorkPart | None) -> AbstractContextManager[object]:
    """What all parts write is written by one of them at a time; all of a job holds the folder alone anyway."""
    return nullcontext() if part is None else FileLock(out / STATE_FOLDER / _SAVING)


def doing_path(out: Path, number: int) -> Path:
    """The lock of a shard, held by whoever makes it on another machine."""
    return out / STATE_FOLDER / f"{_DOING}{number:06d}"


def await_tasks(out: Path, part: WorkPart | None, wait_s: float) -> None:
    """Wait for tasks on other machines of a job that was killed a moment ago.

    Raises:
        ConfigError: they do not end.
    """
    for path in (out / STATE_FOLDER).glob(f"{_DOING}*"):
        number = int(path.name.removeprefix(_DOING))
        if part is None or part.owns(number):
            text = f"{out}: shard {number} is being written by a task of an earlier job; wait until it has ended"
            with FileLock(path, wait_s=wait_s, refuse=lambda _, text=text: ConfigError(text)):  # type: ignore[misc]
                path.unlink(missing_ok=True)


def number_of_parts(folders: Iterable[Path]) -> int | None:
    """In how many parts an output is made; None where that is not known, or differs between its folders."""
    found = set[int]()
    for folder in folders:
        try:
            found.add(int((folder / STATE_FOLDER / _PARTS).read_text()))
        except (OSError, ValueError):
            continue
    return found.pop() if len(found) == 1 else None


def remove_debris_of(out: Path, part: WorkPart) -> None:
    """Remove what this part left half-written when it was killed, and pages that it kept for a shard."""
    state = out / STATE_FOLDER
    for path in [*out.glob(f"shard-*{TEMP_SUFFIX}"), *state.glob(f"*-*{TEMP_SUFFIX}"), *state.glob("kept-*")]:
        number = _SHARD_NUMBER.match(path.name)
        if number is not None and part.owns(int(number[1])):
            path.unlink(missing_ok=True)


def remove_part_notes(out: Path) -> None:
    """Remove what parts and tasks leave next to their shards, from an output that is complete and held alone."""
    state = out / STATE_FOLDER
    for path in [state / _PARTS, state / _SAVING, *state.glob("part-*-of-*"), *state.glob(f"{_DOING}*")]:
        path.unlink(missing_ok=True)


def _refuse_other_number(out: Path, part: WorkPart) -> None:
    """Two ways to share out the shards would have two processes write one.

    Raises:
        ConfigError: parts of another number are at work.
    """
    known = number_of_parts([out])
    if known not in (None, part.of):
        for path in (out / STATE_FOLDER).glob("part-*-of-*"):
            text = f"{out}: is made in {known} parts by others at this moment, not in {part.of}; use that number"
            with FileLock(path, wait_s=0, refuse=lambda _, text=text: ConfigError(text)):  # type: ignore[misc]
                path.unlink()
    if known != part.of:
        write_file(out / STATE_FOLDER / _PARTS, str(part.of).encode())
