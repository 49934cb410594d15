"""The output of a job as its code works on it: a folder of this machine, for a store one that stands for it.

The folder that stands for a store holds all of its small files, and for each tar a hollow one of its length. What the
job writes or removes there follows in the store when it says so (`push`), in the order in which it was written; shards
are sent by whoever builds them (`send_shard`). So a kill leaves in the store what it would leave in a folder, and the
next job begins with a new copy.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from wdstream.errors import ConfigError, WdstreamError
from wdstream.make_shards.jobs import shard_name
from wdstream.make_shards.record import STATE_FOLDER, readings_path, record_path
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON
from wdstream.shards.layout import ShardPaths
from wdstream.storage.atomic import TEMP_SUFFIX
from wdstream.storage.lock import FileLock
from wdstream.storage.places import Hold, Place, StoredFile, local_folder, open_place

_LEASE = f"{STATE_FOLDER}/lease"
_INDEX_JSON = f"{INDEX_FOLDER}/{INDEX_JSON}"
_OURS = ("shard-*", OUTPUT_MARK, "quarantine.jsonl", f"{STATE_FOLDER}/*", f"{INDEX_FOLDER}/*")
_HERE_ONLY = ("lock", "lease*", "saving", "part-*", "kept-*")
"""In the folder of a job's state, what processes of one machine leave for each other."""
_BUILT = re.compile(rf"(?:{re.escape(STATE_FOLDER)}/)?(?:shard|readings)-\d{{6,}}\..*")
"""Files of shards, which are sent by whoever builds them."""
_AT_ONCE = 16
_LOCK_WAIT_S = 10.0

_Signature = tuple[int, int, int]


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

    def __init__(self, address: str, path: Path, place: Place, hold: Hold, locks: Sequence[int]) -> None:
        self.store, self.path, self.locks = address, path, locks
        self._place, self._hold = place, hold
        self._sent: dict[str, _Signature] = {}

    def fetch(self) -> None:
        """Copy what is there; files of others are named here by empty ones, so that they are refused."""
        wanted: list[str] = []
        for file in self._place.files():
            path = self.path / file.name
            if _is_here_only(file.name):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.name.endswith(".tar") or not any(fnmatch(file.name, pattern) for pattern in _OURS):
                make_hollow(path, file.num_bytes if file.name.endswith(".tar") else 0)
                self._sent[file.name] = _signature(path)
            else:
                wanted.append(file.name)
        self._fetch_all(wanted)

    def _fetch_all(self, names: Iterable[str]) -> None:
        def fetch(name: str) -> None:
            self._place.fetch(name, self.path / name)
            self._sent[name] = _signature(self.path / name)

        _in_threads(fetch, names)

    def push(self) -> None:
        """What was removed goes first, then files follow in the order in which they were written.

        Of an index that changes, `index.json` goes first of all and comes last: no reader finds it with columns of
        another one.

        Raises:
            ShardError: another job has taken the place over; or it cannot be written.
        """
        now = self._here()
        gone = sorted(self._sent.keys() - now.keys(), key=_order_of_removal)
        changed = [name for name, state in now.items() if self._sent.get(name) != state and not _BUILT.fullmatch(name)]
        if not gone and not changed:
            return
        self._hold.check()
        if any(name.startswith(f"{INDEX_FOLDER}/") and name in self._sent for name in (*gone, *changed)):
            self._place.remove([_INDEX_JSON])
            changed += [_INDEX_JSON] if _INDEX_JSON in now and _INDEX_JSON not in changed else []
        reported = [name for name in gone if _is_reported(name)]
        self._remove([name for name in gone if not _is_reported(name)])
        self._put_all(changed, now)
        self._remove(reported)

    def _remove(self, names: Sequence[str]) -> None:
        self._place.remove(names)
        for name in names:
            del self._sent[name]

    def _put_all(self, names: Sequence[str], now: Mapping[str, _Signature]) -> None:
        """Send files one after the other as they were written; then columns, many at once; then `index.json`."""

        def put(name: str) -> None:
            self._place.put(name, self.path / name)
            self._sent[name] = now[name]

        columns = [name for name in names if name.startswith(f"{INDEX_FOLDER}/") and name != _INDEX_JSON]
        for name in sorted({*names} - {*columns, _INDEX_JSON}, key=lambda name: now[name][2]):
            put(name)
        _in_threads(put, columns)
        if _INDEX_JSON in names:
            self._hold.check()
            put(_INDEX_JSON)

    def built(self, number: int) -> None:
        """Note what was sent of a shard that was built in this folder.

        Raises:
            ShardError: another job has taken the place over.
        """
        self._hold.check_known()
        for path in (*_files_of(self.path, number), record_path(self.path, number), readings_path(self.path, number)):
            name = path.relative_to(self.path).as_posix()
            if path.is_file():
                self._sent[name] = _signature(path)
            else:
                self._sent.pop(name, None)

    def readable(self) -> str:
        """The store, with all that is written so far."""
        self.push()
        return self.store

    def named(self, text: str) -> str:
        """The message with the store in place of the folder that stands for it."""
        return text.replace(str(self.path), self._place.address)

    def take_in(self, number: int) -> None:
        """Copy what another machine sent of a shard."""
        paths = (*_files_of(self.path, number), record_path(self.path, number), readings_path(self.path, number))
        names = {path.relative_to(self.path).as_posix() for path in paths}
        for path in paths:
            path.unlink(missing_ok=True)
        stem = _files_of(self.path, number)[0].name.removesuffix(".tar")
        there = [*self._place.files(f"{stem}."), *self._place.files(f"{STATE_FOLDER}/{stem}.")]
        there += self._place.files(f"{STATE_FOLDER}/{readings_path(self.path, number).name}")
        self._take(file for file in there if file.name in names)
        self.built(number)

    def _take(self, files: Iterable[StoredFile]) -> None:
        for file in files:
            if file.name.endswith(".tar"):
                make_hollow(self.path / file.name, file.num_bytes)
            else:
                self._place.fetch(file.name, self.path / file.name)

    def _here(self) -> dict[str, _Signature]:
        found: dict[str, _Signature] = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                below = path.relative_to(self.path).as_posix()
                if not name.endswith(TEMP_SUFFIX) and not _is_here_only(below):
                    found[below] = _signature(path)
        return found


@contextmanager
def opened_output(address: str | Path, *, part: str = "") -> Iterator[Output]:
    """The output of a job for the block; a store is held by a lease.

    Args:
        address: a folder, or a URL.
        part: name of the part of the job that writes it, together with other parts; empty for all of it.

    Raises:
        ConfigError: another job is at work there, or it cannot be written.
        ForbiddenFileError, StorageFailureError: it cannot be read.
    """
    folder = local_folder(address)
    if folder is not None:
        yield FolderOutput(folder)
        return
    url = str(address).rstrip("/")
    place = open_place(url)
    _refuse_own_memory(place, url)
    with ExitStack() as stack:
        hold = stack.enter_context(_held(place, part))
        lock, path = stack.enter_context(_own_folder(f"{place.address} {part}"))
        output = StoreOutput(url, path, place, hold, [lock])
        stack.enter_context(_named(output))
        if not part:  # uploads of other parts may be under way
            place.remove_unfinished()
        output.fetch()
        yield output


def _refuse_own_memory(place: Place, url: str) -> None:
    if url.startswith("memory://"):
        raise ConfigError(f"{place.address}: the memory of one process is not seen by the others that make shards")


@contextmanager
def _held(place: Place, part: str) -> Iterator[Hold]:
    """Hold the place, or a part of it: all of it and a part exclude each other, parts do not."""
    own = f"{_LEASE}-{part}" if part else _LEASE
    with place.hold(own, job="make-shards", wait_s=_LOCK_WAIT_S) as hold:
        for file in place.files(_LEASE):
            if file.name != own and not _are_parts_of_one(own, file.name):
                with place.hold(file.name, job="make-shards"):
                    pass  # whoever held it has ended
        yield hold


def _are_parts_of_one(lease: str, other: str) -> bool:
    """Whether two leases are of parts of as many, which share no shard."""
    of, of_other = lease.rpartition("-of-")[2], other.rpartition("-of-")[2]
    return _LEASE not in (lease, other) and of == of_other


@contextmanager
def _own_folder(what: str) -> Iterator[tuple[int, Path]]:
    """An empty folder of this machine, always the same for the same output, so that the next job removes what a kill
    left; with the lock that processes of the job inherit, since those of a killed one may live a little longer."""
    ours = Path(tempfile.gettempdir()) / f"wdstream-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ConfigError(f"{ours} belongs to somebody else: set TMPDIR to a folder of your own")
    top = ours / f"make-shards-{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}"
    top.mkdir(exist_ok=True)
    busy = ConfigError(f"{top}: processes of another make-shards are at work there; wait until they have ended")
    with FileLock(top / "lock", wait_s=_LOCK_WAIT_S, refuse=lambda _: busy) as lock:
        shutil.rmtree(top / "out", ignore_errors=True)
        (top / "out").mkdir()
        try:
            yield lock.fileno(), top / "out"
        finally:
            shutil.rmtree(top, ignore_errors=True)


@contextmanager
def _named(output: StoreOutput) -> Iterator[None]:
    """Messages name the store, not the folder that stands for it."""
    try:
        yield
    except WdstreamError as error:
        error.args = tuple(output.named(arg) if isinstance(arg, str) else arg for arg in error.args)
        raise


def _in_threads(function: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting = [pool.submit(function, name) for name in names]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _order_of_removal(name: str) -> tuple[bool, bool, str]:
    """First what makes an index count, last what says whose the output is."""
    return name != _INDEX_JSON, name == OUTPUT_MARK, name


def _is_reported(name: str) -> bool:
    """Whether a file is of use until a job has reported, so that it goes last of all."""
    return name.startswith(f"{STATE_FOLDER}/readings-")


def _is_here_only(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return folder == STATE_FOLDER and any(fnmatch(last, pattern) for pattern in _HERE_ONLY)


def _signature(path: Path) -> _Signature:
    """Of a file, what is another after it was written again: inode, bytes, time."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


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
    place.remove([_name(out, record), _name(out, tar)])
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


def make_hollow(path: Path, num_bytes: int) -> None:
    """Write a file of this length without content, which takes no room."""
    with path.open("wb"):
        os.truncate(path, num_bytes)


def _name(out: Path, path: Path) -> str:
    return path.relative_to(out).as_posix()
