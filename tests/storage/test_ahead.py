"""Reading a file front to back in large ranges: the bytes, how many requests, and a file that is cut off."""

from collections.abc import Callable

import pytest

from wdstream.errors import StorageFailureError
from wdstream.storage.ahead import ReadAhead
from wdstream.storage.local import ByteRange

DATA = bytes(range(256)) * 40


def recorded(data: bytes, asked: list[ByteRange]) -> Callable[[ByteRange], bytes]:
    def read(wanted: ByteRange) -> bytes:
        asked.append(wanted)
        return data[wanted.offset : wanted.offset + wanted.length]

    return read


def test_each_byte_is_asked_for_once() -> None:
    asked: list[ByteRange] = []
    with ReadAhead(recorded(DATA, asked), "x.tar", len(DATA), block_bytes=1000) as ahead:
        assert b"".join(ahead.read(start, 300) for start in range(0, len(DATA), 300)) == DATA
        assert ahead.read(len(DATA), 10) == b"" and ahead.read(len(DATA) - 3, 10) == DATA[-3:]
    assert sorted(wanted.offset for wanted in asked) == list(range(0, len(DATA), 1000))


def test_what_was_passed_is_there_again_and_larger_than_what_is_kept() -> None:
    asked: list[ByteRange] = []
    with ReadAhead(recorded(DATA, asked), "x.tar", len(DATA), block_bytes=500) as ahead:
        ahead.read(2000, 12)
        assert ahead.read(1600, 900) == DATA[1600:2500]  # the sample before the header that was read
        assert ahead.read(0, len(DATA)) == DATA  # longer than all blocks that are kept


def test_a_file_that_ends_early_is_an_error_after_it_was_asked_for_again() -> None:
    asked: list[ByteRange] = []
    with ReadAhead(recorded(DATA[:1500], asked), "x.tar", len(DATA), block_bytes=1000) as ahead:
        assert ahead.read(0, 1000) == DATA[:1000]
        with pytest.raises(StorageFailureError, match="1000 bytes at byte 1000 asked for, 500 sent"):
            ahead.read(1000, 10)
    assert [wanted.offset for wanted in asked].count(1000) == 2
