"""Files of a web server as streams: what breaks off is continued where it stopped, by ranges or without."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.faulty_server import FAULTS, failing
from tests.helpers.waiting import wait_until
from wdstream.errors import ShardError
from wdstream.nodes.tar_urls import open_url
from wdstream.storage.download import Download
from wdstream.storage.tries import ATTEMPTS

BODY = random.Random(0).randbytes(300_000)
VISIBLE = tuple(fault for fault in FAULTS if fault != "flipped")  # of a stream nobody knows what it should be


@pytest.mark.parametrize("seed", range(5))
def test_every_byte_comes_once_in_spite_of_faults(tmp_path: Path, seed: int) -> None:
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0.5, faults=VISIBLE, seed=seed) as server:
        for _ in range(12):
            with Download(f"{server.url}/x.tar", first_wait_s=0.001) as file:
                assert b"".join(iter(lambda file=file: file.read(10_007), b"")) == BODY  # type: ignore[misc]
        assert server.failed.total() > 2


def test_an_outage_is_waited_out(tmp_path: Path) -> None:
    """It takes more tries than there are of a server that never answered."""
    (tmp_path / "x.tar").write_bytes(BODY)
    with (
        failing(tmp_path, rate=0, faults=("503",)) as server,
        Download(f"{server.url}/x.tar", first_wait_s=0.001) as file,
    ):
        file.seek(100_000)
        server.rate = 1
        with ThreadPoolExecutor(1) as pool:
            data = pool.submit(file.read)
            wait_until(lambda: data.done() or server.failed["503"] > ATTEMPTS, "more tries than there usually are")
            server.rate = 0
            assert data.result() == BODY[100_000:]


def test_it_goes_to_a_byte_by_a_range(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0) as server, Download(f"{server.url}/x.tar") as file:
        assert file.seekable()
        file.seek(299_000)
        assert file.read() == BODY[299_000:]
        assert file.read(1) == b""


def test_a_server_that_sends_so_much_at_a_time_is_asked_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=1, faults=("less of a range",)) as server, Download(f"{server.url}/x.tar") as file:
        file.seek(1000)
        assert file.read() == BODY[1000:]


def test_without_ranges_it_is_read_again_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0.7, faults=("half", "200 for 206"), seed=1) as server:
        for _ in range(20):
            with Download(f"{server.url}/x.tar", first_wait_s=0.001) as file:
                assert file.read() == BODY
        assert min(server.failed["half"], server.failed["200 for 206"]) > 2


def test_a_file_that_changed_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0) as server, Download(f"{server.url}/x.tar") as file:
        file.read(1000)
        (tmp_path / "x.tar").write_bytes(BODY[:200_000])
        file.seek(100_000)
        with pytest.raises(ShardError, match=r"x\.tar: changed while it was read .at byte 100,000."):
            file.read(1)


def test_servers_that_share_an_address_have_etags_of_their_own(tmp_path: Path) -> None:
    """An equal date and size are enough; without a date, another ETag is another file, but `W/` makes no difference."""
    (tmp_path / "x.tar").write_bytes(BODY)
    for etags, date, is_one in (
        (['"a"', '"b"'], "Mon, 01 Jan 2024 00:00:00 GMT", True),
        (['W/"a"', '"a"'], "", True),
        (['"a"', '"b"'], "", False),
    ):
        with failing(tmp_path, rate=0) as server:
            server.etags, server.date = etags, date
            with Download(f"{server.url}/x.tar", first_wait_s=0.001) as file:
                file.read(1000)
                file.seek(100_000)
                if is_one:
                    assert file.read() == BODY[100_000:]
                else:
                    with pytest.raises(ShardError, match="changed while it was read"):
                        file.read()


def test_chunks_that_break_off_at_the_end(tmp_path: Path) -> None:
    """A file whose size nobody said: the server says afterwards that no byte is missing."""
    (tmp_path / "x.tar").write_bytes(BODY)
    with failing(tmp_path, rate=1, faults=("half",)) as server:
        server.in_chunks = True
        with Download(f"{server.url}/x.tar", first_wait_s=0.001) as file:
            assert file.read() == BODY
        assert server.failed["half"] == 2


def test_a_password_is_sent_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "ein Übungs.tar").write_bytes(BODY)
    with failing(tmp_path, rate=0) as server:
        server.authorization = "Basic bWU6czNjOnJldA=="  # me:s3c:ret
        where = server.url.removeprefix("http://")
        with Download(f"http://me:s3c%3Aret@{where}/ein Übungs.tar") as file:
            assert file.read() == BODY
        for given, told in (
            (f"http://me:wrong@{where}/ein Übungs.tar", r"http://me:\*\*\*@.*/ein Übungs\.tar: .* 401: Unauthorized"),
            ("http://:wrong:@[/x.tar", "cannot be opened"),
        ):
            with pytest.raises(ShardError, match=told) as raised:
                open_url(given)
            assert "wrong" not in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with failing(tmp_path, rate=0) as server, pytest.raises(OSError, match="404"):
        Download(f"{server.url}/x.tar")
