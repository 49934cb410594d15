"""Describing many tars, by processes of this machine or by a cluster, whose machines see the tars and write nothing.

A tar is a task. On a machine of a cluster what describes it is made in a temporary folder, comes back as bytes, and is
written by the machine that the job began on, so that the others need no more than to read.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wdstream.errors import ForbiddenFileError, ShardError, StorageFailureError
from wdstream.shards.apart.tar_list import TarElsewhere
from wdstream.shards.changed import NOTHING_KNOWN, KnownShards
from wdstream.shards.describe import PLAIN_TAR, ImageSize, TarRules, describe_tar
from wdstream.shards.layout import ShardPaths
from wdstream.storage.atomic import write_file
from wdstream.storage.engines.mapping import map_tasks, on_every_machine
from wdstream.storage.engines.settings import LOCAL, EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TarToDescribe:
    """A tar, and what is known of it.

    Attributes:
        tar: its path, or where it would be next to what describes it.
        known: digests of what it was described as before, if it was.
        elsewhere: where its bytes are, if not in the file `tar`.
    """

    tar: Path
    known: frozenset[str]
    elsewhere: TarElsewhere | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TarDescription:
    """What came of a tar: troubles, a line each; or the content of its files, empty where they are written already."""

    troubles: tuple[str, ...]
    idx: bytes = b""
    meta: bytes = b""


def describe_all(
    todo: Sequence[Path],
    image_size: ImageSize,
    workers: int | None,
    rules: TarRules = PLAIN_TAR,
    known: KnownShards = NOTHING_KNOWN,
    described_in: Path | None = None,
    elsewhere: Mapping[str, TarElsewhere] | None = None,
    engine: EngineSettings = LOCAL,
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Describe each tar; yields each as it is done, with its troubles.

    What is known of a shard is compared, and a tar that is not as it was has its differences for troubles.

    Args:
        todo: the tars.
        image_size, rules: see `describe_tar`.
        workers: processes of this machine, or tasks at a time on a cluster; None for all that there are.
        known: what tars were before.
        described_in: the folder of what describes them; that of the tars when left out.
        elsewhere: where tars are that are not next to what describes them, by file name.
        engine: who describes them.
    """
    places = elsewhere or {}
    is_here = engine.engine == "local"
    tasks = (
        TarToDescribe(tar=on_every_machine(tar, engine), known=known.of(tar), elsewhere=places.get(tar.name))
        for tar in todo
    )
    describe = partial(describe_task, image_size=image_size, rules=rules, described_in=described_in, is_here=is_here)
    found = map_tasks(
        describe,
        tasks,
        engine,
        min(workers or os.cpu_count() or 1, len(todo)),
        command="index",
        most=workers,
        needs=sorted(_folders(todo, engine, places)),
    )
    for tar, description in zip(todo, found, strict=True):
        if not is_here and not description.troubles:
            _write(ShardPaths.of(tar, described_in), description)
        at = str(on_every_machine(tar, engine))
        yield tar, tuple(trouble.replace(at, str(tar)) for trouble in description.troubles)


def _folders(todo: Sequence[Path], engine: EngineSettings, places: Mapping[str, TarElsewhere]) -> set[str]:
    """Folders and URLs that the tars are in."""
    here = {str(on_every_machine(tar.parent, engine)) for tar in todo if tar.name not in places}
    return here | {places[tar.name].at for tar in todo if tar.name in places}


def describe_task(
    task: TarToDescribe, *, image_size: ImageSize, rules: TarRules, described_in: Path | None, is_here: bool
) -> TarDescription:
    """Describe one tar, and write what does, here; or return it."""
    if is_here:
        return TarDescription(troubles=_troubles_of(task, image_size, rules, described_in))
    with tempfile.TemporaryDirectory() as folder:
        troubles = _troubles_of(task, image_size, rules, Path(folder))
        files = ShardPaths.of(task.tar, Path(folder))
        idx, meta = (path.read_bytes() if path.is_file() else b"" for path in (files.idx, files.meta))
    return TarDescription(troubles=troubles, idx=idx, meta=meta)


def _troubles_of(
    task: TarToDescribe, image_size: ImageSize, rules: TarRules, described_in: Path | None
) -> tuple[str, ...]:
    """What keeps a tar from being a shard, a line each; none when it is one now."""
    tar, elsewhere = task.tar, task.elsewhere
    try:
        describe_tar(tar, image_size, rules, known=task.known, described_in=described_in, elsewhere=elsewhere)
    except ShardError as error:
        if elsewhere is not None and isinstance(error, ForbiddenFileError | StorageFailureError):
            raise
        return tuple(str(error).split("\n"))
    return ()


def _write(paths: ShardPaths, description: TarDescription) -> None:
    """The meta last, as a tar that is described here has it."""
    if description.idx:
        write_file(paths.idx, description.idx, is_last=False)
    write_file(paths.meta, description.meta)
