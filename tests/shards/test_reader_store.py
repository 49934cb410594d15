"""Shards of a real S3 server behind a proxy that spoils answers: the samples of the folder, none lost."""

import multiprocessing
import random
from pathlib import Path

import pytest

from tests.helpers.fake_shards import fake_image, pages, write_shards
from tests.helpers.faulty_proxy import READ_FAULTS, spoiling
from tests.helpers.faulty_server import failing
from tests.helpers.processes import free_port
from tests.helpers.s3_server import S3Server
from tests.helpers.waiting import HANGS_AFTER_S
from wdstream.errors import StorageFailureError
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings

PACK = 20
FORK = multiprocessing.get_context("fork")


def stored(server: S3Server, bucket: str, folder: Path, num_pages: int) -> None:
    """Shards in a folder and in a bucket: pages of 100 kB to 200 kB, in tars of 50."""
    draw = random.Random(1)
    content = {
        f"s-{start:04d}.tar": {
            f"{start}/p{page:04d}": {"jpg": fake_image(9, 9, draw.randbytes(100_000 + 2_000 * page)), "txt": b"a page"}
            for page in range(min(50, num_pages - start))
        }
        for start in range(0, num_pages, 50)
    }
    merge_index(write_shards(folder, content))
    for path in folder.rglob("*"):
        if path.is_file():
            server.call("put_object", Bucket=bucket, Key=str(path.relative_to(folder)), Body=path.read_bytes())


@pytest.mark.parametrize("num_pages", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_page_is_lost_to_faults(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_pages: int
) -> None:
    stored(s3_server, bucket, tmp_path / "f", num_pages)
    rows = list(range(num_pages))
    random.Random(2).shuffle(rows)
    local = Shards.open(tmp_path / "f")
    with spoiling(s3_server.port, rate=0.2, faults=READ_FAULTS, seed=3) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        proxy.pause = 0.001
        url = f"s3://{bucket}"
        shards = Shards.open(url, FsspecStorage(url, first_wait_s=0.01))
        assert shards.fingerprint == local.fingerprint
        for start in range(0, num_pages, PACK):
            pack = rows[start : start + PACK]
            assert shards.read_many(pack) == local.read_many(pack)
        assert all(proxy.failed[fault] for fault in READ_FAULTS) or num_pages < 2000
        assert proxy.failed.total() > proxy.asked / 10
        # Of few requests, chance decides which fail how.
        most = 1.15 if num_pages == 2000 else 1.4
        assert proxy.bytes_sent < most * sum(proxy.wanted.values()), proxy.sent
        assert proxy.connections <= proxy.failed.total() + ReadSettings().open_requests


def test_answers_that_end_too_soon_twice_are_no_damage(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other range that the proxy asks for begins where it should, where that is the start of the tar."""
    stored(s3_server, bucket, tmp_path / "f", 1)
    with spoiling(s3_server.port, rate=0.5, faults=("other range",)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        shards = Shards.open(f"s3://{bucket}", FsspecStorage(f"s3://{bucket}", first_wait_s=0.001))
        assert [shards.read(0) for _ in range(20)] == [Shards.open(tmp_path / "f").read(0)] * 20
        assert proxy.failed["other range"] > 10


def test_connections_are_used_again(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(s3_server, bucket, tmp_path / "f", 100)
    with spoiling(s3_server.port, rate=0) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        shards = Shards.open(f"s3://{bucket}", reading=ReadSettings(open_requests=3, max_gap=0))
        for start in range(12):
            shards.read_many(range(start, 100, 10))
        assert proxy.connections <= 3
        assert proxy.asked > 100


@pytest.mark.parametrize("protocol", ["s3", "http"])
def test_a_server_that_never_answers_is_given_up(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    stored(s3_server, bucket, tmp_path / "f", 20)
    with failing(tmp_path / "f", rate=0) as web, spoiling(s3_server.port, rate=0) as proxy:
        proxy.port = s3_server.port if protocol == "s3" else web.server_address[1]
        s3_server.use(monkeypatch, url=proxy.url)
        url = f"s3://{bucket}" if protocol == "s3" else proxy.url
        shards = Shards.open(url, reading=ReadSettings(patience_s=5))
        shards.read(0)
        proxy.is_open.clear()
        told = r"s-0000\.tar cannot be read.* no whole answer within 5 s \(data\.reading\.patience_s\)"
        try:
            with pytest.raises(StorageFailureError, match=told):
                shards.read_many([1, 2])
        finally:
            proxy.is_open.set()
        assert len(shards.read_many([1, 2])) == 2


def test_forked_processes_read_by_connections_of_their_own(bucket: str, s3_server: S3Server, tmp_path: Path) -> None:
    stored(s3_server, bucket, tmp_path / "f", 20)
    shards = Shards.open(f"s3://{bucket}")
    whole = shards.read_many(range(20))
    queue = FORK.Queue()
    children = [FORK.Process(target=lambda: queue.put(shards.read_many(range(20)))) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=HANGS_AFTER_S) for _ in children] == [whole] * 2
    assert shards.read_many(range(20)) == whole


def test_a_server_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    merge_index(write_shards(tmp_path, {"s.tar": pages("a", 3)}))
    dead = FsspecStorage(f"http://127.0.0.1:{free_port()}", reading=ReadSettings(patience_s=1))
    with pytest.raises(
        StorageFailureError, match=r"s\.tar cannot be read, after \d+ attempts: .*the storage or the net"
    ):
        Shards.open(tmp_path, dead).read(1)
