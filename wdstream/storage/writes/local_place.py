"""A folder of this machine as a place to write to: files by rename, one writer by a lock of the operating system."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import ConfigError
from wdstream.storage.atomic import TEMP_SUFFIX, atomic_write
from wdstream.storage.local import file_error, read_local
from wdstream.storage.lock import FileLock
from wdstream.storage.writes.place import Hold, StoredFile


class LocalPlace:
    """Files below a folder; folders are made as files are written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def address(self) -> str:
        """The folder as it was given."""
        return str(self.root)

    def local_path(self, name: str) -> Path:
        """The path of a file, whether it is there or not."""
        return self.root / name

    def read(self, name: str) -> bytes:
        """All of a file."""
        return read_local(self.root / name)

    def read_version(self, name: str) -> tuple[bytes, str]:
        """All of a file, and its version."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(), _version_of(os.fstat(file.fileno()))
        except OSError as error:
            raise file_error(self.root / name, error) from error

    def files(self, under: str = "") -> Iterator[StoredFile]:
        """All files whose names begin with `under`, sorted by name; temporary ones are none."""
        top = self.root / under.rpartition("/")[0]
        paths = [Path(folder) / name for folder, _, names in os.walk(top) for name in names]
        for name, path in sorted((path.relative_to(self.root).as_posix(), path) for path in paths):
            if name.startswith(under) and not name.endswith(TEMP_SUFFIX):
                state = path.stat()
                yield StoredFile(name=name, num_bytes=state.st_size, version=_version_of(state))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to fill, by `atomic_write`."""
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                yield file
        except OSError as error:
            raise file_error(path, error, doing="written") from error

    def write(self, name: str, data: bytes) -> None:
        """Write all of a file."""
        with self.writing(name) as file:
            file.write(data)

    def put(self, name: str, path: Path) -> None:
        """Write a file with the content of another."""
        with path.open("rb") as source, self.writing(name) as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to another path."""
        try:
            with (self.root / name).open("rb") as source, atomic_write(path, is_durable=False) as file:
                shutil.copyfileobj(source, file, 1 << 20)
        except OSError as error:
            raise file_error(self.root / name, error) from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; one that is not there is passed over."""
        for name in names:
            try:
                (self.root / name).unlink(missing_ok=True)
            except OSError as error:
                raise file_error(self.root / name, error, doing="removed") from error

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none: linked to its name when it is complete, which one writer can."""
        path = self.root / name
        temp = path.with_name(f"{path.name}.{os.getpid()}{TEMP_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temp.write_bytes(data)
                os.link(temp, path)
            finally:
                temp.unlink(missing_ok=True)
        except FileExistsError:
            return self.read(name) == data
        except OSError as error:
            raise file_error(path, error, doing="written") from error
        return True

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Write a file only while it is of this version; looked at first."""
        now, is_version = self.read_version(name)
        if is_version == version:
            self.write(name, data)
            return True
        return now == data

    def remove_unfinished(self, _is_own: Callable[[str], bool] = lambda _: True) -> None:
        """Nothing: what is half-written is known to who writes it, and is removed by `atomic.remove_unfinished`."""

    @contextmanager
    def _held(self, path: Path, lock: FileLock) -> Iterator[Hold]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = lock.__enter__()
        except OSError as error:
            raise ConfigError(f"{self.root}: cannot write there ({error.strerror}); choose another folder") from error
        try:
            yield _LockHold(held)
        finally:
            lock.__exit__()

    def hold(self, name: str, *, job: str, wait_s: float = 0.0) -> AbstractContextManager[Hold]:
        """Hold the folder by a lock on a file, which ends with the last process that inherited it."""
        busy = ConfigError(f"{self.root}: another {job} is at work there; wait until it has ended")
        path = self.root / name
        return self._held(path, FileLock(path, wait_s=wait_s, refuse=lambda _: busy))


class _LockHold:
    """A lock of the operating system: nobody can take it over."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def check(self) -> None:
        """Nothing to see: nobody else can take it."""

    def check_known(self) -> None:
        """Nothing to see: nobody else can take it."""

    def fileno(self) -> int:
        """The descriptor of the locked file."""
        return self._lock.fileno()


def _version_of(state: os.stat_result) -> str:
    return f"{state.st_mtime_ns:x}-{state.st_ino:x}-{state.st_size:x}"
