"""A store that goes away in the middle of a file: no damage of the file, whatever reads it.

Spans: raw.
"""

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import FaultyProxy, spoiling
from tests.helpers.s3_server import S3Server
from wdstream.errors import PageError, SourceError, StoreDownError
from wdstream.raw.registry import source_of_name
from wdstream.raw.remote.access import STORE_ROOT, raw_folder
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile
from wdstream.raw.tars.survey import survey_tar

ROWS = 12
LARGE = b"\x89PNG\r\n\x1a\n" + bytes(400_000)


def tar_of_large_samples() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(ROWS):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(LARGE)
            tar.addfile(member, io.BytesIO(LARGE))
    return buffer.getvalue()


def table_of_large_rows() -> bytes:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    buffer = io.BytesIO()
    table = pa.table({"image": [LARGE] * ROWS, "text": ["a row"] * ROWS})
    parquet.write_table(table, buffer, row_group_size=1, compression="none", use_dictionary=False)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {"a.tar": tar_of_large_samples, "a.parquet": table_of_large_rows}


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, s3_server: S3Server, bucket: str) -> Path:
    """A file of many samples in the store, by its path below RAW."""
    s3_server.call("put_object", Bucket=bucket, Key=f"raw/{request.param}", Body=FILES[request.param]())
    return STORE_ROOT / str(request.param)


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Between wdstream and the store; at a rate of 1 the key to it has ended."""
    with spoiling(s3_server.port, rate=0, faults=("403",)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        yield proxy


def test_it_goes_away_while_pages_are_counted(path: Path, proxy: FaultyProxy, bucket: str) -> None:
    source = source_of_name(path.parent, path.name)
    assert source is not None
    for requests in range(4):
        left = [requests]

        def count(left: list[int] = left) -> None:
            left[0] -= 1
            proxy.rate = float(left[0] < 0)

        proxy.rate = 0
        with raw_folder(f"s3://{bucket}/raw", on_wait=count):
            if path.suffix == ".tar" or not requests:
                with pytest.raises((PageError, StoreDownError)) as caught:
                    source.survey(path)
                assert StoreDownError in map(type, causes(caught.value)), requests


def test_a_tar_that_cannot_be_read_further_is_not_counted_up_to_there(
    s3_server: S3Server, bucket: str, proxy: FaultyProxy
) -> None:
    """The store answers for others: what is wrong is this file's, and no damage in it."""
    s3_server.call("put_object", Bucket=bucket, Key="raw/a.tar", Body=tar_of_large_samples())
    requests = itertools.count()

    def count() -> None:
        proxy.forbidden = "a.tar" if next(requests) == 4 else proxy.forbidden

    with raw_folder(f"s3://{bucket}/raw", on_wait=count), pytest.raises(SourceError, match="Permission denied"):
        survey_tar(STORE_ROOT / "a.tar", RawSettings())
    assert next(requests) > 4


def test_it_goes_away_while_pages_are_read(path: Path, proxy: FaultyProxy, bucket: str) -> None:
    source = source_of_name(path.parent, path.name)
    assert source is not None
    with raw_folder(f"s3://{bucket}/raw"):
        num_pages, marks = source.survey(path)
        file = RawFile(path=path.name, kind=source.kind, stem="a", num_bytes=1, num_pages=num_pages, marks=marks)
        with source.open(PageRange(file=file, first=1, count=ROWS), path, RawSettings()) as reader:
            with pytest.raises(PageError):  # which is none
                reader.read(1)
            proxy.rate = 1
            with pytest.raises((PageError, StoreDownError)) as caught:
                reader.read(ROWS)
    assert StoreDownError in map(type, causes(caught.value))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
