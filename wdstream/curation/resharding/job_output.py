"""Where a job writes its output: a folder of this machine, or a store, by way of a folder that has all but the tars.

Of an output at a URL, what is small is copied to this machine while the job is at work: notes, descriptions, index; a
part has those of its own pieces. A large file is made here, sent, and removed. The place is held by a lease meanwhile.
A machine of a cluster makes a piece in a folder of its own; what is small of it comes back to the one that began.
"""

import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, Self, TypeVar

from wdstream.curation.resharding.job_folder import LARGE, JobFolder
from wdstream.errors import ConfigError
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.mapping import map_tasks
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import EngineSettings, PartSettings
from wdstream.storage.places import is_url, local_folder, open_place
from wdstream.storage.processes import Found
from wdstream.storage.writes.one_job import is_lease
from wdstream.storage.writes.working_copy import CopyOf, InCopy, WorkingCopy, working_copy
from wdstream.text.characters import short_name

_OF_THIS_MACHINE = ("lock", "workers", "saving", "part")
"""Files of a job's state that only processes of this machine look at."""
_PIECE = re.compile(r"(?:\.\w+/)?[a-z]+-(\d{6,})(?:\..*)?")
"""Files of one piece, and its note: shard-000003.tar.idx, .dedup/exact-000003.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutput:
    """An output while the job is at work.

    Attributes:
        path: the folder to work in.
        address: what people call it.
        copy: of an output at a URL; None for a folder of this machine.
    """

    path: Path
    address: Path | str
    copy: WorkingCopy | None = None

    @property
    def store(self) -> str:
        """URL of the output; empty for a folder of this machine."""
        return str(self.address) if self.copy is not None else ""

    def as_output(self, text: str) -> str:
        """A text about the folder as one about the output."""
        return text if self.copy is None else text.replace(str(self.path), shown_url(str(self.address)))


@contextmanager
def job_output(
    out: Path | str, job: str, inputs: Sequence[Path | str], options: EngineSettings, *, manifest: str
) -> Iterator[JobOutput]:
    """The output of a job for the block; at a URL, it is complete when the block ends.

    Args:
        out: folder or URL.
        job: its name, as `JobFolder` has it.
        inputs: folders or URLs that are read.
        options: who does the work.
        manifest: the file that is written last.

    Raises:
        ConfigError: the place holds other files, is of an input, or is held by another job; or `options` have other
            machines write to it.
    """
    folder = local_folder(out)
    if folder is not None:
        yield JobOutput(path=folder, address=folder)
        return
    address = str(out).rstrip("/")
    _refuse_inputs(address, inputs)
    _refuse_others(address, job)
    part = options.own_part if isinstance(options, PartSettings) else None
    with working_copy(address, _copy_of(job, part, manifest)) as copy:
        assert copy is not None, "a URL has one"
        yield JobOutput(path=copy.path, address=address, copy=copy)


def _copy_of(job: str, part: WorkPart | None, manifest: str) -> CopyOf:
    """What is copied of an output, and follows in it: of a part, its own pieces and what says of which job they are."""

    def is_small(name: str) -> bool:
        is_own = name.startswith(f".{job}/") and name.rpartition("/")[2].partition("-")[0] in _OF_THIS_MACHINE
        return not is_own and not name.endswith(LARGE)

    def is_of_part(name: str) -> bool:
        piece = _PIECE.fullmatch(name)
        return part is None or (part.owns(int(piece[1])) if piece else name.startswith(f".{job}/"))

    def has(name: str) -> InCopy:
        return InCopy.WHOLE if is_small(name) and is_of_part(name) else InCopy.ABSENT

    return CopyOf(job=job, part=part, has=has, follows=is_small, manifest=manifest, own_upload=is_of_part)


def _refuse_inputs(address: str, inputs: Sequence[Path | str]) -> None:
    for given in (str(each).rstrip("/") for each in inputs if is_url(each)):
        if f"{given}/".startswith(f"{address}/") or f"{address}/".startswith(f"{given}/"):
            raise ConfigError(
                f"{shown_url(address)}: cannot write to the input {shown_url(given)}, into it or above it"
            )


def _refuse_others(address: str, job: str) -> None:
    names = [file.name for file in open_place(address).files() if not is_lease(file.name)]
    others = [name for name in names if not name.startswith(f".{job}/")]
    if others and f".{job}/job.json" not in names:
        raise ConfigError(
            f"{shown_url(address)}: holds {len(others)} files that {job} did not write ({short_name(others[0])}, ...); "
            "choose a new place"
        )


def folder_of(output: JobOutput, job: str) -> JobFolder:
    """The folder that a job works in."""
    return JobFolder(out=output.path, job=job, store=output.store)


class OutputPiece(Protocol):
    """A task that makes one piece of an output, with its note."""

    @property
    def folder(self) -> JobFolder:
        """Where it is made."""

    def made_in(self, folder: JobFolder) -> Self:
        """The same task elsewhere."""


PieceTask = TypeVar("PieceTask", bound=OutputPiece)


def make_pieces(
    make: Callable[[PieceTask], Found],
    tasks: Iterable[PieceTask],
    is_made: Callable[[PieceTask], bool],
    folder: JobFolder,
    options: EngineSettings,
    workers: tuple[int, int | None],
    inputs: Sequence[Path | str],
) -> Iterator[Found]:
    """What is to be known of each piece, in order; those that are not there are made by the engine that is asked for.

    Args:
        make: makes a piece, or finds it in its folder.
        tasks: of the pieces.
        is_made: whether one is there.
        folder: where all are made.
        options: they say by which engine.
        workers: processes of this machine; and tasks at a time on a cluster, None for all that it can do.
        inputs: folders and URLs that every machine is to have.

    Raises:
        ConfigError: there is no such cluster, or a machine of it lacks an input.
        ShardError: a piece cannot be made, or a process was lost.
    """
    processes, most = workers
    if not folder.store or options.engine == "local":
        needs = [folder.out, *inputs]
        yield from map_tasks(
            make, tasks, options, processes, command=folder.job, most=most, needs=needs, begin=folder.begin_worker
        )
        return
    passed: deque[tuple[PieceTask, bool]] = deque()

    def lacking() -> Iterator[PieceTask]:
        for task in tasks:
            passed.append((task, is_made(task)))
            if not passed[-1][1]:
                yield task

    def found_before() -> Iterator[Found]:
        while passed and passed[0][1]:
            yield make(passed.popleft()[0])

    here = partial(make_in_own_folder, make)
    for found, files in map_tasks(here, lacking(), options, 1, command=folder.job, most=most, needs=inputs):
        yield from found_before()
        passed.popleft()
        folder.take_in(files)
        yield found
    yield from found_before()


def make_in_own_folder(make: Callable[[PieceTask], Found], task: PieceTask) -> tuple[Found, Mapping[str, bytes]]:
    """Make a piece of an output at a URL on any machine; what is small of it comes back, by name."""
    with tempfile.TemporaryDirectory() as own:
        folder = replace(task.folder, out=Path(own))
        folder.state.mkdir()
        found = make(task.made_in(folder))
        files = [path for path in Path(own).rglob("*") if path.is_file()]
        return found, {path.relative_to(own).as_posix(): path.read_bytes() for path in files}
