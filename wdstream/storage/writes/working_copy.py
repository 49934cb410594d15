"""A folder of this machine that stands for a place while a job changes it, by code that works on files.

What the job needs is fetched first. What it wrote and removed follows in the place when it says so, and at its end, in
an order in which a kill leaves the place incomplete rather than wrong: the file that makes all count comes last. A
large file may be hollow here: of its length, without content. A folder of this machine stands for itself.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from wdstream.errors import WdstreamError
from wdstream.storage.atomic import TEMP_SUFFIX, bring_file
from wdstream.storage.engines.own_folder import own_folder
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import Hold, Place, StoredFile, local_folder, open_place
from wdstream.storage.s3_answers import has_md5
from wdstream.storage.writes.one_job import is_lease, one_job
from wdstream.storage.writes.scratch import scratch_of, temporary_folder

_AT_ONCE = 16
_Signature = tuple[int, int, int]
"""Of a local file, what is another after it was written again: inode, bytes, time."""
_SENT = 0
"""The time of a file that another process sent; one that is written again has another."""


class InCopy(Enum):
    """How a copy of a place has one of its files."""

    WHOLE = "whole"
    TOLD = "whole, as others of the copy tell, where the place has the same"
    HOLLOW = "of its length, without content"
    EMPTY = "by name alone"
    ABSENT = "not at all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOf:
    """What is copied of a place, and what follows in it.

    Attributes:
        job: for whoever is refused meanwhile.
        part: of the job that writes the place together with other parts.
        has: how the copy has a file of the place, by its name.
        tell: what a file holds that others of the copy tell, by its path there; None where they do not.
        follows: whether a file that is written in the copy is sent by `push`, by its name.
        manifest: the file that is written last; without it the others do not count.
        manifest_goes: whether it is removed before other files of its folder change.
        goes_late: whether a file is removed after all that is written, not before, by name.
        mark: the one of the others that is removed last.
        own_upload: whether an unfinished upload of a file was left by this job, by the name.
        wait_s: seconds to wait for another job.
    """

    job: str
    part: WorkPart | None = None
    has: Callable[[str], InCopy]
    tell: Callable[[Path], bytes | None] = lambda _: None
    follows: Callable[[str], bool] = lambda _: True
    manifest: str
    manifest_goes: bool = False
    goes_late: Callable[[str], bool] = lambda _: True
    mark: str = ""
    own_upload: Callable[[str], bool] = lambda _: True
    wait_s: float = 0.0


class WorkingCopy:
    """Files of a place, copied to `path`; see `working_copy`.

    Attributes:
        path: the folder.
        place: that it stands for.
        lock: a descriptor that processes of this machine may inherit, so that no other job begins there before they
            end.
    """

    def __init__(self, path: Path, place: Place, of: CopyOf, hold: Hold, lock: int) -> None:
        self.path, self.place, self.lock = path, place, lock
        self._of, self._hold = of, hold
        self._there: dict[str, _Signature] = {}

    def fetch(self, files: Iterable[StoredFile], *, are_whole: bool = False) -> None:
        """Copy files of the place, each as it is to be in the copy, or all of them whole."""
        has = _whole if are_whole else self._of.has
        for name in copy_files(self.place, files, self.path, has, tell=self._of.tell):
            self._there[name] = _signature(self.path / name)

    def send(self, names: Sequence[str]) -> None:
        """Copy these files back now.

        Raises:
            ShardError: another job has taken the place over; or it cannot be written.
        """
        self._hold.check_known()
        _in_threads(self._put, names)

    def note_sent(self, names: Iterable[str]) -> None:
        """Note that these files are in the place as they are here, absent ones too, by another process.

        Raises:
            ShardError: another job has taken the place over.
        """
        self._hold.check_known()
        for name in names:
            self._there.pop(name, None)
            if (self.path / name).is_file():
                self._there[name] = _signature(self.path / name)

    def push(self) -> None:
        """What was removed goes, and what changed follows in the order in which it was written; columns of the
        manifest's folder after that, many at once; then the manifest.

        Raises:
            ShardError: another job has taken the place over; or it cannot be written.
        """
        now, of = self._here(), self._of
        gone = sorted(self._there.keys() - now.keys(), key=lambda name: (name != of.manifest, name == of.mark, name))
        changed = [
            name for name, state in now.items() if self._there.get(name) != state and self._is_to_send(name, state)
        ]
        if not gone and not changed:
            return
        self._hold.check()
        if of.manifest_goes and any(self._is_listed(name) and name in self._there for name in (*gone, *changed)):
            self.place.remove([of.manifest])
            changed += [of.manifest] if of.manifest in now and of.manifest not in changed else []
        late = [name for name in gone if of.goes_late(name)]
        self._remove([name for name in gone if name not in late])
        self._put_all(changed, now)
        self._remove(late)

    def _put_all(self, names: Collection[str], now: Mapping[str, _Signature]) -> None:
        columns = {name for name in names if self._is_listed(name)} - {self._of.manifest}
        for name in sorted({*names} - columns - {self._of.manifest}, key=lambda name: (now[name][2], name)):
            self._put(name)
        _in_threads(self._put, sorted(columns))
        if self._of.manifest in names:
            self._hold.check()
            self._put(self._of.manifest)

    def _put(self, name: str) -> None:
        signature = _signature(self.path / name)
        self.place.put(name, self.path / name)
        self._there[name] = signature

    def _remove(self, names: Iterable[str]) -> None:
        gone = [name for name in names if not (self.path / name).exists()]  # another process may write it just now
        self.place.remove(gone)
        for name in gone:
            del self._there[name]

    def _is_listed(self, name: str) -> bool:
        folder = self._of.manifest.rpartition("/")[0]
        return bool(folder) and name.startswith(f"{folder}/")

    def _is_to_send(self, name: str, state: _Signature) -> bool:
        return self._there.get(name) != state and state[2] != _SENT and self._of.follows(name)

    def _here(self) -> dict[str, _Signature]:
        """The files of the copy that are in the place, or are to be."""
        found: dict[str, _Signature] = {}
        for folder, _, names in os.walk(self.path):
            for path in (Path(folder, name) for name in names if not name.endswith(TEMP_SUFFIX)):
                name = path.relative_to(self.path).as_posix()
                if name in self._there or self._of.follows(name):
                    with suppress(FileNotFoundError):  # another process writes it again
                        found[name] = _signature(path)
        return found


@contextmanager
def working_copy(address: str | Path, of: CopyOf) -> Iterator[WorkingCopy | None]:
    """A copy of files of the place at a URL, for the block; None for a folder of this machine, which needs none.

    The place is held by one job (one_job.py). At the end of the block, what changed goes back. When the block raises,
    only what was sent before has.

    Raises:
        ConfigError: another job holds the place, or it is of what is only read.
        ForbiddenFileError, StorageFailureError: it cannot be read, or not be written.
    """
    if local_folder(address) is not None:
        yield None
        return
    place = open_place(address)
    with ExitStack() as stack:
        hold = stack.enter_context(one_job(place, of.job, part=of.part, wait_s=of.wait_s))
        path, lock = stack.enter_context(scratch_of(f"{place.address} {of.part or ''}"))
        copy = WorkingCopy(path, place, of, hold, lock)
        try:
            place.remove_unfinished(of.own_upload)
            copy.fetch(place.files())
            yield copy
            copy.push()
        except WdstreamError as error:  # about the place, not about the copy
            told = [arg.replace(str(path), place.address) if isinstance(arg, str) else arg for arg in error.args]
            error.args = tuple(told)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOfPart:
    """Where a part of a job wrote, to be read: a folder, or one that stands for a place at a URL.

    Attributes:
        address: what people call it.
        folder: with all of its files; of a place at a URL those that are copied whole, and hollow ones.
        place: at a URL; None for a folder of this machine.
        has: how the folder that stands for it has a file.
    """

    address: str
    folder: Path
    place: Place | None
    has: Callable[[str], InCopy]

    def bring(self, name: str, target: Path) -> None:
        """Bring one file to a path of this machine."""
        if self.place is not None and self.has(name) is not InCopy.WHOLE:
            self.place.fetch(name, target)
        else:
            bring_file(self.folder / name, target)


@contextmanager
def place_of_part(address: str, has: Callable[[str], InCopy]) -> Iterator[PlaceOfPart]:
    """What a part wrote to a place of its own, for the block; the place stays as it is.

    Raises:
        ForbiddenFileError, StorageFailureError: it cannot be read.
    """
    folder = local_folder(address)
    if folder is not None:
        yield PlaceOfPart(address=address, folder=folder, place=None, has=has)
        return
    place = open_place(address.rstrip("/"))
    with own_folder(temporary_folder(), "part-") as copy:
        copy_files(place, place.files(), copy, has)
        yield PlaceOfPart(address=place.address, folder=copy, place=place, has=has)


def copy_files(
    place: Place,
    files: Iterable[StoredFile],
    path: Path,
    has: Callable[[str], InCopy],
    *,
    tell: Callable[[Path], bytes | None] = lambda _: None,
) -> list[str]:
    """Copy files of a place to a folder, many at once, each as `has` says; returns names of those that are there now.

    `tell`: see `CopyOf`.

    Raises:
        AbsentFileError, ForbiddenFileError, StorageFailureError: one of them cannot be read.
    """
    wanted: dict[InCopy, list[StoredFile]] = {each: [] for each in InCopy}
    for file in files:
        wanted[InCopy.ABSENT if is_lease(file.name) else has(file.name)].append(file)
    whole, told, hollow, empty = (wanted[kind] for kind in (InCopy.WHOLE, InCopy.TOLD, InCopy.HOLLOW, InCopy.EMPTY))
    there = (*whole, *told, *hollow, *empty)
    for folder in {(path / file.name).parent for file in there}:
        folder.mkdir(parents=True, exist_ok=True)
    for file in hollow:
        make_hollow(path / file.name, file.num_bytes)
    for file in empty:
        make_hollow(path / file.name, 0)
    _in_threads(lambda name: place.fetch(name, path / name), [file.name for file in whole])
    others = [file.name for file in told if not _is_written(path / file.name, tell(path / file.name), file)]
    _in_threads(lambda name: place.fetch(name, path / name), others)
    return [file.name for file in there]


def _is_written(path: Path, data: bytes | None, file: StoredFile) -> bool:
    """Whether these are the bytes of a file of a place, as its MD5 there says, and they were written to the path."""
    if data is None or len(data) != file.num_bytes or not has_md5(data, file.md5):
        return False
    path.write_bytes(data)
    return True


def _whole(_name: str) -> InCopy:
    return InCopy.WHOLE


def make_hollow(path: Path, num_bytes: int) -> None:
    """Write a file of this length without content, which takes no room."""
    with path.open("wb"):
        os.truncate(path, num_bytes)


def mark_sent(path: Path) -> None:
    """Note that a file of a copy was sent by this process, which is another than the one that has the copy."""
    os.utime(path, ns=(_SENT, _SENT))


def _in_threads(function: Callable[[str], None], names: Collection[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = [pool.submit(function, name) for name in names]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _signature(path: Path) -> _Signature:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
