"""The store of a raw folder that is a URL: listed in pages, read patiently, and told apart from one that is down.

A request that fails is tried again for minutes, with signs of life, so that nobody takes the process for one that
hangs. When that does not help, the store is asked for something else: where it answers, the trouble is that file's
alone and costs that file; where it does not, the job ends, and the same command continues it.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from wdstream.errors import (
    AbsentBucketError,
    AbsentFileError,
    ConfigError,
    ForbiddenFileError,
    ShardError,
    StorageFailureError,
    StoreDownError,
)
from wdstream.storage.ahead import read_twice, read_whole
from wdstream.storage.http_answers import may_pass
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import BLOCK_BYTES, Ask, FsspecStorage
from wdstream.storage.s3_answers import has_md5, is_md5, of_listing
from wdstream.storage.tries import come_twice

_ATTEMPTS = 4
_WAITS_S = (1.0, 2.0, 4.0, 8.0, *(15.0,) * 10)
"""Between rounds of attempts: about three minutes together."""
_STEP_S = 1.0
_LISTED_AT_ONCE = 1000
_VERSION_FIELDS = (
    *("ETag", "etag", "md5Hash", "generation"),
    *("mtime", "LastModified", "last_modified", "updated", "created"),
)
_WHOLE_READS = 12

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class StoredState:
    """What a store tells of a file: its size, and what changes with its content: an ETag, or the time of a change."""

    num_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """A name in a folder of a store; the state is None for a folder."""

    name: str
    state: StoredState | None


class RawStore(FsspecStorage):
    """The files of a raw folder under a URL. Names are relative to it, with forward slashes.

    What cannot be read is an OSError, as of a local file: FileNotFoundError, PermissionError, or one of input and
    output.

    Args:
        url: `s3://bucket/folder`, or another one that fsspec lists.

    Attributes:
        on_wait: called about once a second while a request is tried again.

    Raises:
        ConfigError: fsspec or its plug-in for the protocol is not installed.
    """

    has_file_names = False  # they are out of listings

    def __init__(self, url: str) -> None:
        # What it lists is to be what is there now.
        options: dict[str, Any] = {} if "::" in url else {"use_listings_cache": False}
        super().__init__(url, attempts=_ATTEMPTS, **options)
        self.on_wait: Callable[[], None] | None = None

    def state(self, name: str) -> StoredState:
        """Size and version of a file.

        Raises:
            OSError: it is not there, is a folder, or cannot be asked for.
        """
        info = self._patiently(name, lambda: self._try(name, lambda ask: ask("info", self._path(name))))
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        return _state_of(info)

    def entries(self, folder: str) -> Iterator[list[StoreEntry]]:
        """What is in a folder, page by page; `folder` is "" or ends with a slash.

        Raises:
            OSError: it cannot be listed, or is not there.
        """
        if not hasattr(self._fs, "call_s3"):
            listed = self._listed_surely(folder, partial(self._ls, folder), lambda infos: [{**info} for info in infos])
            yield [entry for info in listed if (entry := _entry_of(info, self._path(folder).rstrip("/")))]
            return
        token = ""
        while True:
            self._say_alive()
            page = self._listed_surely(folder, partial(self._page, folder, token), of_listing)
            yield [*_entries_of(page)]
            token = page.get("NextContinuationToken", "")
            if not token:
                return

    def fetch(self, name: str, start: int, length: int) -> bytes:
        """A range of a file, all of it; without TLS, asked for until the same bytes come twice.

        Raises:
            OSError: it cannot be read, or ends before.
        """
        self._say_alive()
        wanted = ByteRange(name=name, offset=start, length=length)
        try:
            return (read_twice if self.is_in_clear else read_whole)(self._ranged, wanted)
        except StorageFailureError as error:
            raise OSError(errno.EIO, str(error), name) from error

    def _ranged(self, wanted: ByteRange) -> bytes:
        return self._range(wanted.name, wanted.offset, wanted.length)

    def fetch_whole(self, name: str, state: StoredState) -> bytes:
        """All of a file, as long as the store says, and of the MD5 that it says, where it says one.

        Raises:
            OSError: it cannot be read.
        """
        before: list[bytes] = []
        for _ in range(_WHOLE_READS):
            data = self._range(name, 0, state.num_bytes + 1)
            if len(data) == state.num_bytes and (self._is_sound(data, state) or data in before):
                return data
            before.append(data)
            state = self.state(name)
        raise OSError(errno.EIO, f"{state.num_bytes:,} bytes expected, {len(data):,} sent", name)

    def _listed_surely(self, folder: str, request: Callable[[Ask], Reply], part: Callable[[Reply], object]) -> Reply:
        """What a listing says; without TLS, asked for until it comes twice the same: no page is to be missed."""
        what = f"{self.address}: the listing of {folder!r}"
        try:
            return come_twice(
                lambda: self._patiently(folder, lambda: self._try(folder, request)),
                what,
                part=part,
                is_sure=lambda _: not self.is_in_clear,
            )
        except StorageFailureError as error:
            raise OSError(errno.EIO, str(error), folder) from error

    def _range(self, name: str, start: int, length: int) -> bytes:
        ends = range(start, start + length, BLOCK_BYTES)
        wanted = [ByteRange(name=name, offset=at, length=min(BLOCK_BYTES, start + length - at)) for at in ends]
        if start == 0 and length == 1:  # an empty file has no first byte to ask for
            return b""
        return b"".join(self._patiently(name, lambda: self.read_many(wanted)))

    def _is_sound(self, data: bytes, state: StoredState) -> bool:
        """Whether data are of the MD5 that the version is; not every store's is, and not of every file. Where there is
        none, TLS vouches for them, or nothing does."""
        return has_md5(data, state.version) if is_md5(state.version) else not self.is_in_clear

    def _ls(self, folder: str, ask: Ask) -> list[Mapping[str, Any]]:
        listed: list[Mapping[str, Any]] = ask("ls", self._path(folder).rstrip("/"), detail=True)
        return listed

    def _page(self, folder: str, token: str, ask: Ask) -> Mapping[str, Any]:
        bucket, _, prefix = self._path(folder).strip("/").partition("/")
        more = {"ContinuationToken": token} if token else {}
        wanted = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else "", "Delimiter": "/", **more}
        page: Mapping[str, Any] = ask("call_s3", "list_objects_v2", **wanted, MaxKeys=_LISTED_AT_ONCE)
        return page

    def _patiently(self, name: str, request: Callable[[], Reply]) -> Reply:
        """The answer to a request, which is sent for minutes.

        Raises:
            OSError: of this file.
            ConfigError: there is no such bucket.
            StoreDownError: of the store.
        """
        for wait_s in (*_WAITS_S, None):
            try:
                return request()
            except AbsentBucketError as error:
                raise ConfigError(str(error)) from error
            except AbsentFileError as error:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error
            except ForbiddenFileError as error:
                self._check_it_answers(error)
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name) from error
            except StorageFailureError as error:
                if wait_s is None or (error.__cause__ is not None and not may_pass(error.__cause__)):
                    self._check_it_answers(error)
                    raise OSError(errno.EIO, str(error), name) from error
                self._wait(wait_s)
        raise AssertionError("the last round returns or raises")

    def _check_it_answers(self, trouble: ShardError) -> None:
        """Ask the store for something else, once.

        Raises:
            StoreDownError: it does not answer that, either.
        """
        try:
            self._try("", partial(self._page, "", "") if hasattr(self._fs, "call_s3") else partial(self._ls, ""))
        except ShardError as error:
            raise StoreDownError(str(trouble)) from error

    def _say_alive(self) -> None:
        if self.on_wait is not None:
            self.on_wait()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._say_alive()
            time.sleep(min(left, _STEP_S))


def _state_of(info: Mapping[str, Any]) -> StoredState:
    version = next((str(info[name]) for name in _VERSION_FIELDS if info.get(name)), "")
    return StoredState(int(info.get("size") or info.get("Size") or 0), version.strip('"'))


def _entry_of(info: Mapping[str, Any], folder: str) -> StoreEntry | None:
    """An entry as fsspec lists it; None for the folder itself, which some stores list."""
    path = str(info["name"]).rstrip("/")
    if path == folder or (info.get("type") != "directory" and str(info["name"]).endswith("/")):
        return None
    return StoreEntry(path.rpartition("/")[2], None if info.get("type") == "directory" else _state_of(info))


def _entries_of(page: Mapping[str, Any]) -> Iterator[StoreEntry]:
    """The entries of a page of S3; an empty object with the folder's own name and a slash only marks that folder, and
    one with content has no name of a file."""
    for found in page.get("CommonPrefixes", ()):
        yield StoreEntry(str(found["Prefix"])[:-1].rpartition("/")[2], None)
    for found in page.get("Contents", ()):
        name, state = str(found["Key"]).rpartition("/")[2], _state_of(found)
        if name or state.num_bytes:
            yield StoreEntry(name, state)
