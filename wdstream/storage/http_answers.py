"""What a web server answers to a request for a range, checked before it counts: it may be another range, or no range.

A server or something between us and it may answer 200 with the whole file, a range other than the one that was asked
for, or a part of it. The head of the answer or its length shows each of them; trying again often helps. Last, what kept
a file of any store from being read: which kind of error it is, and whether it may pass.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from wdstream.errors import (
    AbsentBucketError,
    AbsentFileError,
    ForbiddenFileError,
    ShardError,
    StorageFailureError,
    needs_extra,
)
from wdstream.storage.addresses import shown_url

_WRONG_SETTINGS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "NoRegionError",
    "ConfigParseError",
)
"""Errors of botocore that stay until somebody changes a setting: no request is sent."""
_NO_BUCKET = re.compile("(bucket|container) does not exist|/upload/storage/v1/b/[^/]+/o")
"""As S3 and Azure say it, and Google when something is written to it."""
_FORBIDDEN = "Forbidden: "
"""How gcsfs, which has no number for it, begins the error of a status 403."""
_OF_STORES = ("aiohttp", "azure", "botocore", "gcsfs", "google", "requests")
"""Packages whose errors are of a network or a store, unless they say that they are final."""
_WANTED = re.compile(r"bytes=(\d+)-(\d*)")
_SENT = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_ETAG_FIELDS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "Content-MD5")
"""Names that file systems have for what changes with a file's content; the first that is there counts."""
_DATE_FIELDS = ("Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created")
SILENCE_S = 60.0
"""Seconds without a byte from a server, after which it counts as gone."""
_CONNECT_S = 30.0


class RangeError(Exception):
    """An answer that is not what was asked for; asked again, the server may answer right."""


class NoRangesError(RangeError):
    """The answer is the whole file, or more of it than was asked for.

    Args:
        message: what was asked for and sent.
        is_final: whether the server says that it never serves ranges.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class FileVersion(NamedTuple):
    """Which file an answer is of, as far as the server says: its ETag, its date, its bytes; empty what it does not say.

    Servers that share an address often make ETags of their own for one file, whose date is the same on all of them.
    """

    etag: str
    date: str
    size: int | None

    def may_be(self, other: "FileVersion") -> bool:
        """Whether both may be of one file: what both answers say is compared; an equal date counts more than ETags."""
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.date and self.date == other.date:
            return True
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        return not (self.date and other.date)


def version_of(info: Mapping[str, Any]) -> FileVersion:
    """Which file it is that a file system gives this information of."""
    etag, date = (
        next((str(info[name]) for name in names if info.get(name)), "") for names in (_ETAG_FIELDS, _DATE_FIELDS)
    )
    size = info.get("size")
    return FileVersion(etag=etag, date=date, size=None if size is None else int(size))


def sent_range(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """First byte, and number of bytes, that an answer says it has; None where it does not say so."""
    found = _SENT.fullmatch(headers.get("Content-Range", "").strip())
    return None if found is None else (int(found[1]), int(found[2]) + 1 - int(found[1]))


def check_head(wanted: str, status: int, headers: Mapping[str, str], *, may_be_less: bool = False) -> None:
    """Check the head of an answer to a request with the header `Range: wanted`.

    Args:
        wanted: the range, or empty.
        status: of the answer.
        headers: of the answer.
        may_be_less: whoever asked will ask for the rest.

    Raises:
        RangeError: its body would not begin at the byte that was asked for, or has more than was asked for, or less
            though the file has it.
    """
    asked = _WANTED.fullmatch(wanted.strip())
    if asked is None or status not in (200, 206):
        return
    first, last = int(asked[1]), int(asked[2]) if asked[2] else None
    if status == 200:
        told = headers.get("Content-Length", "")
        length = int(told) if told.isdecimal() else -1
        if first or not 0 <= length <= (length if last is None else last + 1):
            raise NoRangesError(
                f"a range was asked for ({wanted}), the whole file is sent (status 200)",
                is_final=headers.get("Accept-Ranges", "").lower() == "none",
            )
        return
    sent = _SENT.fullmatch(headers.get("Content-Range", "").strip())
    if sent is None:
        return
    end = int(sent[2]) + 1
    size = end if sent[3] == "*" else int(sent[3])
    most = min(size, size if last is None else last + 1)
    if int(sent[1]) != first or end > most or (end < most and not may_be_less):
        raise RangeError(f"{wanted} was asked for, {headers['Content-Range']} is sent")


@lru_cache
def client_options(connections: int) -> dict[str, Any]:
    """Options of fsspec's HTTP file system, so that its answers are checked and a silent server is given up.

    Args:
        connections: open at once, at most; each is used for many requests.

    Raises:
        ConfigError: aiohttp is not installed.
    """
    with needs_extra("reading web servers", "remote"):
        import aiohttp

    class CheckedAnswer(aiohttp.ClientResponse):
        """An answer whose head and length are checked."""

        async def start(self, connection: Any) -> "CheckedAnswer":
            """Receive the head, and compare it with what was asked for."""
            await super().start(connection)
            check_head(self.request_info.headers.get("Range", ""), self.status, self.headers)
            return self

        async def read(self) -> bytes:
            """Receive the body, and count its bytes."""
            body = await super().read()
            sent = sent_range(self.headers) if self.status == 206 else None
            if sent is not None and len(body) != sent[1]:
                raise RangeError(f"{sent[1]} bytes were announced, {len(body)} sent")
            return body

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=SILENCE_S)
    as_it_is = {"Accept-Encoding": "identity"}  # of a compressed answer a range would be another one

    async def get_client(**options: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), **options)

    checked = {"response_class": CheckedAnswer, "timeout": timeout, "headers": as_it_is}
    return {"client_kwargs": checked, "get_client": get_client}


def store_error(
    url: str,
    error: BaseException,
    attempts: int,
    *,
    doing: str = "read",
    lacks_bucket: Callable[[], bool] = lambda: False,
) -> ShardError:
    """What kept a remote file from being read (or written, ...), as the error of its kind; only a plain "not found" is
    absence, of the file, or of the whole bucket where the error says so or the store does when it is asked."""
    cause, url = cause_of(error), shown_url(url)
    if isinstance(cause, NoRangesError):
        return StorageFailureError(
            f"{url}: the server does not serve ranges ({cause}); copy the shards to one that does"
        )
    told = f"{type(cause).__name__}: {_first_line(cause)}"
    status = status_of(cause)
    is_absent = isinstance(cause, FileNotFoundError) or status in (404, 410)
    if is_absent and (_NO_BUCKET.search(f"{cause} {cause.__cause__}") or lacks_bucket()):
        return AbsentBucketError(
            f"{url} cannot be {doing}: the store has no such bucket ({_first_line(cause)}); check its name and the "
            "endpoint, or create it"
        )
    if is_absent:
        return AbsentFileError(f"{url} is not there: the storage answers that it has no such file ({told})")
    if isinstance(cause, PermissionError) or status in (401, 403, 407) or _lacks_credentials(cause):
        return ForbiddenFileError(
            f"{url} may not be {doing} ({told}): check credentials and permissions; an object store that does not let "
            "you list its files says so of files that are missing, too"
        )
    tries = f", after {attempts} attempts" if may_pass(cause) else ""
    advice = "the storage or the network fails: try again later"
    if not tries:
        advice = "are the address and the settings of the storage (for S3: AWS_ENDPOINT_URL, AWS_PROFILE, ...) right?"
    return StorageFailureError(f"{url} cannot be {doing}{tries}: {told}; {advice}")


def _lacks_credentials(error: BaseException) -> bool:
    """Whether no credentials were found, or they are not whole, before anything was asked of the store."""
    return _module(error) in ("azure", "botocore", "google") and "Credential" in type(error).__name__


def status_of(error: BaseException) -> int | None:
    """The status of a store's or web server's answer, as its plug-in has it; None where there was none."""
    if type(error) is OSError and str(error).startswith(_FORBIDDEN):
        return 403
    found = (str(getattr(error, name, "")) for name in ("status", "status_code", "code"))
    return next((int(value) for value in found if value.isdecimal()), None)


def _first_line(error: BaseException) -> str:
    """What an error says, without the ten lines of its answer that Azure's client adds."""
    return str(error).partition("\n")[0] if _module(error) == "azure" else str(error)


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: not for files that are missing or forbidden, nor for errors of the program."""
    error = cause_of(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return False
    status = status_of(error)  # an HTTP answer: 4xx is final, but for time-outs and throttling
    if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
        return False
    if isinstance(error, RangeError):
        return not (isinstance(error, NoRangesError) and error.is_final)
    if type(error).__name__ in _WRONG_SETTINGS or _lacks_credentials(error):
        return False
    return isinstance(error, OSError) or _module(error) in _OF_STORES


def cause_of(error: BaseException) -> BaseException:
    """The failure itself: fsspec's HTTP says "not found" of any failure to tell a size, with the failure as cause.

    The plug-ins of object stores say so of files that are missing only, with the store's answer as cause.
    """
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and (isinstance(cause, OSError) or _module(cause) == "aiohttp"):
        assert cause is not None
        return cause_of(cause)
    return error


def _module(error: BaseException | None) -> str:
    """The package that an error is of."""
    return type(error).__module__.partition(".")[0]
