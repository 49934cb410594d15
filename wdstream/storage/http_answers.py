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
from wdstream.storage.addresses import shown_url, without_passwords

_WRONG_SETTINGS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "NoRegionError",
    "ConfigParseError",
    "InvalidURL",
    "NonHttpUrlClientError",
    "NonHttpUrlRedirectClientError",
    "TooManyRedirects",
)
"""Errors of botocore and aiohttp that stay until somebody changes a setting, or where an address leads."""
_NO_BUCKET = re.compile("(bucket|container) does not exist|/upload/storage/v1/b/[^/]+/o")
"""As S3 and Azure say it, and Google when something is written to it."""
_FORBIDDEN = "Forbidden: "
"""How gcsfs, which has no number for it, begins the error of a status 403."""
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")
_FULL = ("QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull")
_REMEDIES = {
    **dict.fromkeys(_EXPIRED, "the credentials have expired, or are no longer valid: get new ones"),
    **dict.fromkeys(_ELSEWHERE, "the bucket is in another region: set AWS_DEFAULT_REGION, and an endpoint of that one"),
    **dict.fromkeys(_FULL, "the store is full: make room there, or raise its quota"),
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "400": "it is answered so where credentials have expired, or the bucket is in another region (AWS_DEFAULT_REGION)",
    "InvalidURL": "are the address and the proxy (HTTP_PROXY=http://HOST:PORT) right?",
    "InvalidObjectState": "the object is archived: restore it, or copy it to where it can be read",
}
"""What helps against what S3 stores call an error; 301 and 400 where there is a status alone."""
_PASSING_CODES = (
    *("RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
    *("OperationAborted", "ConditionalRequestConflict", "RequestLimitExceeded"),
)
"""Errors of S3 stores with a status below 500 that may pass: what was sent came late or damaged, or is busy."""
_PASSING = (408, 425, 429)
"""Statuses below 500 that may pass."""
_NO_ROOM = 507
_STAYING = (501, 505, _NO_ROOM)
"""Statuses from 500 on that stay: the server cannot do it at all, or is full."""
_OF_STORES = ("aiohttp", "azure", "botocore", "gcsfs", "google", "requests")
"""Packages whose errors are of a network or a store, unless they say that they are final."""
_WANTED = re.compile(r"bytes=(\d+)-(\d*)")
_SENT = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_ETAG_FIELDS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "Content-MD5")
"""Names that file systems have for what changes with a file's content; the first that is there counts."""
_DATE_FIELDS = ("Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created")


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


def aiohttp_limits(silence_s: float) -> Any:
    """Limits of a request of aiohttp: any time, while the server is not silent for longer."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)


@lru_cache
def client_options(connections: int, silence_s: float) -> dict[str, Any]:
    """Options of fsspec's HTTP file system, so that its answers are checked and a silent server is given up.

    Args:
        connections: open at once, at most; each is used for many requests.
        silence_s: seconds without a byte from a server, after which a request is given up.

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

    as_it_is = {"Accept-Encoding": "identity"}  # of a compressed answer a range would be another one

    async def get_client(**options: Any) -> aiohttp.ClientSession:
        import urllib.request

        has_proxy = bool(urllib.request.getproxies())  # which costs as much again as a request, so only where needed
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), trust_env=has_proxy, **options)

    checked = {"response_class": CheckedAnswer, "timeout": aiohttp_limits(silence_s), "headers": as_it_is}
    return {"client_kwargs": checked, "get_client": get_client}


def store_error(
    url: str,
    error: BaseException,
    attempts: int,
    *,
    doing: str = "read",
    silence: str = "",
    lacks_bucket: Callable[[], bool] = lambda: False,
) -> ShardError:
    """What kept a remote file from being read (or written, ...), as the error of its kind; only a plain "not found" is
    absence, of the file, or of the whole bucket where the error says so or the store does when it is asked."""
    cause, url = cause_of(error), shown_url(url)
    if isinstance(cause, NoRangesError):
        return StorageFailureError(
            f"{url}: the server does not serve ranges ({cause}); copy the shards to one that does"
        )
    told = without_passwords(f"{type(cause).__name__}: {_first_line(cause)}")
    if silence and _is_silence(cause):
        told = f"{told} (no byte for {silence})"
    status = status_of(cause)
    is_absent = isinstance(cause, FileNotFoundError) or status in (404, 410)
    if is_absent and (_NO_BUCKET.search(f"{cause} {cause.__cause__}") or lacks_bucket()):
        return AbsentBucketError(
            f"{url} cannot be {doing}: the store has no such bucket ({_first_line(cause)}); check its name and the "
            "endpoint, or create it"
        )
    code = s3_code(cause)
    if code in _FULL or status == _NO_ROOM:
        return StorageFailureError(f"{url} cannot be {doing} ({told}): {_REMEDIES[_FULL[0]]}")
    if is_absent:
        return AbsentFileError(f"{url} is not there: the storage answers that it has no such file ({told})")
    is_forbidden = isinstance(cause, PermissionError) or status in (401, 403, 407) or code in _EXPIRED
    if is_forbidden or _lacks_credentials(cause):
        advice = (
            "check credentials and permissions; an object store that does not let you list its files says so of files "
            "that are missing, too"
        )
        return ForbiddenFileError(f"{url} may not be {doing} ({told}): {_REMEDIES.get(code, advice)}")
    tries = f", after {attempts} attempts" if may_pass(cause) else ""
    advice = "the storage or the network fails: try again later"
    if not tries:
        advice = (
            _REMEDIES.get(code or type(cause).__name__, "")
            or "are the address and the settings of the storage (for S3: AWS_ENDPOINT_URL, AWS_PROFILE, ...) right?"
        )
    return StorageFailureError(f"{url} cannot be {doing}{tries}: {told}; {advice}")


def s3_code(error: BaseException) -> str:
    """What an S3 store calls an error; empty where it is not of one."""
    return str(_s3_answer(error).get("Error", {}).get("Code", ""))


def _s3_answer(error: BaseException | None) -> Mapping[str, Any]:
    """What botocore read of the answer of an S3 store, which s3fs keeps as the cause of its own error."""
    for each in (error, getattr(error, "__cause__", None)):
        answer = getattr(each, "response", None)
        if _module(each) == "botocore" and isinstance(answer, dict):
            return answer
    return {}


def is_passing(status: int) -> bool:
    """Whether a request with this answer may succeed when it is sent again: not where the answer is another address."""
    return status in _PASSING or (status >= 500 and status not in _STAYING)


def _is_silence(error: BaseException) -> bool:
    """Whether a client gave a request up, since no byte came: aiohttp's, botocore's, Azure's."""
    return _module(error) in _OF_STORES and "Timeout" in type(error).__name__


def _lacks_credentials(error: BaseException) -> bool:
    """Whether no credentials were found, or they are not whole, before anything was asked of the store."""
    return _module(error) in ("azure", "botocore", "google") and "Credential" in type(error).__name__


def status_of(error: BaseException) -> int | None:
    """The status of a store's or web server's answer, as its plug-in has it; None where there was none."""
    if type(error) is OSError and str(error).startswith(_FORBIDDEN):
        return 403
    if _module(error) == "aiohttp" and _module(error.__cause__) == "aiohttp":
        return None  # no answer that it could read, for which it has a number of its own
    of_s3 = _s3_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    if of_s3 is not None:
        return int(of_s3)
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
    if s3_code(error) in _PASSING_CODES:
        return True
    status = status_of(error)
    if status is not None and status >= 300 and not is_passing(status):
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
