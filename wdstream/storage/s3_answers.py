"""What an S3 store answers to a request for a range, checked on its head, as http_answers.py does for web servers."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from wdstream.storage.http_answers import RangeError, check_head, sent_range

_RANGE = "wdstream_range"
_MD5 = re.compile(r"[0-9a-f]{32}")


@lru_cache
def checked_session(profile: str | None, pid: int, environment: tuple[tuple[str, str], ...]) -> Any:
    """A session of aiobotocore whose clients compare the answer to each request for a range with what was asked for.

    Args:
        profile: of the credentials; None for the usual ones.
        pid: of this process; each has a session of its own.
        environment: the variables that say who asks, and where; a session keeps what they say.

    Raises:
        ImportError: s3fs, which brings it, is not installed.
    """
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    session.register("before-parameter-build.s3.GetObject", _note_range)
    session.register("after-call.s3.GetObject", _check_answer)
    session.register("after-call.s3.HeadObject", _check_size)
    return session


def is_md5(etag: str) -> bool:
    """Whether an ETag may be an MD5; not every store's is one, and not of every object."""
    return bool(_MD5.fullmatch(etag.strip('"')))


def has_md5(data: bytes, etag: str) -> bool:
    """Whether data are of the MD5 that an ETag is."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == etag.strip('"')


def of_listing(page: Mapping[str, Any]) -> object:
    """What a page of a listing says, without what differs from one answer to the next."""
    return {name: page.get(name) for name in ("Contents", "CommonPrefixes", "IsTruncated")}


def _note_range(params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
    context[_RANGE] = params.get("Range", "")


def _check_answer(http_response: Any, parsed: dict[str, Any], context: Mapping[str, Any], **_: object) -> None:
    """Refuse a wrong answer before its body is received; let the body be as long as its head says.

    Raises:
        RangeError: the answer is not what was asked for.
    """
    headers: Mapping[str, str] = http_response.headers
    try:
        check_head(context.get(_RANGE, ""), http_response.status_code, headers)
    except RangeError:
        http_response.raw.close()
        raise
    sent = sent_range(headers) if http_response.status_code == 206 else None
    if sent is not None and "Content-Length" not in headers:
        from aiobotocore.response import StreamingBody

        parsed["Body"] = StreamingBody(http_response.raw, str(sent[1]))


def _check_size(parsed: Mapping[str, Any], http_response: Any, **_: object) -> None:
    """Refuse an answer to "how large" that does not say it.

    Raises:
        RangeError: it does not.
    """
    if http_response.status_code == 200 and "ContentLength" not in parsed:
        raise RangeError("the size was asked for, and is not in the answer")
