"""Files on anything fsspec reaches: object stores, web servers, archives. Needs the extra `wdstream[remote]`.

`FsspecStorage` reads them by ranges; `open_remote` reads one as a stream, front to back in large blocks.
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from wdstream.errors import ShardError
from wdstream.storage.addresses import address_of, check_address, check_web_folder, name_in, shown_url
from wdstream.storage.file_systems import lacks_bucket, open_file_system, travels_in_clear
from wdstream.storage.forks import ForkSafeLock, leave_to_parent
from wdstream.storage.http_answers import (
    FileVersion,
    NoRangesError,
    RangeError,
    cause_of,
    may_pass,
    store_error,
    version_of,
)
from wdstream.storage.local import ByteRange, LocalStorage, Storage, coalesce, cut_out
from wdstream.storage.settings import ReadSettings
from wdstream.storage.tries import ATTEMPTS, FIRST_WAIT_S, Deadline, Retrying, come_twice

BLOCK_BYTES = 8 << 20
"""Size of one request of a stream: large enough that the request's latency does not count."""


def open_storage(path: Path | str, reading: ReadSettings | None = None) -> Storage:
    """The files of a folder, or of a URL such as `s3://bucket/shards`.

    Raises:
        ConfigError: for a URL, that fsspec or its plug-in for the protocol is not installed, or that it is misspelt.
    """
    address = check_address(str(path))
    return FsspecStorage(address, reading=reading) if "://" in address else LocalStorage(Path(path))


def open_remote(url: str) -> BinaryIO:
    """Open `s3://bucket/folder/x.tar`, or a file anywhere else that fsspec reaches, for reading.

    Raises:
        ShardError: it is missing, or the storage does not tell its size; later, that it cannot be read.
        ConfigError: the protocol's plug-in is not installed.
    """
    return cast(BinaryIO, io.BufferedReader(RemoteFile(url), BLOCK_BYTES))


class SizedFile(io.RawIOBase):
    """A file to read, whose size is known, so that seeking sends no request.

    Args:
        size: its bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """True, as `io.RawIOBase` asks."""
        return True

    def seekable(self) -> bool:
        """True: seeking sends no request."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position


class RemoteFile(SizedFile):
    """The bytes of one file; a request that fails is tried again by FsspecStorage, and never taken for the end."""

    def __init__(self, url: str) -> None:
        folder, _, self._name = url.rpartition("/")
        self._storage = _AsAddressed(folder)
        size = self._storage.size(self._name)
        if size is None:
            raise ShardError(
                f"{shown_url(url)}: the storage does not tell its size, so that its end would not be known"
            )
        super().__init__(size)
        self._url = url

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        """Fill the buffer, but at the end of the file.

        Raises:
            ShardError: the storage sent less than it has.
        """
        wanted = max(0, min(len(buffer), self._size - self._position))
        if not wanted:
            return 0
        data = self._storage.read(ByteRange(name=self._name, offset=self._position, length=wanted))
        if len(data) != wanted:
            raise ShardError(
                f"{shown_url(self._url)}: {wanted} bytes at byte {self._position} asked for, {len(data)} sent"
            )
        buffer[:wanted] = data
        self._position += wanted
        return wanted


_PARTS_AT_ONCE = 4
Result = TypeVar("Result")
Ask = Callable[..., Any]
"""Calls a method of a file system: its name, then its arguments."""


class FsspecStorage:
    """Files under a URL. Failures that may pass are tried again; those of a missing or forbidden file are not.

    It may be used in any process: pickled, it is opened where it comes; in a forked child it opens connections of its
    own when it is first used.

    Args:
        url: `s3://bucket/shards`, `https://host/shards`, `memory://shards`, ...; fsspec and its plug-in for the
            protocol must be installed.
        reading: how many requests, how large, how long.
        attempts: tries of each request. When left out, 10 of a server that never answered, which may not exist; one
            that did answer is down for a moment, and is tried again for as long as `reading` says.
        first_wait_s: seconds before the second try, at most; see tries.py.
        options: passed on to the file system (credentials, endpoint, ...).

    Attributes:
        has_file_names: whether files are asked for by their names, or by how addresses of web servers write these.
    """

    has_file_names = True

    def __init__(
        self,
        url: str,
        *,
        reading: ReadSettings | None = None,
        attempts: int | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        **options: Any,
    ) -> None:
        self._reading = reading or ReadSettings()
        tries: dict[str, Any] = {"attempts": attempts, "first_wait_s": first_wait_s}
        self._state = {"url": url, "reading": self._reading, **tries, **options}
        self._url, self._options = url.rstrip("/"), options
        if self.has_file_names:
            check_web_folder(self._url)
        self._waits_out, self._has_answered = attempts is None, False
        self._retrying = Retrying(
            may_pass,
            attempts=attempts or ATTEMPTS,
            first_wait_s=first_wait_s,
            most_s=self._reading.patience_s,
            waits_out=self._is_outage,
        )
        self._lock = ForkSafeLock()
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._opened, self._root = open_file_system(self._url, dict(self._options), self._reading)

    @property
    def _fs(self) -> Any:
        """The file system of this process."""
        with self._lock:
            if self._pid != os.getpid():
                leave_to_parent(self._opened)
                self._open()
            return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    @property
    def address(self) -> str:
        """The URL, as it was passed in but for slashes at its end."""
        return self._url

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # connections do not travel

    @property
    def is_in_clear(self) -> bool:
        """Whether bytes travel without TLS, which would notice one that is changed on its way."""
        return travels_in_clear(self._url, self._fs, self._options)

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where the storage cannot tell."""
        size = self._try(name, lambda ask: ask("size", self._path(name)))
        return None if size is None else int(size)

    def version(self, name: str) -> FileVersion:
        """Size of a file and which one it is, as far as the storage tells: it is asked now."""

        def info(ask: Ask) -> dict[str, Any]:
            self._fs.invalidate_cache(self._path(name))  # a listing of before
            return dict(ask("info", self._path(name)))

        version = version_of(self._try(name, info))
        # A date has seconds; but web servers that share an address may make ETags of their own.
        return version._replace(date="") if version.etag and not self._url.startswith("http") else version

    def read(self, wanted: ByteRange) -> bytes:
        """One range; shorter where the file ends before."""
        return self.read_many([wanted])[0]

    def read_many(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        """Several ranges; neighbours in one file share a request, and requests are sent in parallel."""
        requests = coalesce(wanted, self._reading)
        if not requests:
            return []
        fetched = self._fetch(requests)
        return [cut_out(one, requests, fetched) for one in wanted]

    def _fetch(self, requests: Sequence[ByteRange]) -> list[bytes]:
        """The answer to each request, all sent in parallel; of those that fail, each is tried again by itself."""
        answers: dict[int, bytes | BaseException] = {}

        def ask(deadline: Deadline) -> None:
            todo = [number for number in range(len(requests)) if not isinstance(answers.get(number), bytes)]
            asked = [requests[number] for number in todo]
            paths = [self._path(request.name) for request in asked]
            starts = [request.offset for request in asked]
            ends = [request.offset + request.length for request in asked]
            bounds = {"batch_size": self._reading.open_requests} if self._is_async else {}
            sent = self._ask_for(deadline)("cat_ranges", paths, starts, ends, on_error="return", **bounds)
            answers.update(zip(todo, map(_not_longer, asked, sent), strict=True))
            errors = [answer for answer in answers.values() if isinstance(answer, BaseException)]
            if errors:  # one that trying again does not help comes first
                raise min(errors, key=may_pass)

        try:
            self._retrying(ask)
        except Exception as error:  # whatever the protocol's plug-in raises
            name = next(
                (requests[number].name for number, answer in answers.items() if answer is error), requests[0].name
            )
            raise self._error(name, error) from error
        self._has_answered = True
        return [answer for _, answer in sorted(answers.items()) if isinstance(answer, bytes)]

    @property
    def _is_async(self) -> bool:
        """Whether the file system is asynchronous; a cache before one claims to be what it is before."""
        from fsspec.asyn import AsyncFileSystem

        return issubclass(type(self._fs), AsyncFileSystem)

    def _ask_for(self, deadline: Deadline) -> "Ask":
        """Calls a method of the file system by name; one that is asynchronous is not waited for beyond a deadline."""

        def ask(method: str, *arguments: Any, **options: Any) -> Any:
            files = self._fs
            if not self._is_async:
                return getattr(files, method)(*arguments, **options)
            import asyncio  # of file systems that are so: every command imports this module, and few have a store

            answer = getattr(files, f"_{method}")(*arguments, **options)
            return deadline.result_of(asyncio.run_coroutine_threadsafe(answer, files.loop))

        return ask

    def read_file(self, name: str) -> bytes:
        """All bytes of a file; of a large one in several requests, each tried again by itself."""
        most = self._reading.max_request
        data = self._try(name, lambda ask: self._begin(name, most, ask))
        size = self.size(name) if len(data) == most else len(data)
        if size is None or size <= len(data):
            return data
        parts = [ByteRange(name=name, offset=at, length=min(most, size - at)) for at in range(most, size, most)]
        groups = [parts[at : at + _PARTS_AT_ONCE] for at in range(0, len(parts), _PARTS_AT_ONCE)]
        return b"".join([data, *(part for group in groups for part in self.read_many(group))])

    def _begin(self, name: str, most: int, ask: "Ask") -> bytes:
        """The first bytes of a file, as a range, whose answer tells how many; all where there are no ranges."""
        data: bytes
        try:
            data = ask("cat_file", self._path(name), start=0, end=most)
        except Exception as error:  # whatever the protocol's plug-in raises
            if not (isinstance(error, NoRangesError) or _has_no_bytes(error)):
                raise
            data = ask("cat_file", self._path(name))
        return data

    def names(self, folder: str) -> list[str]:
        """File names in a folder, sorted. AbsentFileError where there is none."""
        paths = self._listed(folder, lambda ask: list(ask("ls", self._path(folder), detail=False)))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def listing(self) -> dict[str, int | None]:
        """Names of the files in the folder, as they are now, and their bytes where the storage lists them, too.

        Raises:
            AbsentFileError: there is no such folder, as far as the storage can tell.
        """

        def entries(ask: Ask) -> list[tuple[str, str, int | None]]:
            listed = ask("ls", self._root, detail=True)
            return [(entry["name"], entry["type"], entry.get("size")) for entry in listed]

        files = [(name, size) for name, kind, size in self._listed("", entries) if kind == "file"]
        return {name_in(name.rstrip("/")): size for name, size in files}

    def _listed(self, folder: str, request: "Callable[[Ask], Result]") -> "Result":
        """What a folder holds now; without TLS, asked for until it comes twice the same: no file is to be missed."""

        def now(ask: Ask) -> Result:
            self._fs.invalidate_cache()
            return request(ask)

        def once() -> Result:
            return self._try(folder, now)

        what = f"{shown_url(self._url)}: the listing of {folder!r}"
        return come_twice(once, what, is_sure=lambda _: not self.is_in_clear)

    def local_path(self, name: str) -> Path | None:
        """None: the files are elsewhere."""

    def forget(self, wanted: ByteRange) -> None:
        """Nothing: each read asks the storage."""

    def _error(self, name: str, error: BaseException) -> ShardError:
        """What kept a file from being read; tries are counted of this thread's last request."""
        if isinstance(error, TimeoutError) and not str(error):
            told = f"no whole answer within {self._reading.patience_s:g} s ({self._reading.section}.patience_s)"
            error = TimeoutError(told)
        return store_error(
            f"{self._url}/{name}",
            error,
            self._retrying.num_tries,
            silence=f"{self._reading.silence_s:g} s, {self._reading.section}.silence_s",
            lacks_bucket=lambda: lacks_bucket(self._url, self._fs),
        )

    def _path(self, name: str) -> str:
        return address_of(self._root, name) if self.has_file_names else f"{self._root}/{name}"

    def _try(self, name: str, request: "Callable[[Ask], Result]") -> Result:
        """What a request gives that is passed how to ask the file system, until it succeeds."""
        try:
            answer = self._retrying(lambda deadline: request(self._ask_for(deadline)))
        except Exception as error:  # whatever the protocol's plug-in raises
            raise self._error(name, error) from error
        self._has_answered = True
        return answer

    def _is_outage(self, error: BaseException) -> bool:
        """Whether a server that is there fails; one that sends something else than was asked for may do so always."""
        return self._waits_out and self._has_answered and not isinstance(cause_of(error), RangeError)


class _AsAddressed(FsspecStorage):
    """Files by names as they are in addresses."""

    has_file_names = False


def _has_no_bytes(error: BaseException) -> bool:
    """Whether a server refuses a range since the file is empty."""
    return getattr(error, "status", None) == 416 or "InvalidRange" in f"{error} {error.__cause__}"


def _not_longer(request: ByteRange, answer: bytes | BaseException) -> bytes | BaseException:
    """The answer to a request, or that it has more than was asked for."""
    if isinstance(answer, bytes) and len(answer) > request.length:
        return NoRangesError(f"{request.length} bytes at byte {request.offset} asked for, {len(answer)} sent")
    return answer
