"""A folder of this machine that stands for some files of a place while they are changed, by code that works on files.

They are fetched first, and what was changed goes back: everything else before the file that makes it count, then what
went is removed. A folder of this machine stands for itself. What a killed job left of its copy, the next one removes.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import ConfigError, WdstreamError
from wdstream.storage.places import Hold, Place, local_folder, open_place

_AT_ONCE = 8
Signature = tuple[int, int, int]
"""Of a local file, what is another after it was written again: inode, bytes, time."""
_SENT = 0
"""The time of a file that another process sent; one that is written again has another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOf:
    """What is copied of a place.

    Attributes:
        wanted: whether a file is, by its name.
        stays: whether a file that is made in the copy is not to be sent, by its name.
        manifest: the file that is written last; without it the others do not count.
        lock: the file by which the place is held.
        job: for whoever is refused meanwhile.
    """

    wanted: Callable[[str], bool]
    stays: Callable[[str], bool]
    manifest: str
    lock: str
    job: str


class WorkingCopy:
    """Files of a place, copied to `path`; see `working_copy`."""

    def __init__(self, path: Path, place: Place, of: CopyOf, hold: Hold) -> None:
        self.path = path
        self._place, self._of, self._hold = place, of, hold
        self._there: dict[str, Signature] = {}

    def fetch(self) -> None:
        """Copy all that is wanted."""
        names = [file.name for file in self._place.files() if self._of.wanted(file.name)]
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        self._in_threads(self._fetch, names)

    def push(self, names: Sequence[str] = ()) -> None:
        """Copy back these files; without names all that changed, with the manifest last, and remove what went."""
        if names:
            self._hold.check_known()
            self._in_threads(self._put, names)
            return
        now = self._here()
        changed = [name for name, each in now.items() if self._there.get(name) != each and each[2] != _SENT]
        manifest = self._of.manifest
        self._hold.check_known()
        self._in_threads(self._put, [name for name in changed if name != manifest])
        if manifest in changed:
            self._hold.check()
            self._put(manifest)
        gone = sorted(self._there.keys() - now.keys(), key=lambda name: (name != manifest, name))
        self._place.remove(gone)
        for name in gone:
            del self._there[name]

    def _fetch(self, name: str) -> None:
        self._place.fetch(name, self.path / name)
        self._there[name] = _signature(self.path / name)

    def _put(self, name: str) -> None:
        signature = _signature(self.path / name)
        self._place.put(name, self.path / name)
        self._there[name] = signature

    def _here(self) -> dict[str, Signature]:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        named = ((path.relative_to(self.path).as_posix(), path) for path in files)
        return {name: _signature(path) for name, path in named if not self._of.stays(name)}

    def _in_threads(self, function: Callable[[str], None], names: Collection[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = [pool.submit(function, name) for name in names]
            try:
                for each in waiting:
                    each.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def working_copy(address: str | Path, of: CopyOf) -> Iterator[WorkingCopy | None]:
    """A copy of files of the place at a URL, for the block; None for a folder of this machine, which needs none.

    At the end of the block, what changed goes back. When the block raises, only what was pushed before has.

    Raises:
        ConfigError: another job holds the place, or it is of what is only read.
        ForbiddenFileError, StorageFailureError: it cannot be read, or not be written.
    """
    if local_folder(address) is not None:
        yield None
        return
    place = open_place(address)
    address = place.address
    path = _own_folder(place.address)
    with place.hold(of.lock, job=of.job) as hold:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        try:
            place.remove_unfinished()
            copy = WorkingCopy(path, place, of, hold)
            copy.fetch()
            yield copy
            copy.push()
        except WdstreamError as error:  # about the place, not about the copy
            error.args = tuple(arg.replace(str(path), address) if isinstance(arg, str) else arg for arg in error.args)
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)


def mark_sent(path: Path) -> None:
    """Note that a file of a copy was sent by this process, which is another than the one that has the copy."""
    os.utime(path, ns=(_SENT, _SENT))


def _own_folder(address: str) -> Path:
    """Where the copy of a place is: always the same, so that the next job finds what a kill left."""
    ours = Path(tempfile.gettempdir()) / f"wdstream-{os.getuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    if ours.is_symlink() or ours.stat().st_uid != os.getuid():
        raise ConfigError(f"{ours} belongs to somebody else: set TMPDIR to a folder of your own")
    return ours / hashlib.blake2b(address.encode(), digest_size=8).hexdigest()


def _signature(path: Path) -> Signature:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
