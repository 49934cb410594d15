"""A remote file as a stream, from a real web server that serves ranges and stumbles."""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.web_server import Server, serving
from wdstream.errors import ShardError
from wdstream.storage import remote as remote_file
from wdstream.storage.remote import open_remote

BODY = random.Random(0).randbytes(10_000)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote_file, "BLOCK_BYTES", 4096)
    (tmp_path / "x.tar").write_bytes(BODY)
    with serving(tmp_path) as server:
        yield server


def test_front_to_back_in_blocks(server: Server) -> None:
    with open_remote(f"{server.url}/x.tar") as file:
        assert b"".join(iter(lambda: file.read(700), b"")) == BODY
    ranges = [request.split("bytes=")[1] for request in server.requests if "bytes=" in request]
    assert ranges == ["0-4095", "4096-8191", "8192-9999"]


def test_seeks_read_nothing_before_their_place(server: Server) -> None:
    with open_remote(f"{server.url}/x.tar") as file:
        assert file.seek(9_000) == 9_000
        assert file.read(20) == BODY[9_000:9_020]
        assert file.seek(-5, io.SEEK_END) == 9_995
        assert file.read() == BODY[-5:]
        assert (file.seek(20_000), file.read(1)) == (20_000, b"")
    assert [request for request in server.requests if "bytes=0-" in request] == []


def test_answers_that_fail_are_asked_for_again(server: Server) -> None:
    with open_remote(f"{server.url}/x.tar") as file:
        server.stumbles = 2
        assert file.read() == BODY


def test_a_missing_file(server: Server) -> None:
    with pytest.raises(ShardError, match=r"y\.tar is not there: the storage answers"):
        open_remote(f"{server.url}/y.tar")


def test_a_file_that_shrinks_is_not_at_its_end(server: Server, tmp_path: Path) -> None:
    with open_remote(f"{server.url}/x.tar") as file:
        file.read(1)
        (tmp_path / "x.tar").write_bytes(BODY[:5000])
        with pytest.raises(ShardError, match=r"x\.tar: \d+ bytes at byte 4096 asked for, 904 sent"):
            file.read()
