"""Storage in forked and spawned processes, real ones: connections, descriptors and locks of the parent."""

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from tests.helpers.faulty_server import failing
from tests.helpers.waiting import HANGS_AFTER_S
from tests.helpers.web_server import Server, serving
from wdstream.storage.download import Download
from wdstream.storage.forks import ForkSafeLock
from wdstream.storage.local import ByteRange, LocalStorage, Storage
from wdstream.storage.remote import FsspecStorage, open_remote

BODY = bytes(range(256)) * 40_000
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "x.tar").write_bytes(BODY)
    with serving(tmp_path) as server:
        yield server


def forked(function: Callable[[], object], *, times: int = 2) -> list[object]:
    """What a function gives in each of some forked children."""
    results = FORK.Queue()
    children = [FORK.Process(target=lambda: results.put(function())) for _ in range(times)]
    for child in children:
        child.start()
    found = [results.get(timeout=HANGS_AFTER_S) for _ in children]
    for child in children:
        child.join(HANGS_AFTER_S)
    results.close()
    return found


def read(storage: Storage, place: int) -> bytes:
    return storage.read(ByteRange(name="x.tar", offset=place, length=100))


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_a_storage_that_was_used_before(server: Server, tmp_path: Path, kind: str) -> None:
    for storage in (FsspecStorage(server.url), LocalStorage(tmp_path)):
        assert read(storage, 7) == BODY[7:107]
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(kind)) as pool:
            found = [pool.submit(read, storage, place) for place in range(6)]
            for place, future in enumerate(found):
                assert future.result(HANGS_AFTER_S) == BODY[place : place + 100]
        assert read(storage, 8) == BODY[8:108]


def test_a_child_and_its_parent_read_at_once(server: Server) -> None:
    storage = FsspecStorage(server.url)
    places = range(0, 20_000, 100)
    expected = [read(storage, place) for place in places]
    children = threading.Thread(
        target=lambda: found.extend(forked(lambda: [read(storage, place) for place in places], times=3))
    )
    found: list[object] = []
    children.start()
    assert [read(storage, place) for place in places] == expected
    children.join()
    assert found == [expected] * 3
    assert read(storage, 0) == expected[0]


def test_a_child_of_a_child(server: Server) -> None:
    storage = FsspecStorage(server.url)
    assert read(storage, 3) == BODY[3:103]
    inner = lambda: (read(storage, 3), *forked(lambda: read(storage, 4), times=1))  # noqa: E731
    assert forked(inner) == [(BODY[3:103], BODY[4:104])] * 2


def test_streams_continue_at_their_place_in_both(server: Server) -> None:
    for stream in (open_remote(f"{server.url}/x.tar"), cast(BinaryIO, Download(f"{server.url}/x.tar"))):
        with stream:
            assert stream.read(5_000) == BODY[:5_000]
            for start in (5_000, 10_000):
                assert forked(partial(read_exactly, stream, 5_000)) == [BODY[start : start + 5_000]] * 2
                assert read_exactly(stream, 5_000) == BODY[start : start + 5_000]


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += stream.read(count - len(data))
    return data


def test_a_lock_that_another_thread_holds_is_free_in_a_child(tmp_path: Path) -> None:
    lock, is_held, may_go = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            may_go.wait(HANGS_AFTER_S)

    def take() -> str:
        with lock, lock:
            return "taken"

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(HANGS_AFTER_S)
    assert forked(take) == ["taken"] * 2
    may_go.set()
    holder.join()
    assert take() == "taken"


ENDS_AS_USUAL = """
import os, sys
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import FsspecStorage

storage, unused = FsspecStorage(sys.argv[1]), FsspecStorage(sys.argv[1], first_wait_s=0.1)
read = lambda one, place: one.read(ByteRange(name="x.tar", offset=place, length=9))
first = [read(storage, 0), read(unused, 0)]
pid = os.fork()
assert read(storage, 0) == first[0]
if not pid:
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
assert [read(storage, 0), read(unused, 0)] == first
"""


def test_a_child_that_ends_as_usual_leaves_the_connections_of_its_parent(tmp_path: Path) -> None:
    """Also those that it did not use: what is closed at the end of a process is closed for its parent, too."""
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0) as server:
        subprocess.run([sys.executable, "-c", ENDS_AS_USUAL, server.url], check=True, timeout=HANGS_AFTER_S)
