"""A folder under a URL that fsspec reaches, as a place to write to. S3 has a way of its own (s3_place.py).

A file is gathered on this machine first and sent when it is complete, so that a request that fails can be sent again,
and nothing is visible before the end.
"""

import base64
import contextlib
import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

from wdstream.errors import AbsentFileError
from wdstream.storage.addresses import shown_url
from wdstream.storage.atomic import TEMP_SUFFIX, atomic_write
from wdstream.storage.file_systems import (
    AZURE,
    GOOGLE,
    lacks_bucket,
    open_file_system,
    travels_in_clear,
)
from wdstream.storage.http_answers import may_pass, status_of, store_error
from wdstream.storage.settings import SILENCE_S, ReadSettings
from wdstream.storage.tries import ATTEMPTS, FIRST_WAIT_S, Retrying, come_twice
from wdstream.storage.writes.lease import Lease
from wdstream.storage.writes.place import Hold, StoredFile, refuse_strange_name

Outcome = TypeVar("Outcome")
_IN_MEMORY = 8 << 20
"""Bytes of a file that is gathered, from which on it is kept on disk."""
_WRITES_WHOLE = ("memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "obs", "hf")
"""Protocols of stores that show a file when all of it is there; file systems show it as it grows."""
_VERSION_KEYS = ("generation", "ETag", "etag", "md5Hash", "mtime", "last_modified", "LastModified", "created")
_OTHER_NOW = (404, 412)
"""Answers to what is written only while an object is as it was: it is gone, or another."""


class FsspecPlace:
    """Files under a URL; use `open_place`.

    Args:
        url: the folder.
        attempts: tries of one request. When left out, 10; but a store that answered before is down for a moment, and is
            tried again for two minutes.
        first_wait_s: seconds before the second try, at most; see tries.py.
        silence_s: seconds without a byte from the store, after which a request is given up and sent again.
        options: passed on to the file system.

    Raises:
        ConfigError: fsspec or the plug-in of the protocol is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        attempts: int | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        silence_s: float = SILENCE_S,
        **options: Any,
    ) -> None:
        tries = {"attempts": attempts, "first_wait_s": first_wait_s, "silence_s": silence_s}
        self._state = {"url": url, **tries, **options}
        self._url, self._silence_s = url.rstrip("/"), silence_s
        self._options = options
        self._attempts, self._first_wait_s = attempts, first_wait_s
        self._has_answered = False
        self._pid = -1
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # connections do not travel

    @property
    def address(self) -> str:
        """The URL without a password."""
        return shown_url(self._url)

    @property
    def fs(self) -> Any:
        """The file system of this process: connections of a parent are not used after a fork."""
        if self._pid != os.getpid():
            self._connect()
        return self._fs

    def _connect(self) -> None:
        requests = ReadSettings(silence_s=self._silence_s)
        self._fs, self._root = open_file_system(self._url, dict(self._options), requests)
        self._pid = os.getpid()

    def local_path(self, _name: str) -> Path | None:
        """None: the files are elsewhere."""
        return None

    def read(self, name: str) -> bytes:
        """All of a file."""
        return self.surely(name, "read", lambda: cast(bytes, self.fs.cat_file(self.path_of(name))))

    def read_version(self, name: str) -> tuple[bytes, str]:
        """All of a file, and its version as it was before."""
        version = self.tried(name, "read", lambda: self._info(name))
        return self.read(name), version

    def _info(self, name: str) -> str:
        self.fs.invalidate_cache()
        return _version_in(self.fs.info(self.path_of(name)))

    def files(self, under: str = "") -> Iterator[StoredFile]:
        """All files whose names begin with `under`, sorted by name."""
        folder = under.rpartition("/")[0]
        top = self.path_of(folder) if folder else self._root
        try:
            found = self.surely(folder, "listed", lambda: self._find(top))
        except AbsentFileError:
            return
        start = len(self._root.rstrip("/")) + 1
        for path, num_bytes, version, md5 in found:
            name = path[start:]
            if name.startswith(under) and not name.endswith(TEMP_SUFFIX):
                refuse_strange_name(name, self.address)
                yield StoredFile(name=name, num_bytes=num_bytes, version=version, md5=md5)

    def _find(self, top: str) -> list[tuple[str, int, str, str]]:
        self.fs.invalidate_cache()
        found = self.fs.find(top, detail=True)
        if not found and lacks_bucket(self._url, self.fs):
            raise FileNotFoundError(errno.ENOENT, "the bucket does not exist", top)
        return sorted(
            (path, int(info.get("size") or 0), _version_in(info), _md5_in(info)) for path, info in found.items()
        )

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to fill; sent at the end of the block."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as gathered:
            yield cast(BinaryIO, gathered)
            gathered.seek(0)
            self.send(name, cast(BinaryIO, gathered))

    def write(self, name: str, data: bytes) -> None:
        """Write all of a file."""
        self._sent(name, lambda path: self.fs.pipe_file(path, data))

    def put(self, name: str, path: Path) -> None:
        """Write a file with the content of a local one."""
        self._sent(name, lambda target: self.fs.put_file(str(path), target))

    def _sent(self, name: str, send: Callable[[str], object]) -> None:
        """Write a file: where a write is seen while it is under way, under a temporary name first."""
        path = self.path_of(name)
        if self._is_whole:
            self.tried(name, "written", lambda: send(path))
            return

        def write() -> None:
            self._make_folder(path)
            send(path + TEMP_SUFFIX)
            if self.fs.exists(path):  # not all of these file systems replace a file
                self.fs.rm_file(path)
            self.fs.mv(path + TEMP_SUFFIX, path)

        self.tried(name, "written", write)

    @property
    def _is_whole(self) -> bool:
        return self._protocol in _WRITES_WHOLE

    @property
    def _protocol(self) -> str:
        return self._url.partition("://")[0]

    def _make_folder(self, path: str) -> None:
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    def send(self, name: str, file: BinaryIO) -> None:
        """Write a file with what an open one holds."""
        with tempfile.NamedTemporaryFile() as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            self.put(name, Path(copy.name))

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path, complete or absent there."""
        with atomic_write(path, is_durable=False) as file:
            file.write(self.read(name))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; one that is not there is passed over."""
        for name in names:
            try:
                self.tried(name, "removed", partial(self.fs.rm_file, self.path_of(name)))
            except AbsentFileError:
                continue

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only where there is none, as far as the store's plug-in can."""

        def ask() -> bool:
            try:
                if not self._is_whole:
                    self._make_folder(self.path_of(name))
                self.fs.pipe_file(self.path_of(name), data, mode="create")
            except FileExistsError:
                return False
            return True

        return self.tried(name, "written", ask) or self._has(name, data)

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Write a file only while it is of this version, as the store decides; where it cannot, looked at first."""
        if self._protocol in (*AZURE, *GOOGLE):
            return self.tried(name, "written", lambda: self._replaced(name, data, version)) or self._has(name, data)
        if self.tried(name, "read", lambda: self._info(name)) == version:
            self.write(name, data)
        return self._has(name, data)

    def _replaced(self, name: str, data: bytes, version: str) -> bool:
        """Whether Azure or Google wrote a file, which they do only while it is of this version."""
        path = self.path_of(name)
        try:
            if self._protocol in AZURE:
                from azure.core import MatchConditions

                self.fs.pipe_file(path, data, etag=version, match_condition=MatchConditions.IfNotModified)
            else:
                self._put_to_google(path, data, version)
        except (FileExistsError, FileNotFoundError):
            return False
        except Exception as error:  # whatever Azure's client raises
            if status_of(error) not in _OTHER_NOW:
                raise
            return False
        return True

    def _put_to_google(self, path: str, data: bytes, version: str) -> None:
        """By a request of its own: gcsfs knows only of "where there is none"."""
        bucket, key, _ = self.fs.split_path(path)
        end = secrets.token_hex(16)  # of a part; never in the data
        parts = (("application/json; charset=UTF-8", json.dumps({"name": key}).encode()), ("text/plain", data))
        body = b"".join(
            b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (end.encode(), kind.encode(), part) for kind, part in parts
        )
        self.fs.call(
            "POST",
            f"{self.fs._location}/upload/storage/v1/b/{quote(bucket)}/o",
            headers={"Content-Type": f'multipart/related; boundary="{end}"'},
            data=body + f"--{end}--".encode(),
            json_out=True,
            uploadType="multipart",
            ifGenerationMatch=version,
        )

    def _has(self, name: str, data: bytes) -> bool:
        """Whether a file has these bytes: an answer that was lost on its way may have been a yes."""
        try:
            return self.read(name) == data
        except AbsentFileError:
            return False

    def remove_unfinished(self, is_own: Callable[[str], bool] = lambda _: True) -> None:
        """Remove temporary files; object stores drop what was not finished."""
        if not self._is_whole:
            start = len(self._root.rstrip("/")) + 1
            with contextlib.suppress(AbsentFileError):
                found = self.tried("", "listed", lambda: self._find(self._root))
                for path, *_ in found:
                    if path.endswith(TEMP_SUFFIX) and is_own(path[start:].removesuffix(TEMP_SUFFIX)):
                        self.tried(path, "removed", partial(self.fs.rm_file, path))

    def hold(self, name: str, *, job: str, wait_s: float = 0.0) -> AbstractContextManager[Hold]:
        """Hold the place by a lease (lease.py)."""
        return Lease(self, name, job=job, wait_s=wait_s)

    def path_of(self, name: str) -> str:
        """As the file system calls a file."""
        return f"{self._root}/{name}"

    def surely(
        self,
        name: str,
        doing: str,
        request: Callable[[], Outcome],
        *,
        part: Callable[[Outcome], object] = lambda answer: answer,
        is_sure: Callable[[Outcome], bool] = lambda _: False,
    ) -> Outcome:
        """The answer to a request for bytes or names; without TLS, asked for until it comes twice the same.

        Args:
            name, doing, request: see `tried`.
            part, is_sure: see `come_twice`.

        Raises:
            AbsentFileError, ForbiddenFileError, StorageFailureError: as `tried`; or no answer comes twice.
        """

        def is_enough(answer: Outcome) -> bool:  # after a request, which says what is wrong with the access
            return not travels_in_clear(self._url, self.fs, self._options) or is_sure(answer)

        what = f"{self.address}/{name}"
        return come_twice(lambda: self.tried(name, doing, request), what, part=part, is_sure=is_enough)

    def tried(self, name: str, doing: str, request: Callable[[], Outcome]) -> Outcome:
        """The answer to one request, which is sent again while that may help.

        Raises:
            AbsentFileError, ForbiddenFileError, StorageFailureError: it failed, by its kind.
        """
        trying = Retrying(
            may_pass,
            attempts=self._attempts or ATTEMPTS,
            first_wait_s=self._first_wait_s,
            waits_out=self._is_outage,
        )
        try:
            answer = trying(lambda _: request())
        except Exception as error:  # whatever the protocol's plug-in raises
            self._has_answered &= not may_pass(error)  # what is tidied up after an outage does not wait as long again
            tries, has_none = trying.num_tries, partial(lacks_bucket, self._url, self.fs)
            raise store_error(f"{self._url}/{name}", error, tries, doing=doing, lacks_bucket=has_none) from error
        self._has_answered = True
        return answer

    def _is_outage(self, error: BaseException) -> bool:
        """Whether a store that is there fails; of what it calls invalid, it may do so always."""
        is_invalid = getattr(error, "errno", None) == errno.EINVAL
        return self._attempts is None and self._has_answered and not is_invalid


def _version_in(info: dict[str, Any]) -> str:
    value = next((info[key] for key in _VERSION_KEYS if info.get(key) is not None), info.get("size"))
    return str(value.timestamp() if isinstance(value, datetime) else value)  # listings and single files may differ


def _md5_in(info: dict[str, Any]) -> str:
    """The MD5 of a file as Google (in base64) or Azure lists it, in hexadecimal; empty where neither does."""
    of_azure = (info.get("content_settings") or {}).get("content_md5")
    return bytes(of_azure or base64.b64decode(info.get("md5Hash") or "")).hex()
