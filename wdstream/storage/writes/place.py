"""What can be written to: the interface of a place, which is a folder on this machine or under a URL."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from wdstream.errors import ShardError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of a place: name below it, size, and what changes when it is written again (ETag, or time and inode).

    `md5` is of its bytes, in hexadecimal; empty where the place does not list it.
    """

    name: str
    num_bytes: int
    version: str
    md5: str = ""


def refuse_strange_name(name: str, address: str) -> str:
    """The name of a file of a store, unless a copy of it would be elsewhere than in a folder: stores allow any name.

    Raises:
        ShardError: it would.
    """
    if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name:
        raise ShardError(f"{address}: holds a file named {name!a}, which no folder can have; remove or rename it")
    return name


class Hold(Protocol):
    """That a place is written by one job: as long as this one is held, another job is refused."""

    def check(self) -> None:
        """See whether it is held still, by asking the place.

        Raises:
            ShardError: another job has taken it over, since this one gave no sign of life.
        """

    def check_known(self) -> None:
        """As `check`, by what is known already: costs nothing."""

    def fileno(self) -> int | None:
        """A descriptor by which child processes hold it, too; None where there is none."""


class Place(Protocol):
    """A folder that is written to. Safe to use from many threads, after a fork, and in another process by pickle.

    Every file is complete or absent. What fails is one of three errors: AbsentFileError, ForbiddenFileError and
    StorageFailureError; requests that may pass are tried again before.
    """

    @property
    def address(self) -> str:
        """The folder or URL for messages; passwords are not shown."""

    def read(self, name: str) -> bytes:
        """All of a file."""

    def read_version(self, name: str) -> tuple[bytes, str]:
        """All of a file, and the version that these bytes are."""

    def files(self, under: str = "") -> Iterator[StoredFile]:
        """All files whose names begin with `under` (`index/`, say), sorted by name; none where there is no folder."""

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to fill, which appears at the end of the block; when the block raises, nothing does."""

    def write(self, name: str, data: bytes) -> None:
        """Write all of a file."""

    def put(self, name: str, path: Path) -> None:
        """Write a file with the content of a local one."""

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path, complete or absent there; its folder exists."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; one that is not there is passed over."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none; whether it is there with these bytes.

        Stores with conditional writes decide it; others are asked first, which two writers at once may both pass.
        """

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Write a file only while it is of this version; whether it has these bytes now. See `create`."""

    def remove_unfinished(self, is_own: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what a kill left half-written here, such as unfinished uploads, of files with such names."""

    def local_path(self, name: str) -> Path | None:
        """Where a file is, or would be, in this machine's file system; None for a store."""

    def hold(self, name: str, *, job: str, wait_s: float = 0.0) -> AbstractContextManager[Hold]:
        """Hold the place for the block: one writer at a time.

        Args:
            name: of the file that says so, below the place.
            job: what is done, for whoever is refused: "make-shards".
            wait_s: seconds to wait for a holder before its end counts as a refusal.

        Raises:
            ConfigError: on entering: another job holds it, with who and since when; or it cannot be written.
        """
