"""make-shards by a Ray cluster: a task per shard, done by a process of ours on the machine that Ray chooses.

A task is a job and what its machine is to have. What is read and written is only RAW and OUT, which every machine sees;
back come the files of a survey and a few counts. On its machine a job has a process as on one machine alone, watched in
the same way, so that a page that kills it or never ends costs what it costs there. What is lost together with its
machine, or by `kill -9` of Ray's process, Ray does again.
"""

import json
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypedDict

from wdstream.errors import AbsentFileError, ConfigError, ForbiddenFileError, ShardError, WdstreamError
from wdstream.make_shards.engines.part_folder import doing_path, empty_scratch, new_scratch
from wdstream.make_shards.jobs import Job, Setup
from wdstream.make_shards.manifest import programs_for
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.recovery import Recovery
from wdstream.make_shards.token_counts import TokenCounter, open_counter
from wdstream.make_shards.workers import JobDone, MoreJobs, PagesStarted, Workers
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.raw.plugins.active import plugged_in
from wdstream.raw.source import RawFile
from wdstream.storage.engines.ray_cluster import RayCluster
from wdstream.storage.lock import FileLock
from wdstream.storage.places import is_url, open_place

_LOCK_WAIT_S = 60.0


class Needs(TypedDict):
    """What a machine is to have, as the one that started the job has it.

    `mark`: the manifest of the output. `programs`: versions that decide bytes, see `programs_for`. `kinds`: of the raw
    files. `tokenizer`: fingerprint of it; empty for none.
    """

    mark: str
    programs: dict[str, object]
    kinds: list[str]
    tokenizer: str


class RayTask(TypedDict):
    """A job with all that a machine has to know for it."""

    setup: Setup
    needs: Needs
    job: dict[str, Any]


class TaskDone(TypedDict):
    """What comes back: files of a survey, and what was lost on the way."""

    files: list[RawFile]
    tried_again: int
    given_up: int


class RayEngine:
    """The engine `ray`; see JobEngine."""

    is_elsewhere = True

    def __init__(self, options: MakeShardsOptions, setup: Setup, needs: Needs) -> None:
        self.recovery = Recovery()
        absolute = options.tokenizer and str(options.tokenizer.resolve())
        self._setup = Setup(**{**setup, "options": {**setup["options"], "tokenizer": absolute}})
        self._needs = needs
        self._cluster: RayCluster[RayTask, TaskDone] = RayCluster(
            function=do_job, engine=options.engine, workers=options.workers, command="make-shards"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing is kept between two runs."""

    def run(self, jobs: Iterable[Job], more: MoreJobs | None = None) -> Iterator[PagesStarted | JobDone]:
        """See JobEngine; pages are reported when their job is done, and nothing is asked for more."""
        tasks = (RayTask(setup=self._setup, needs=self._needs, job=job.to_json()) for job in jobs)
        for task, done in self._cluster.results(tasks, in_order=False):
            self.recovery.tried_again += done["tried_again"]
            self.recovery.given_up += done["given_up"]
            job = Job.from_json(task["job"])
            if job.kind == "survey":
                yield PagesStarted(job=job, count=job.num_pages)
            yield JobDone(job=job, files=tuple(done["files"]))


def needs_of(options: MakeShardsOptions, out: Path, kinds: Collection[str], counter: TokenCounter | None) -> Needs:
    """What each machine is to have for a job with these options, output, kinds of raw files and tokenizer."""
    return Needs(
        mark=(out / OUTPUT_MARK).read_text(encoding="utf-8"),
        programs=programs_for(options, kinds),
        kinds=sorted(kinds),
        tokenizer=counter.fingerprint if counter else "",
    )


def do_job(task: RayTask) -> TaskDone:
    """Do one job, in a process of Ray on any machine.

    Raises:
        ConfigError: this machine lacks something.
        ShardError, WdstreamError: see `Workers.run`.
    """
    workers, out = _workers(json.dumps([task["setup"], task["needs"]], sort_keys=True))
    lost, job = workers.recovery, Job.from_json(task["job"])
    before = lost.tried_again, lost.given_up
    files: list[RawFile] = []
    with _alone(task["setup"], job):
        for event in workers.run([job]):
            files += event.files if isinstance(event, JobDone) else ()
    if task["setup"]["store"]:
        empty_scratch(out)
    return TaskDone(
        files=files,
        tried_again=lost.tried_again - before[0],
        given_up=lost.given_up - before[1],
    )


def _alone(setup: Setup, job: Job) -> AbstractContextManager[object]:
    """A machine that Ray took for lost may still write: the next one waits until its locks are gone. What is sent to a
    store appears whole, and is the same whoever sends it."""
    if job.kind != "shard" or setup["store"]:
        return nullcontext()
    text = f"{socket.gethostname()}: shard {job.number} of {setup['out']} is still being written by another machine"
    return FileLock(doing_path(Path(setup["out"]), job.number), wait_s=_LOCK_WAIT_S, refuse=lambda _: ShardError(text))


@lru_cache(maxsize=1)
def _workers(settings: str) -> tuple[Workers, Path]:
    """The process of ours for a job, and the folder that it writes to, which stands for a store where there is one.

    It is kept from task to task, and ends with this process, which Ray ends with the job.

    Raises:
        ConfigError: this machine lacks something.
    """
    setup, needs = json.loads(settings)
    options = MakeShardsOptions.of(setup["options"])
    try:
        _check_machine(setup, needs, options)
    except WdstreamError as error:
        raise ConfigError(
            f"{socket.gethostname()}: {error}. Every machine of the cluster is to have what the one has that started "
            "the job: folders at the same path, or URLs; models, plugins and programs of the same content"
        ) from error
    out = new_scratch() if setup["store"] else Path(setup["out"])
    setup["out"] = str(out)
    return Workers(1, setup, time_limit=options.time_limit), out


def _check_machine(setup: Setup, needs: Needs, options: MakeShardsOptions) -> None:
    """That a job makes on this machine what it would on the one that started it.

    Raises:
        ConfigError: it would not, and why.
    """
    if not is_url(setup["raw"]) and not Path(setup["raw"]).is_dir():
        raise ConfigError(f"{setup['raw']}: no such folder of raw pages here")
    output = open_place(setup["store"] or setup["out"])
    try:
        mark = output.read(OUTPUT_MARK).decode()
    except (AbsentFileError, ForbiddenFileError) as error:
        raise ConfigError(f"{output.address}: not here, or not the output of this job ({error})") from error
    if mark != needs["mark"]:
        raise ConfigError(f"{output.address}: not here, or not the output of this job")
    with plugged_in(options.sources):
        programs = programs_for(options, needs["kinds"])
    for name in sorted(programs.keys() | needs["programs"].keys()):
        if programs.get(name) != needs["programs"].get(name):
            raise ConfigError(f"{name}: {needs['programs'].get(name)!r} there, {programs.get(name)!r} here")
    counter = open_counter(options.tokenizer, with_paragraphs=options.paragraphs, allow_tokens=options.allow_tokens)
    if (counter.fingerprint if counter else "") != needs["tokenizer"]:
        raise ConfigError(f"{options.tokenizer}: another tokenizer than there")
