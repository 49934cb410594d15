"""What parts of make-shards, and tasks on other machines, leave next to their shards, and how one waits for another."""

import atexit
import re
from contextlib import ExitStack
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.storage.atomic import TEMP_SUFFIX
from wdstream.storage.engines.own_folder import own_folder
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.lock import FileLock
from wdstream.storage.writes.scratch import temporary_folder

_DOING = "doing-"
_SHARD_NUMBER = re.compile(r"(?:shard|kept|readings|doing)-(\d{6,})\b")
_PREFIX = "ray-"
_held = ExitStack()
"""The folders of this process, until it ends."""


def doing_path(out: Path, number: int) -> Path:
    """The lock of a shard, held by whoever makes it on another machine."""
    return out / STATE_FOLDER / f"{_DOING}{number:06d}"


def await_tasks(out: Path, part: WorkPart | None, wait_s: float) -> None:
    """Wait for tasks on other machines of a job that was killed a moment ago; nothing is left of them.

    Raises:
        ConfigError: they do not end.
    """
    for path in (out / STATE_FOLDER).glob(f"{_DOING}*"):
        number = int(path.name.removeprefix(_DOING))
        if part is None or part.owns(number):
            text = f"{out}: shard {number} is being written by a task of an earlier job; wait until it has ended"
            with FileLock(path, wait_s=wait_s, refuse=lambda _, text=text: ConfigError(text)):  # type: ignore[misc]
                path.unlink(missing_ok=True)


def remove_debris_of(out: Path, part: WorkPart) -> None:
    """Remove what this part left half-written when it was killed, and pages that it kept for a shard."""
    state = out / STATE_FOLDER
    for path in [*out.glob(f"shard-*{TEMP_SUFFIX}"), *state.glob(f"*-*{TEMP_SUFFIX}"), *state.glob("kept-*")]:
        number = _SHARD_NUMBER.match(path.name)
        if number is not None and part.owns(int(number[1])):
            path.unlink(missing_ok=True)


def new_scratch() -> Path:
    """An empty folder for this process; those of processes that have ended, by `kill -9` say, are removed.

    Raises:
        ConfigError: the folder for temporary files is somebody else's.
    """
    folder = temporary_folder()
    atexit.register(_held.close)  # Ray may end this process before Python closes what it holds
    top = _held.enter_context(own_folder(folder, _PREFIX))
    (top / "out" / STATE_FOLDER).mkdir(parents=True)
    return top / "out"


def empty_scratch(out: Path) -> None:
    """Remove what a task left there: its shard is in the store."""
    for path in out.rglob("*"):
        if path.is_file():
            path.unlink()
