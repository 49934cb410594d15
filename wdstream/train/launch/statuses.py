"""How a training process says that it has ended: its exit status, and what it tells `wdstream launch`.

    0       finished
    3       stopped, with a checkpoint to continue from (`train.stopped_status`)
    1, 2    failed: the run; the configuration
    130     stopped at once, by a second signal

`accelerate launch` and torchrun make 1 of any status of their processes but 0, and print a traceback for it (or start
all again, with --max_restarts). So a mere stop is 0 under them, unless the setting asks for another; `wdstream launch`
learns the truth from a folder that it makes for each start and names in the environment:

    pid-RANK       this process catches signals from now on: its number, and when it began
    ended-RANK     how it ended, in a word, and its status; why it failed

A folder and not a pipe: it needs no descriptor that every launcher in between passes on, and a process that was killed
is one that left no `ended` file. Each start has its own, so two runs never mix.

The processes of one run hear of each other's end as of a connection that is closed. Which of them failed, and why, they
read in its output folder, where the first one wrote it before it ended (`reported_failures`).
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

import psutil

from wdstream.errors import TrainError, WdstreamError, file_trouble, load_json
from wdstream.runs.layout import RunLayout
from wdstream.storage.atomic import write_file
from wdstream.storage.tries import Deadline
from wdstream.train.launch.signals import is_launched

FINISHED, FAILED, STOPPED = 0, 1, 3
FOLDER_VARIABLE = "WDSTREAM_LAUNCH_FOLDER"
LOST = "another process of this run"
"""Begins the reason of a process that failed because of another one."""
_GONE = re.compile("connection (was )?(closed|reset|refused)|broken pipe|remote process exited", re.IGNORECASE)
_LATE = re.compile("timed out waiting|watchdog caught collective operation timeout", re.IGNORECASE)
"""In the errors of gloo and NCCL, which have no type of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a training process ended.

    Attributes:
        how: finished, stopped (with a checkpoint) or failed.
        status: the exit status that says so.
        reason: why it failed, for the user.
    """

    how: str
    status: int
    reason: str = ""


class LaunchFolder:
    """The folder in which training processes tell `wdstream launch` how they are.

    Args:
        path: the folder, which the launcher made; None where the launcher is another one: then nothing is written.
        rank: of this process.
    """

    def __init__(self, path: Path | None, rank: str) -> None:
        self._path = path
        self._rank = rank

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "LaunchFolder":
        """That of this process."""
        folder = environment.get(FOLDER_VARIABLE)
        return cls(Path(folder) if folder else None, environment.get("RANK", "0"))

    def tell_pid(self) -> None:
        """Say that this process can be signalled."""
        self._write("pid", f"{os.getpid()} {psutil.Process().create_time()}")

    def tell_end(self, ended: Ended) -> None:
        """Say how this process ends."""
        self._write("ended", f"{ended.how} {ended.status}\n{ended.reason}")

    def _write(self, name: str, text: str) -> None:
        if self._path is not None:
            with suppress(OSError):  # the launcher was killed, and its folder removed
                write_file(self._path / f"{name}-{self._rank}", text.encode())


def read_processes(folder: Path) -> dict[str, tuple[int, float]]:
    """Numbers of the processes that can be signalled, by rank, and when they began: numbers are used again."""
    said = {rank: text.split() for rank, text in _read(folder, "pid").items()}
    return {rank: (int(pid), float(began)) for rank, (pid, began) in said.items()}


def read_ends(folder: Path) -> dict[str, Ended]:
    """How the ranks ended that said so."""
    return {rank: _read_end(text) for rank, text in _read(folder, "ended").items()}


def _read_end(text: str) -> Ended:
    line, _, reason = text.partition("\n")
    how, status = line.split()
    return Ended(how=how, status=int(status), reason=reason)


def _read(folder: Path, name: str) -> dict[str, str]:
    """Texts of the files of one kind by rank, in the order of ranks."""
    paths = {path.name.removeprefix(f"{name}-"): path for path in folder.glob(f"{name}-*") if not path.suffix}
    return {rank: paths[rank].read_text(encoding="utf-8") for rank in sorted(paths, key=int)}


def stopped_end(wanted: int | None) -> Ended:
    """How a run ended that stopped with a checkpoint; `wanted` is `train.stopped_status`."""
    return Ended(how="stopped", status=STOPPED if wanted is None else wanted)


def process_status(ended: Ended, *, wanted: int | None, environment: Mapping[str, str]) -> int:
    """The exit status of a training process that ended well.

    Args:
        ended: how.
        wanted: `train.stopped_status`.
        environment: of this process, which says who started it.
    """
    if ended.how == "stopped" and (FOLDER_VARIABLE in environment or (wanted is None and is_launched(environment))):
        return FINISHED
    return ended.status


@contextmanager
def lost_processes(limit: str = "train.collective_minutes allows") -> Iterator[None]:
    """Inside, the error of a collective in which another process is missing is one that a user can read.

    Args:
        limit: how long the collectives inside wait, in words.

    Raises:
        TrainError: a process ended, or did not come in time.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if _GONE.search(text):
            raise TrainError(
                f"{LOST} has ended, so this one ends too; its own message says why, and where it has none it was killed"
            ) from error
        if _LATE.search(text):
            raise TrainError(
                f"{LOST} did not come in time: it hangs, or needs longer than {limit} ({text.splitlines()[0]})"
            ) from error
        raise


@dataclass(slots=True)
class StartOfRun:
    """One start of a run.

    Attributes:
        name: that no other start has, the same on all processes; empty until they have met.
    """

    name: str = ""


_WAIT_S = 3.0
"""A network file system may show the file of another machine some seconds later."""


@contextmanager
def reported_failures(files: RunLayout, environment: Mapping[str, str]) -> Iterator[StartOfRun]:
    """Inside, an error of this process is written where the others of its run read it, before they lose this one; the
    error of one that lost another says which that was, and why.

    Args:
        files: of the run.
        environment: of this process, which says who it is.

    Yields:
        The start, to be given its name when the processes have met: until then nothing is written or read, since
        what is there may be of another start.

    Raises:
        TrainError: another process failed, and said why.
    """
    start = StartOfRun()
    rank, size = environment.get("RANK", "0"), int(environment.get("WORLD_SIZE", "1"))
    try:
        yield start
    except Exception as error:
        is_own = not (isinstance(error, TrainError) and LOST in str(error))
        if size > 1 and start.name and is_own:
            _tell_failure(files, rank, start.name, error)
        elif size > 1 and start.name and (said := _first_failure(files, start.name)):
            raise TrainError(f"{LOST} has ended, so this one ends too: {said}") from error
        raise


def forget_failures(files: RunLayout, start: str) -> None:
    """Remove what processes of other starts said; one of this start may have failed already."""
    for path in files.failures:
        if _read_failure(path).get("start") != start:
            path.unlink(missing_ok=True)


def _tell_failure(files: RunLayout, rank: str, start: str, error: Exception) -> None:
    message = str(error) if isinstance(error, WdstreamError) else f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        with suppress(OSError):  # itself, where it is not about a file
            message = file_trouble(error)
    found = {"rank": rank, "host": gethostname(), "time": time.time(), "start": start, "message": message}
    with suppress(OSError):  # such as a disk that is full: the process itself still prints why
        write_file(files.failure(rank), json.dumps(found).encode())


def _first_failure(files: RunLayout, start: str) -> str | None:
    """Who of a start failed first, and why; None where nobody says so: it was killed."""
    deadline = Deadline(_WAIT_S)
    while not (found := _failures(files, start)) and not deadline.is_over():
        time.sleep(0.1)
    first = min(found, key=lambda one: float(one["time"]), default=None)
    return None if first is None else f"rank {first['rank']} on {first['host']}: {first['message']}"


def _failures(files: RunLayout, start: str) -> list[dict[str, str | float]]:
    """What processes of a start said. A file of another one may be there: of a second start of the same run, which was
    refused because this one is running; one that cannot be read says nothing."""
    return [one for path in files.failures if (one := _read_failure(path)).get("start") == start]


def _read_failure(path: Path) -> dict[str, str | float]:
    with suppress(OSError, ValueError):
        found = load_json(path.read_bytes())
        return found if isinstance(found, dict) else {}
    return {}
