"""Shards over fsspec: a memory file system, and a real web server on loopback that serves ranges and stumbles."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import pages, write_shards
from tests.helpers.faulty_server import failing
from tests.helpers.web_server import Server, serving
from wdstream.errors import ConfigError, PageError, ShardError, ShardIndexError
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.local import ByteRange, coalesce
from wdstream.storage.remote import FsspecStorage
from wdstream.storage.settings import ReadSettings

CONTENT = {"s-0.tar": pages("a", 30), "s-1.tar": pages("b", 20)}
READING = ReadSettings()
ALL = {key: parts for samples in CONTENT.values() for key, parts in samples.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_shards(tmp_path / "f", CONTENT)
    merge_index(folder)
    write_token_column(folder, "ab" * 8, range(50))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


def test_memory_file_system(folder: Path) -> None:
    files = fsspec.filesystem("memory")
    files.put(f"{folder}/", "/shards-of-test/", recursive=True)
    try:
        shards = Shards.open("memory://shards-of-test")
        assert dict(shards.read(row) for row in range(50)) == ALL
        assert shards.fingerprint == Shards.open(folder).fingerprint
        assert shards.tokens("ab" * 8).tolist() == list(range(50))
        with pytest.raises(ShardIndexError, match="counted are: abababababababab"):
            shards.tokens("cd" * 8)
        files.rm("/shards-of-test/s-1.tar")
        with pytest.raises(ShardError, match=r"memory://shards-of-test/s-1\.tar is not there"):
            Shards.open("memory://shards-of-test").read(30)
    finally:
        files.rm("/shards-of-test", recursive=True)


def test_web_server_with_ranges(server: Server, folder: Path) -> None:
    shards = Shards.open(server.url)
    assert shards.read(3) == ("a/p0003", ALL["a/p0003"])
    assert shards.key(31) == "b/p0001"
    assert shards.find("b/p0002") == 32
    assert shards.tokens("ab" * 8).tolist() == list(range(50))
    start = int(shards.offset[3])
    assert f"GET /s-0.tar bytes={start}-{start + int(shards.nbytes[3]) - 1}" in server.requests
    again = pickle.loads(pickle.dumps(shards))
    assert again.read(49) == shards.read(49)


def test_columns_of_a_web_server_that_lists_nothing(server: Server, folder: Path) -> None:
    assert Shards.open(server.url).supervised("ab" * 8) is None
    with pytest.raises(ShardIndexError, match="wdstream lengths"):
        Shards.open(server.url).paragraphs("ab" * 8)
    write_token_column(folder, "ab" * 8, range(50), [0] * 50)
    with write_paragraphs(folder, "ab" * 8) as writer:
        writer.add([(2, 3)] + [()] * 49)
    supervised = Shards.open(server.url).supervised("ab" * 8)
    assert supervised is not None
    assert supervised.tolist() == [0] * 50
    assert Shards.open(server.url).paragraphs("ab" * 8)[1].tolist() == [2, 3]


def test_pages_read_together_are_asked_for_once_a_shard(server: Server, folder: Path) -> None:
    shards = Shards.open(server.url)
    shards.read_pages([0, 30])  # compares the sizes of both tars
    server.requests.clear()
    rows = [40, 3, 29, 7, 31, 3]
    here = Shards.open(folder)
    assert shards.read_pages(rows) == [here.read_page(row) for row in rows]
    assert sorted(request.split()[1] for request in server.requests) == ["/s-0.tar", "/s-1.tar"]


@pytest.mark.parametrize("name", ["blockcache", "filecache", "cached"])
def test_caches_of_fsspec_that_lose_bytes_are_refused(name: str, server: Server) -> None:
    with pytest.raises(ConfigError, match=rf"{name}:: loses or mixes up bytes .* data\.cache"):
        Shards.open(f"{name}::{server.url}")


def test_index_here_and_tars_there(server: Server, folder: Path) -> None:
    shards = Shards.open(folder, FsspecStorage(server.url))
    assert shards.read(8) == ("a/p0008", ALL["a/p0008"])
    assert [request for request in server.requests if "index" in request] == []


def test_answers_that_fail_are_asked_for_again(server: Server, folder: Path) -> None:
    shards = Shards.open(folder, FsspecStorage(server.url, attempts=10, first_wait_s=0.01))
    server.stumbles = 3
    assert shards.read(5) == ("a/p0005", ALL["a/p0005"])
    server.short_answers = 2
    assert shards.read(6) == ("a/p0006", ALL["a/p0006"])
    server.damaged_answers = 1
    assert shards.read(8) == ("a/p0008", ALL["a/p0008"])
    server.damaged_answers = 1
    assert [page.key for page in shards.read_pages([9, 40]) if not isinstance(page, PageError)] == [
        "a/p0009",
        "b/p0010",
    ]
    server.stumbles = 100
    with pytest.raises(ShardError, match=r"s-0\.tar cannot be read, after 10 attempts: ClientResponseError: 503"):
        shards.read(7)
    assert server.stumbles == 90


def test_a_server_that_answered_is_waited_for(server: Server, folder: Path) -> None:
    shards = Shards.open(folder, FsspecStorage(server.url, first_wait_s=0.001))
    server.stumbles = 100
    with pytest.raises(ShardError, match=r"s-0\.tar cannot be read, after 10 attempts: ClientResponseError: 503"):
        shards.read(5)  # it may never have been there
    server.stumbles = 0
    shards.read(5)
    server.stumbles = 12
    assert shards.read(7) == ("a/p0007", ALL["a/p0007"])


@pytest.mark.parametrize("has_cache", [False, True])
def test_names_that_mean_something_in_addresses(tmp_path: Path, *, has_cache: bool) -> None:
    samples = pages("a", 3)
    folder = write_shards(tmp_path, {"a#b%20c?d=1.tar": samples})
    merge_index(folder)
    cache = CacheSettings(path=tmp_path / "cache", max_bytes=1 << 24) if has_cache else None
    with failing(folder, rate=0) as server:
        shards = Shards.open(server.url, cache=cache)
        assert dict(shards.read(row) for row in range(3)) == dict(samples)


def test_of_several_ranges_those_that_fail_are_asked_for_again(server: Server, folder: Path) -> None:
    shards = Shards.open(folder, FsspecStorage(server.url, first_wait_s=0.01))
    shards.read_pages([0, 30])
    server.requests.clear()
    server.stumbles = 1
    assert [page for page in shards.read_pages([3, 40]) if isinstance(page, PageError)] == []
    assert len(server.requests) == 3  # two, and the one that failed again


def test_a_column_damaged_on_its_way_is_asked_for_again(server: Server) -> None:
    shards = Shards.open(server.url)
    server.damaged_answers = 1
    server.requests.clear()
    assert shards.tokens("ab" * 8).tolist() == list(range(50))
    assert [request.partition(" bytes")[0] for request in server.requests] == 2 * [f"GET /index/tokens.{'ab' * 8}.npy"]


def test_missing_things_are_not_asked_for_again(server: Server, folder: Path) -> None:
    (folder / "s-1.tar").unlink()
    shards = Shards.open(server.url)
    server.requests.clear()
    with pytest.raises(ShardError, match=r"s-1\.tar is not there: the storage answers"):
        shards.read(30)
    assert len(server.requests) <= 2  # fsspec asks for the size by HEAD, then by GET
    (folder / "index" / "index.json").unlink()
    with pytest.raises(ShardIndexError, match=r"has no index/index\.json: run `wdstream index http"):
        Shards.open(server.url)


def test_server_without_ranges_is_refused(server: Server, folder: Path) -> None:
    server.has_ranges = False
    with pytest.raises(ShardError, match="does not serve ranges"):
        Shards.open(folder, FsspecStorage(server.url)).read(1)


def test_changed_tar_is_seen_over_the_wire(server: Server, folder: Path) -> None:
    content = bytearray((folder / "s-0.tar").read_bytes())
    content[600] ^= 1
    (folder / "s-0.tar").write_bytes(content)
    shards = Shards.open(server.url)
    with pytest.raises(ShardError, match="checksum"):
        shards.read(0)
    (folder / "s-1.tar").write_bytes(content)
    with pytest.raises(ShardError, match=r"s-1\.tar, row 30: \d+ bytes expected"):
        shards.read(30)


def test_unknown_protocol() -> None:
    with pytest.raises(ConfigError, match="Protocol not known"):
        Shards.open("nowhere://bucket/shards")


def test_neighbours_are_joined_and_far_ranges_are_not() -> None:
    def part(offset: int, length: int, name: str = "a") -> ByteRange:
        return ByteRange(name=name, offset=offset, length=length)

    assert coalesce([part(100, 50), part(0, 100), part(10, 20)], READING) == [part(0, 150)]
    assert coalesce([part(0, 10), part(10 + READING.max_gap, 5)], READING) == [part(0, 15 + READING.max_gap)]
    assert coalesce([part(0, 10), part(11 + READING.max_gap, 5)], READING) == [
        part(0, 10),
        part(11 + READING.max_gap, 5),
    ]
    assert coalesce([part(0, 10), part(10, 5, "b")], READING) == [part(0, 10), part(10, 5, "b")]
    assert coalesce([part(0, READING.max_request), part(READING.max_request, 1)], READING) == [
        part(0, READING.max_request),
        part(READING.max_request, 1),
    ]
    assert coalesce([], READING) == []


@given(
    st.lists(
        st.builds(
            ByteRange, name=st.sampled_from("ab"), offset=st.integers(0, 1 << 27), length=st.integers(1, 1 << 26)
        ),
        max_size=12,
    )
)
@settings(deadline=None)
def test_every_range_is_in_one_request(wanted: list[ByteRange]) -> None:
    runs = coalesce(wanted, READING)
    for one in wanted:
        assert any(
            run.name == one.name and run.offset <= one.offset and one.offset + one.length <= run.offset + run.length
            for run in runs
        )
    assert all(run.length <= READING.max_request or run in wanted for run in runs)
