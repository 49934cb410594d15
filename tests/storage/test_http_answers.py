"""The head of an answer says whether its body is the range that was asked for."""

import re

import pytest

from wdstream.storage.http_answers import NoRangesError, RangeError, check_head, may_pass


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("bytes=0-99", "bytes 0-99/1000"),
        ("bytes=0-99", "bytes 0-99/*"),
        ("bytes=0-99", "bytes 0-49/50"),  # at the end of the file
        ("bytes=0-99", "bytes 0-49/*"),  # perhaps at its end
        ("bytes=40-", "bytes 40-999/1000"),
        ("bytes=40-", "bytes 40-70/*"),
        ("bytes=40-50", ""),
        ("", "bytes 0-1/2"),
    ],
)
def test_right_ranges(wanted: str, sent: str) -> None:
    check_head(wanted, 206, {"Content-Range": sent})


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("bytes=10-99", "bytes 3-92/1000"),
        ("bytes=0-99", "bytes 0-92/1000"),  # less than the file has
        ("bytes=0-99", "bytes 0-100/1000"),
        ("bytes=0-99", "bytes 0-100/*"),
        ("bytes=40-", "bytes 40-70/1000"),
    ],
)
def test_wrong_ranges(wanted: str, sent: str) -> None:
    with pytest.raises(RangeError, match=re.escape(f"{wanted} was asked for, {sent} is sent")):
        check_head(wanted, 206, {"Content-Range": sent})


def test_what_is_no_answer_may_pass_and_what_leads_nowhere_does_not() -> None:
    """aiohttp has a status of its own, 400, for bytes that do not begin an answer."""
    aiohttp = pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")
    told = aiohttp.ClientResponseError(None, (), status=400)
    assert not may_pass(told)
    told.__cause__ = aiohttp.http.HttpProcessingError(code=400, message="Bad status line")
    assert may_pass(told)
    assert not may_pass(aiohttp.TooManyRedirects(None, ()))


def test_the_whole_file_for_a_range() -> None:
    check_head("bytes=0-99", 200, {"Content-Length": "100"})
    with pytest.raises(NoRangesError, match="the whole file is sent"):
        check_head("bytes=0-99", 200, {"Content-Length": "101"})
    with pytest.raises(NoRangesError, match="the whole file is sent"):
        check_head("bytes=1-99", 200, {"Content-Length": "50"})
