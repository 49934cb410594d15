"""Where a job writes its output: a folder of this machine, or a store, by way of a folder that has all but the tars.

Of an output at a URL, what is small is copied to this machine while the job is at work: notes, descriptions, index. A
large file is made here, sent, and removed. The place is held by a lease meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wdstream.curation.resharding.job_folder import LARGE, JobFolder
from wdstream.errors import ConfigError
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.settings import EngineSettings, PartSettings
from wdstream.storage.places import is_url, local_folder, open_place
from wdstream.storage.writes.one_job import is_lease
from wdstream.storage.writes.working_copy import CopyOf, InCopy, WorkingCopy, working_copy
from wdstream.text.characters import short_name

_OF_THIS_MACHINE = ("lock", "workers")
"""Files of a job's state that only processes of this machine look at."""


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
    _check(address, inputs, options)
    _refuse_others(address, job)

    def is_small(name: str) -> bool:
        is_own = name.startswith(f".{job}/") and name.rpartition("/")[2].partition("-")[0] in _OF_THIS_MACHINE
        return not is_own and not name.endswith(LARGE)

    def has(name: str) -> InCopy:
        return InCopy.WHOLE if is_small(name) else InCopy.ABSENT

    of = CopyOf(job=job, has=has, follows=is_small, manifest=manifest)
    with working_copy(address, of) as copy:
        assert copy is not None, "a URL has one"
        yield JobOutput(path=copy.path, address=address, copy=copy)


def _check(address: str, inputs: Sequence[Path | str], options: EngineSettings) -> None:
    if options.engine != "local" or (isinstance(options, PartSettings) and (options.own_part or options.merges)):
        raise ConfigError(
            f"{shown_url(address)}: at a URL, this machine alone writes; leave out --engine, --part and --merge, or "
            "write to a folder that all machines have"
        )
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
