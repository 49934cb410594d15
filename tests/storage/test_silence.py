"""A server that hangs: each request that it leaves without an answer is sent again soon, whatever it asks for.

Every third request is left so: nothing of it is taken, nothing is answered, or the answer stops in the middle.

And a process that hangs itself, since somebody stopped it or its machine: what it waits for is not late.

Spans: storage.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import HANGS, FaultyProxy, spoiling
from tests.helpers.faulty_server import failing
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import send
from tests.helpers.waiting import wait_until
from wdstream.errors import StorageFailureError
from wdstream.storage.download import Download
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings
from wdstream.storage.tries import Retrying
from wdstream.storage.writes import s3_place
from wdstream.storage.writes.s3_place import S3Place

pytest.importorskip("s3fs", reason="needs the extra wdstream[s3]")
SOON = ReadSettings(silence_s=0.5)
PATIENCE_S = 3.0
READS = f"""
import sys
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings
storage = FsspecStorage(sys.argv[1], reading=ReadSettings(patience_s={PATIENCE_S}))
print(storage.read(ByteRange(name="1", offset=0, length=10)).hex())
"""
IS_STOPPED_AFTER_AN_ANSWER = f"""
import os, signal
from concurrent.futures import Future
from wdstream.storage.tries import Retrying

def request(deadline):
    answer = Future()
    answer.set_exception(OSError("come later")) if trying.num_tries == 1 else answer.set_result("an answer")
    return deadline.result_of(answer)

def may_pass(error):
    os.kill(os.getpid(), signal.SIGSTOP)
    return True

trying = Retrying(may_pass, first_wait_s=0.001, most_s={PATIENCE_S})
print(trying(request))
"""
BODY = bytes(range(256)) * 400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files."""
    for number in range(6):
        (tmp_path / "f").mkdir(exist_ok=True)
        (tmp_path / f"f/{number}").write_bytes(BODY[number:])
    return tmp_path / "f"


@pytest.fixture(params=["http", "s3"])
def served(
    request: pytest.FixtureRequest, folder: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, FaultyProxy]]:
    """Where they are, and a proxy before it."""
    with ExitStack() as stack:
        web = stack.enter_context(failing(folder, rate=0))
        port = s3_server.port if request.param == "s3" else web.server_address[1]
        proxy = stack.enter_context(spoiling(port, rate=0, faults=HANGS))
        s3_server.use(monkeypatch, url=proxy.url)
        yield (send(s3_server, folder, bucket, "f") if request.param == "s3" else proxy.url), proxy


def test_reads(served: tuple[str, FaultyProxy], folder: Path) -> None:
    url, proxy = served
    storage = FsspecStorage(url, reading=SOON.replace(max_gap=0, max_request=40_000), first_wait_s=0.001)
    storage.size("0")
    proxy.every = 3
    wanted = [ByteRange(name=str(n), offset=at, length=100) for n in range(6) for at in (0, 50_000)]
    expected = [BODY[one.offset + int(one.name) :][:100] for one in wanted]
    assert storage.read_many(wanted) == expected
    assert [storage.size(str(number)) for number in range(6)] == [102_400 - number for number in range(6)]
    assert storage.read_file("2") == BODY[2:]
    assert storage.version("3").size == 102_397
    if url.startswith("s3"):
        assert storage.names("") == ["0", "1", "2", "3", "4", "5"]
        assert storage.listing() == {str(number): 102_400 - number for number in range(6)}
    assert set(+proxy.failed) == set(HANGS)


def test_an_answer_that_comes_slowly_is_not_cut_off(served: tuple[str, FaultyProxy]) -> None:
    """It takes longer than the silence after which a request is given up."""
    url, proxy = served
    storage = FsspecStorage(url, reading=ReadSettings(silence_s=3), attempts=3)  # for a loaded machine
    proxy.pause = 0.5  # after each of seven parts
    assert storage.read(ByteRange(name="1", offset=0, length=102_399)) == BODY[1:]


@pytest.mark.parametrize("is_asked", [True, False], ids=["while it waits for an answer", "between two requests"])
def test_a_process_that_was_stopped_asks_on(folder: Path, *, is_asked: bool) -> None:
    """By Ctrl-Z, or with its machine, for longer than it would wait: that is not the server's fault."""
    with failing(folder, rate=0) as web, spoiling(web.server_address[1], rate=0, faults=["503"]) as proxy:
        if is_asked:
            proxy.is_open.clear()
        else:
            proxy.rate = 1
        command = [sys.executable, "-c", READS, proxy.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_until(lambda: proxy.taken > 0, "a request")
            process.send_signal(signal.SIGSTOP)
            time.sleep(PATIENCE_S + 1)
            num_taken = proxy.taken
            proxy.is_open.set()
            process.send_signal(signal.SIGCONT)
            if not is_asked:
                wait_until(lambda: proxy.taken > num_taken or process.poll() is not None, "another request")
                proxy.rate = 0
            output, trouble = process.communicate()
    assert output.decode() == "0102030405060708090a\n", trouble.decode()


def test_a_process_that_is_stopped_when_an_answer_is_there_asks_on() -> None:
    with subprocess.Popen([sys.executable, "-c", IS_STOPPED_AFTER_AN_ANSWER], stdout=subprocess.PIPE) as process:
        os.waitpid(process.pid, os.WUNTRACED)
        time.sleep(PATIENCE_S + 1)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate()
    assert output == b"an answer\n"


def test_no_request_begins_when_time_is_over() -> None:
    """It waits up to 10 s before the second one, and has one: of 30, nearly all fail at once."""

    def num_tries(_: int) -> int:
        trying = Retrying(lambda _: True, first_wait_s=10.0, most_s=1.0)
        with pytest.raises(ZeroDivisionError):
            trying(lambda _: 1 // 0)
        return trying.num_tries

    with ThreadPoolExecutor(30) as pool:
        assert 1 in pool.map(num_tries, range(30))


def test_a_connection_that_is_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as gate, ExitStack() as stack:
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(gate.getsockname())
        url = f"http://127.0.0.1:{gate.getsockname()[1]}"
        storage = FsspecStorage(url, reading=ReadSettings(silence_s=0.3, patience_s=25), attempts=2, first_wait_s=0.001)
        with pytest.raises(StorageFailureError, match=r"/x cannot be read, after 2 attempts: Conn.*Timeout.*silence_s"):
            storage.read(ByteRange(name="x", offset=0, length=10))


def test_a_stream(folder: Path) -> None:
    with failing(folder, rate=0) as web, spoiling(web.server_address[1], rate=0, faults=HANGS) as proxy:
        proxy.every = 2
        for number in (*range(6), *range(6)):
            with Download(f"{proxy.url}/{number}", first_wait_s=0.001, silence_s=0.5) as file:
                assert b"".join(iter(lambda file=file: file.read(30_011), b"")) == BODY[number:]  # type: ignore[misc]
        assert set(+proxy.failed) == set(HANGS)


def test_writes(s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store had done before it fell silent, each is done once."""
    monkeypatch.setattr(s3_place, "PART_BYTES", 5 << 20)
    (tmp_path / "x").write_bytes(body := os.urandom((5 << 20) * 3 + 5))
    with spoiling(s3_server.port, rate=0, faults=HANGS) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        place = S3Place(f"s3://{bucket}/out", first_wait_s=0.001, silence_s=0.3)
        place.write("before", b"")
        proxy.every = 3
        for number in range(2):
            assert place.create(f"{number}", b"%d" % number)
            assert not place.create(f"{number}", b"another")
            _, version = place.read_version(f"{number}")
            assert place.replace(f"{number}", b"now %d" % number, version)
        place.put("x.tar", tmp_path / "x")
        place.fetch("x.tar", tmp_path / "copy")
        place.remove(["before", "1"])
        assert [file.name for file in place.files()] == ["0", "x.tar"]
        assert set(+proxy.failed) == set(HANGS)
    s3_server.use(monkeypatch)
    assert s3_server.objects(bucket) == {"out/0": b"now 0", "out/x.tar": body}
    assert (tmp_path / "copy").read_bytes() == body
    assert s3_server.unfinished(bucket) == []


def test_an_answer_that_is_announced_and_does_not_come(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a status 1xx aiohttp counts no silence: what sends nothing has a bound of its own."""
    monkeypatch.setattr(s3_place, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(s3_place, "_MOST_ANSWER_S", 1.0)
    (tmp_path / "x").write_bytes(body := os.urandom((5 << 20) + 5))
    with spoiling(s3_server.port, rate=0, faults=["only 102"]) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        place = S3Place(f"s3://{bucket}/out", first_wait_s=0.001, silence_s=0.3)
        place.write("before", b"")
        proxy.every = 2
        for _ in range(2):
            place.put("x.tar", tmp_path / "x")
            place.remove(["before"])
        assert [file.name for file in place.files()] == ["x.tar"]
        assert proxy.failed["only 102"] > 3
    assert s3_server.objects(bucket, "out") == {"x.tar": body}
