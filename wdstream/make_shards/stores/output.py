"""The output of a job as its code works on it: a folder of this machine, for a store one that stands for it.

The folder that stands for a store (storage/writes/working_copy.py) holds all of its small files, and for each tar a
hollow one of its length. What the job writes or removes there follows in the store when it says so (`push`); shards are
sent by whoever builds them (`send_shard`). So a kill leaves in the store what it would leave in a folder, and the next
job begins with a new copy. The copy of a part has the shards of that part alone.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards.jobs import shard_name
from wdstream.make_shards.record import STATE_FOLDER, readings_path, record_path
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON, SPLIT_JSON
from wdstream.shards.layout import IDX_SUFFIX, ShardPaths
from wdstream.shards.meta import idx_of, load_meta
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import Place, local_folder
from wdstream.storage.writes.working_copy import CopyOf, InCopy, WorkingCopy, make_hollow, working_copy

_OURS = ("shard-*", OUTPUT_MARK, "quarantine.jsonl", f"{STATE_FOLDER}/*", f"{INDEX_FOLDER}/*")
_HERE_ONLY = ("lock", "saving", "part-*", "kept-*")
"""In the folder of a job's state, what processes of one machine leave for each other."""
_BUILT = re.compile(rf"(?:{re.escape(STATE_FOLDER)}/)?(?:shard|readings)-(\d{{6,}})\..*")
"""Files of shards, which are sent by whoever builds them."""
_OF_PARTS = (f"{INDEX_FOLDER}/{INDEX_JSON}", f"{INDEX_FOLDER}/{SPLIT_JSON}")
"""What a part looks at of the index of a job before, which it does not change."""
_LOCK_WAIT_S = 10.0


class Output(Protocol):
    """Where a job writes."""

    path: Path
    """The folder that its code works on."""
    store: str
    """The URL for which that is a copy; empty where it is the output itself."""
    locks: Sequence[int]
    """Descriptors that processes of this machine inherit."""

    def push(self) -> None:
        """What was written and removed follows in the store."""

    def built(self, number: int) -> None:
        """A shard was built and sent from this folder."""

    def take_in(self, number: int) -> None:
        """A shard was built and sent from another machine."""

    def readable(self) -> Path | str:
        """Where the shards can be read from, with their tars, as they are now."""

    def named(self, text: str) -> str:
        """A message with the place as the user knows it."""


class FolderOutput:
    """A folder of this machine, which stands for itself: there is nothing to do."""

    store = ""
    locks: Sequence[int] = ()

    def __init__(self, path: Path) -> None:
        self.path = path

    def push(self) -> None:
        """Nothing: it is written already."""

    def built(self, number: int) -> None:
        """Nothing: the shard is where it belongs."""

    def take_in(self, number: int) -> None:
        """Nothing: all machines see the folder."""

    def readable(self) -> Path:
        """The folder itself, which has them."""
        return self.path

    def named(self, text: str) -> str:
        """The message as it is."""
        return text


class StoreOutput:
    """A store, and the folder that stands for it; made by `opened_output`."""

    def __init__(self, store: str, copy: WorkingCopy) -> None:
        self.store, self.path = store, copy.path
        self.locks: Sequence[int] = [copy.lock]
        self._copy = copy

    def push(self) -> None:
        """What was written and removed follows.

        Raises:
            ShardError: another job has taken the place over; or it cannot be written.
        """
        self._copy.push()

    def built(self, number: int) -> None:
        """Note what was sent of a shard that was built in this folder.

        Raises:
            ShardError: another job has taken the place over.
        """
        self._copy.note_sent(self._names(number))

    def take_in(self, number: int) -> None:
        """Copy what another machine sent of a shard."""
        names, place = self._names(number), self._copy.place
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        stem = shard_name(number).removesuffix(".tar")
        for under in (f"{stem}.", f"{STATE_FOLDER}/{stem}.", f"{STATE_FOLDER}/{readings_path(self.path, number).name}"):
            self._copy.fetch(file for file in place.files(under) if file.name in names)
        self.built(number)

    def readable(self) -> str:
        """The store, with all that is written so far."""
        self.push()
        return self.store

    def named(self, text: str) -> str:
        """The message with the store in place of the folder that stands for it."""
        return text.replace(str(self.path), self._copy.place.address)

    def _names(self, number: int) -> list[str]:
        paths = (*_files_of(self.path, number), record_path(self.path, number), readings_path(self.path, number))
        return [_name(self.path, path) for path in paths]


@contextmanager
def opened_output(address: str | Path, *, part: WorkPart | None = None) -> Iterator[Output]:
    """The output of a job for the block; a store is held by one job, and complete when the block ends.

    Args:
        address: a folder, or a URL.
        part: the part of the job that writes it, together with other parts; None for all of it.

    Raises:
        ConfigError: another job is at work there, or it cannot be written.
        ForbiddenFileError, StorageFailureError: it cannot be read.
    """
    folder, url = local_folder(address), str(address).rstrip("/")
    if url.startswith("memory://"):
        raise ConfigError(f"{url}: the memory of one process is not seen by the others that make shards")
    with working_copy(url if folder is None else folder, _copy_of(part)) as copy:
        if copy is None:
            yield FolderOutput(folder or Path(address))
        else:
            yield StoreOutput(url, copy)


def _copy_of(part: WorkPart | None) -> CopyOf:
    """What a job, or a part of it, has of its store; names of others are there, so that they are refused."""

    def is_of_other_part(name: str) -> bool:
        return part is not None and not _is_of_part(name, part)

    def has(name: str) -> InCopy:
        if _is_here_only(name) or is_of_other_part(name):
            return InCopy.ABSENT
        if name.endswith(".tar"):
            return InCopy.HOLLOW
        if not any(fnmatch(name, pattern) for pattern in _OURS):
            return InCopy.EMPTY
        return InCopy.TOLD if name.endswith(IDX_SUFFIX) else InCopy.WHOLE

    return CopyOf(
        job="make-shards",
        part=part,
        has=has,
        tell=_idx_by_meta,
        follows=lambda name: not _is_here_only(name) and not _BUILT.fullmatch(name),
        manifest=f"{INDEX_FOLDER}/{INDEX_JSON}",
        manifest_goes=True,
        goes_late=lambda name: name.startswith(f"{STATE_FOLDER}/readings-"),  # of use until the job has reported
        mark=OUTPUT_MARK,
        own_upload=lambda name: part is None or (_BUILT.fullmatch(name) is not None and _is_of_part(name, part)),
        wait_s=_LOCK_WAIT_S,
    )


def _idx_by_meta(path: Path) -> bytes | None:
    """What the idx of a shard holds by the meta next to it; None where that is absent or damaged."""
    try:
        return idx_of(load_meta(ShardPaths.of(path.with_suffix("")).meta))
    except ShardError:
        return None


def _is_of_part(name: str, part: WorkPart) -> bool:
    """Whether a part has to do with a file: with its own shards, and with what all parts have in common."""
    number = _BUILT.fullmatch(name)
    if number is not None:
        return part.owns(int(number[1]))
    return not name.startswith(f"{INDEX_FOLDER}/") or name in _OF_PARTS


def _is_here_only(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return folder == STATE_FOLDER and any(fnmatch(last, pattern) for pattern in _HERE_ONLY)


def send_shard(place: Place, out: Path, number: int, *, tar_at: Path | None = None) -> None:
    """Send what was built of a shard, in the order in which a kill leaves it absent rather than wrong.

    Args:
        place: the output.
        out: the folder that stands for it here; the tar in it becomes hollow.
        number: of the shard, whose record is saved.
        tar_at: the tar, where it is somewhere else, and stays as it is.
    """
    tar, *others = _files_of(out, number)
    record = record_path(out, number)
    absent = (path for path in others if not path.is_file())  # of a shard that has no samples any more
    place.remove([_name(out, path) for path in (record, tar, *absent)])
    whole = tar_at or tar
    for path, content in ((tar, whole), *((path, path) for path in (*others, readings_path(out, number), record))):
        if content.is_file():
            place.put(_name(out, path), content)
    if whole.is_file():
        make_hollow(tar, whole.stat().st_size)


def _files_of(out: Path, number: int) -> tuple[Path, Path, Path]:
    """The tar of a shard, its idx and its meta."""
    paths = ShardPaths.of(out / shard_name(number))
    return paths.tar, paths.idx, paths.meta


def _name(out: Path, path: Path) -> str:
    return path.relative_to(out).as_posix()
