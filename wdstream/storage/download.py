"""A file of a web server as a stream, front to back: what breaks off is continued where it stopped.

It continues by a range where the server has them, else by asking for the file again and passing over what was read. A
file that changed in between is an error.
"""

import http.client
import io
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import cast

from wdstream.errors import StorageFailureError
from wdstream.storage.addresses import request_for, shown_url
from wdstream.storage.forks import leave_to_parent
from wdstream.storage.http_answers import FileVersion, NoRangesError, RangeError, check_head, is_passing
from wdstream.storage.settings import SILENCE_S
from wdstream.storage.tries import FIRST_WAIT_S, Retrying

_CHUNK = 1 << 20
_NO_SUCH_RANGE = 416


class Download(io.RawIOBase):
    """The body of a web server's answer; one that breaks off is continued, and never taken for the end.

    A forked child continues where its parent was, by a connection of its own.

    Args:
        url: http:// or https://.
        first_wait_s: seconds before a second try, at most.
        silence_s: seconds without a byte from the server, after which it is asked again.

    Raises:
        OSError: the server cannot be reached, or has no such file.
    """

    def __init__(self, url: str, *, first_wait_s: float = FIRST_WAIT_S, silence_s: float = SILENCE_S) -> None:
        self._url, self._silence_s = url, silence_s
        self._retrying = Retrying(_may_pass, first_wait_s=first_wait_s)
        self._position = 0
        self._answer: http.client.HTTPResponse | None = None
        self._pid = os.getpid()
        self._version: FileVersion | None = None
        self._size: int | None = None
        self._has_ranges = False
        self._retrying(lambda _: self._connect())
        self._retrying = Retrying(_may_pass, first_wait_s=first_wait_s, waits_out=_is_outage)

    def readable(self) -> bool:
        """Always true: it is only read."""
        return True

    def seekable(self) -> bool:
        """Whether the server has ranges and tells the size, so that what is between need not be sent."""
        return self._has_ranges and self._size is not None

    def tell(self) -> int:
        """The byte that is read next."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte; the next read asks for it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}[whence]
        if start + offset != self._position:
            self._disconnect()
            self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        """Fill at least one byte of the buffer, but at the end of the file.

        Raises:
            StorageFailureError: the server cannot be reached any more, or has another file now.
        """
        data = self._some(min(len(buffer), _CHUNK))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the connection to the server."""
        if not self.closed:
            self._disconnect()
        super().close()

    def _some(self, most: int) -> bytes:
        """At least one byte, but at the end."""
        if self._size is not None and self._position >= self._size:
            return b""
        try:
            data = self._retrying(lambda _: self._try(most))
        except (OSError, http.client.HTTPException, RangeError) as error:
            raise StorageFailureError(
                f"{shown_url(self._url)}: broke off at byte {self._position:,}, and cannot be continued "
                f"({type(error).__name__}: {error}); start again later, the run continues from its last checkpoint"
            ) from error
        self._position += len(data)
        return data

    def _try(self, most: int) -> bytes:
        if self._pid != os.getpid():
            leave_to_parent(self._answer)
            self._answer, self._pid = None, os.getpid()
        try:
            if self._answer is None:
                self._connect()
            assert self._answer is not None
            data = self._received(self._answer, most)
            if not data and (self._answer.length or self._size is not None):  # asked for only before the end
                raise http.client.IncompleteRead(b"")
        except (OSError, http.client.HTTPException, RangeError) as error:
            self._disconnect()
            if self._size is not None or not _is_end(error, self._position):
                raise
            self._size, data = self._position, b""
        return data

    def _received(self, answer: http.client.HTTPResponse, most: int) -> bytes:
        """What an answer still has, up to where its chunks break off."""
        try:
            return answer.read(most)
        except http.client.IncompleteRead as error:
            if not error.partial:
                raise
            self._disconnect()
            return error.partial

    def _connect(self) -> None:
        """Ask for the file from the byte that is read next."""
        wanted = f"bytes={self._position}-" if self._position else ""
        request = request_for(self._url, {"Range": wanted} if wanted else {})
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self._silence_s)
        try:
            self._check(answer, wanted)
        except BaseException:
            answer.close()
            raise
        self._answer = answer

    def _check(self, answer: http.client.HTTPResponse, wanted: str) -> None:
        """Compare the file with the one that was begun, and go to the byte that is read next."""
        headers = answer.headers
        version = FileVersion(headers.get("ETag", ""), headers.get("Last-Modified", ""), _size_of(answer))
        if self._version is None:
            self._version, self._size = version, version.size
            if self._size is None and not answer.chunked:  # its end is where the connection ends, for whatever reason
                self._size = self._asked_size()
            self._has_ranges = headers.get("Accept-Ranges", "").lower() == "bytes"
        elif not self._version.may_be(version):
            raise StorageFailureError(
                f"{shown_url(self._url)}: changed while it was read (at byte {self._position:,}); copy it first"
            )
        self._size = version.size if self._size is None else self._size
        try:
            check_head(wanted, answer.status, cast(Mapping[str, str], headers), may_be_less=True)
        except NoRangesError:
            _pass_over(answer, self._position)

    def _asked_size(self) -> int | None:
        """Bytes of the file as the server says without sending it."""
        try:
            with urllib.request.urlopen(request_for(self._url, {}, method="HEAD"), timeout=self._silence_s) as answer:
                return _size_of(answer)
        except urllib.error.HTTPError as error:
            if _may_pass(error):
                raise
            return None

    def _disconnect(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


def _size_of(answer: http.client.HTTPResponse) -> int | None:
    """Bytes of the whole file; None where the server does not say."""
    if answer.status == 206:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdecimal() else None


def _is_end(error: Exception, position: int) -> bool:
    """Whether a server says that a file of unknown size has no byte at `position`, but all before it."""
    if not (isinstance(error, urllib.error.HTTPError) and error.code == _NO_SUCH_RANGE):
        return False
    return bool(error.headers.get("Content-Range", "").strip() == f"bytes */{position}")


def is_unknown(error: BaseException) -> bool:
    """Whether Python's client has no way to ask so: it says that in words, and what failed as an error."""
    return isinstance(error, urllib.error.URLError) and isinstance(error.reason, str)


def _pass_over(answer: http.client.HTTPResponse, count: int) -> None:
    while count:
        data = answer.read(min(count, _CHUNK))
        if not data:
            raise http.client.IncompleteRead(b"", count)
        count -= len(data)


def _is_outage(error: BaseException) -> bool:
    """Whether a server that was there does not answer; one whose answers break off may do so always."""
    return isinstance(error, OSError)


def _may_pass(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return is_passing(error.code)
    if isinstance(error, FileNotFoundError | PermissionError | http.client.InvalidURL) or is_unknown(error):
        return False
    return isinstance(error, OSError | http.client.HTTPException | RangeError)
