"""A file of a store read at any place: the bytes of the file, in few requests."""

import io
import random

import pytest

from tests.helpers.faulty_proxy import FaultyProxy, spoiling
from tests.helpers.s3_server import S3Server
from wdstream.raw.remote.ranged_file import RangedFile
from wdstream.raw.remote.store import RawStore

CONTENT = random.Random(1).randbytes(9_000_000)


def opened(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, proxy: FaultyProxy) -> RangedFile:
    s3_server.call("put_object", Bucket=bucket, Key="raw/a.bin", Body=CONTENT)
    s3_server.use(monkeypatch, url=proxy.url)
    store = RawStore(f"s3://{bucket}/raw")
    return RangedFile(store, "a.bin", store.state("a.bin"))


def test_any_place_in_any_order(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)
    with spoiling(s3_server.port, rate=0.1, seed=4) as proxy:
        file = io.BufferedReader(opened(s3_server, bucket, monkeypatch, proxy), 1 << 16)
        for _ in range(40):
            start, length = draw.randrange(len(CONTENT) + 1000), draw.choice([1, 512, 70_000, 900_000])
            file.seek(start)
            assert file.read(length) == CONTENT[start : start + length]
        assert file.seek(-5, io.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]


IN_THE_CLEAR = 2
"""Without TLS each range is asked for until the same bytes came twice."""


def test_read_forward_asks_for_more_each_time(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling(s3_server.port, rate=0) as proxy:
        file = io.BufferedReader(opened(s3_server, bucket, monkeypatch, proxy))
        before = proxy.asked
        assert b"".join(iter(lambda: file.read(10_000), b"")) == CONTENT
        assert proxy.asked - before <= 8 * IN_THE_CLEAR
        file.seek(0)
        before = proxy.asked
        for start in range(0, len(CONTENT), 100_000):  # headers of a tar with members of this size
            file.seek(start)
            assert file.read(512) == CONTENT[start : start + 512]
        assert proxy.asked - before <= 12 * IN_THE_CLEAR


def test_columns_side_by_side_are_asked_for_once(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling(s3_server.port, rate=0) as proxy:
        file = io.BufferedReader(opened(s3_server, bucket, monkeypatch, proxy), 4096)
        before = proxy.asked
        for step in range(0, 100_000, 5_000):
            for column in (0, 3_000_000, 6_000_000):
                file.seek(column + step)
                assert file.read(5_000) == CONTENT[column + step : column + step + 5_000]
        assert proxy.asked - before <= 4 * IN_THE_CLEAR
