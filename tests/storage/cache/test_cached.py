"""Remote files through a cache: a real web server, real processes, files that are damaged, and versions that change."""

import logging
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.faulty_server import FaultyServer, failing
from tests.helpers.kills import killed
from tests.helpers.paths import ROOT
from wdstream.storage.cache.cached import CachedStorage
from wdstream.storage.cache.folder import open_cache_folder
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.local import ByteRange, LocalStorage
from wdstream.storage.lock import FileLock
from wdstream.storage.remote import FsspecStorage

pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")

BLOCK = 300_000  # so large that no request takes a block along that is between two others
SIZES = {"a.tar": BLOCK * 20 + 7, "b.tar": BLOCK * 3, "c.tar": 5}
DIGESTS = {name: f"digest of {name}" for name in SIZES}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    for name, size in SIZES.items():
        (folder / name).write_bytes(random.Random(name).randbytes(size))
    return folder


@pytest.fixture
def server(store: Path) -> Iterator[FaultyServer]:
    with failing(store, rate=0) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> CacheSettings:
    return CacheSettings(path=tmp_path / "cache", max_bytes=1 << 30, block_bytes=BLOCK)


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> Iterator[None]:
    open_cache_folder.cache_clear()
    yield
    open_cache_folder.cache_clear()


def cached(url: str, settings: CacheSettings, digests: dict[str, str] = DIGESTS) -> CachedStorage:
    return CachedStorage(FsspecStorage(url, first_wait_s=0.01), settings, address=url, digests=digests)


def some_ranges(seed: int) -> list[ByteRange]:
    """Ranges of all files: of one byte and of many blocks, beyond the end, of nothing."""
    chance = random.Random(seed)
    ranges = [ByteRange(name="a.tar", offset=BLOCK * 2, length=BLOCK), ByteRange(name="a.tar", offset=7, length=0)]
    ranges += [ByteRange(name="a.tar", offset=BLOCK * 30, length=9), ByteRange(name="c.tar", offset=0, length=99)]
    for _ in range(30):
        name = chance.choice(list(SIZES))
        offset = chance.randrange(SIZES[name])
        ranges.append(ByteRange(name=name, offset=offset, length=chance.choice([1, 100, BLOCK, BLOCK * 5])))
    return ranges


def whole(name: str) -> ByteRange:
    return ByteRange(name=name, offset=0, length=SIZES[name])


def blocks_of(settings: CacheSettings) -> list[Path]:
    return [path for path in sorted((settings.path / "v1" / "files").glob("*/*")) if path.name != "version"]


def bytes_in(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != "usage")


def test_cold_and_warm_are_as_in_the_store(server: FaultyServer, store: Path, settings: CacheSettings) -> None:
    here = LocalStorage(store)
    for storage in (cached(server.url, settings), cached(server.url, settings)):
        for seed in range(5):
            ranges = some_ranges(seed)
            assert storage.read_many(ranges) == here.read_many(ranges)
        assert [storage.read(one) for one in some_ranges(5)] == here.read_many(some_ranges(5))
        assert [storage.size(name) for name in SIZES] == [*SIZES.values()]
        storage.fetch([whole(name) for name in SIZES])
    assert server.bytes_sent == sum(SIZES.values())  # each byte once


def test_the_second_process_asks_for_nothing(server: FaultyServer, settings: CacheSettings) -> None:
    first = cached(server.url, settings)
    ranges = [whole(name) for name in SIZES]
    wanted = first.read_many(ranges)
    server.shutdown()  # not even for versions
    server.server_close()
    assert cached(server.url, settings).read_many(ranges) == wanted


def test_whole_files_are_as_in_the_store_now(server: FaultyServer, store: Path, settings: CacheSettings) -> None:
    storage = cached(server.url, settings)
    assert storage.read_file("b.tar") == storage.read_file("b.tar") == (store / "b.tar").read_bytes()
    assert server.bytes_sent == SIZES["b.tar"]
    (store / "b.tar").write_bytes(b"another")
    assert storage.read_file("b.tar") == b"another"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap", "longer"])
def test_damaged_files_are_fetched_again(
    damage: str, server: FaultyServer, store: Path, settings: CacheSettings, caplog: pytest.LogCaptureFixture
) -> None:
    storage = cached(server.url, settings)
    ranges = [whole(name) for name in SIZES]
    wanted = storage.read_many(ranges)
    files = blocks_of(settings)
    contents = [file.read_bytes() for file in files]
    for number, file in enumerate(files):
        data = bytearray(contents[number])
        if damage == "flip":
            data[random.Random(number).randrange(len(data))] ^= 1
        else:
            other = contents[number - 1]
            data = {"cut": data[:-1], "empty": bytearray(), "swap": bytearray(other), "longer": data + b"x"}[damage]
        file.write_bytes(data)
    before = server.bytes_sent
    assert storage.read_many(ranges) == wanted  # noticed by the process that knew them, too
    assert server.bytes_sent - before == sum(SIZES.values())
    assert "is damaged: thrown away, and fetched again" in caplog.text
    assert cached(server.url, settings).read_many(ranges) == wanted
    assert server.bytes_sent - before == sum(SIZES.values())


def test_what_was_wrong_is_forgotten(server: FaultyServer, store: Path, settings: CacheSettings) -> None:
    storage = cached(server.url, settings)
    server.faults, server.rate = ["flipped"], 1.0
    wrong, right = storage.read(whole("b.tar")), (store / "b.tar").read_bytes()
    server.rate = 0
    assert storage.read(whole("b.tar")) == wrong != right
    storage.forget(ByteRange(name="b.tar", offset=SIZES["b.tar"] - 1, length=1))
    assert storage.read(whole("b.tar")) == right
    assert cached(server.url, settings).read(whole("b.tar")) == right


def test_versions_are_never_mixed(server: FaultyServer, store: Path, settings: CacheSettings) -> None:
    old = (store / "a.tar").read_bytes()
    server.etags = ['"old"']
    cached(server.url, settings).read(ByteRange(name="a.tar", offset=0, length=BLOCK * 3))
    new = bytes(byte ^ 0xFF for byte in old)
    (store / "a.tar").write_bytes(new)
    server.etags = ['"new"']
    # What is on disk is what the index that vouches for it said; as soon as something is fetched, it is one version.
    storage = cached(server.url, settings)
    assert storage.read(ByteRange(name="a.tar", offset=5, length=BLOCK)) == old[5 : BLOCK + 5]
    assert storage.read(whole("a.tar")) == new
    assert storage.read(ByteRange(name="a.tar", offset=5, length=BLOCK)) == new[5 : BLOCK + 5]
    # An index that says something else of the file vouches for no block of before, and neither does none.
    for digests in ({"a.tar": "another"}, {}):
        assert cached(server.url, settings, digests).read(whole("a.tar")) == new


def test_one_file_on_two_stores_is_two(store: Path, settings: CacheSettings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.tar").write_bytes(bytes(SIZES["a.tar"]))
    for folder in (store, other):
        assert cached(f"file://{folder}", settings).read(whole("a.tar")) == (folder / "a.tar").read_bytes()


def test_a_store_with_faults(store: Path, settings: CacheSettings) -> None:
    faults = ["500", "503", "429", "reset", "half", "half without length", "other range", "200 for 206"]
    with failing(store, rate=0.3, faults=faults, seed=3) as server:
        storage = cached(server.url, settings)
        for one in some_ranges(0):
            assert storage.read(one) == LocalStorage(store).read(one)
    assert sum(server.failed.values()) >= 3


READ = """
import random, resource, sys
from pathlib import Path
from wdstream.storage.cache.cached import CachedStorage
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.local import ByteRange, LocalStorage
from wdstream.storage.remote import FsspecStorage
url, store, cache, max_bytes, seed, limit, rounds = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
settings = CacheSettings(path=Path(cache), max_bytes=int(max_bytes), block_bytes=300_000)
names = ["a.tar", "b.tar", "c.tar"]
storage = CachedStorage(FsspecStorage(url), settings, address=url, digests={name: name for name in names})
here, chance = LocalStorage(Path(store)), random.Random(seed)
files = [path for path in (Path(cache) / "v1").rglob("*") if path.is_file()] if Path(cache).is_dir() else []
for _ in range(int(rounds)):
    name = chance.choice(names)
    ranges = [ByteRange(name=name, offset=chance.randrange(here.size(name)), length=400_000) for _ in range(3)]
    assert storage.read_many(ranges) == here.read_many(ranges)
    storage.fetch([ByteRange(name="a.tar", offset=chance.randrange(5_000_000), length=400_000)])
ranges = [ByteRange(name=name, offset=0, length=here.size(name)) for name in names]
assert storage.read_many(ranges) == here.read_many(ranges)
print("equal")
"""


def reader(
    server: FaultyServer, settings: CacheSettings, *, seed: int = 0, limit: int = 0, rounds: int = 10
) -> subprocess.Popen[str]:
    told = [server.url, server.root, settings.path, settings.max_bytes, seed, limit, rounds]
    command = [sys.executable, "-c", READ, *map(str, told)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def ends_well(process: subprocess.Popen[str]) -> str:
    """What a reader logged; it must have read the right bytes."""
    out, log = process.communicate()
    assert out == "equal\n", log
    return log


def test_processes_at_once_fetch_each_byte_once(server: FaultyServer, settings: CacheSettings) -> None:
    for process in [reader(server, settings, seed=seed) for seed in range(3)]:
        ends_well(process)
    assert server.bytes_sent == sum(SIZES.values())


def test_processes_at_once_hold_the_bound(server: FaultyServer, settings: CacheSettings) -> None:
    settings = settings.replace(max_bytes=10 * BLOCK)
    processes = [reader(server, settings, seed=seed) for seed in range(2)]
    most, usage = 0, settings.path / "v1" / "usage"
    while any(process.poll() is None for process in processes):
        if usage.exists():
            with FileLock(usage):  # nobody writes or removes now
                most = max(most, bytes_in(settings.path))
        time.sleep(0.005)
    assert 4 * BLOCK < most <= settings.max_bytes
    for process in processes:
        ends_well(process)


def test_files_that_cannot_grow(server: FaultyServer, settings: CacheSettings) -> None:
    assert bytes_in(settings.path) == 0
    log = ends_well(reader(server, settings, limit=200_000))  # less than a block
    assert log.count("File too large") == log.count("data.cache") == 1
    assert blocks_of(settings) == []


def test_a_folder_that_cannot_be_made(
    server: FaultyServer, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = CacheSettings(path=tmp_path / "file" / "cache", max_bytes=1 << 30, block_bytes=BLOCK)
    with caplog.at_level(logging.WARNING):
        storage = cached(server.url, settings)
        for seed in range(3):
            assert storage.read_many(some_ranges(seed)) == LocalStorage(store).read_many(some_ranges(seed))
    assert [record.message.count("cannot be written to (Not a directory)") for record in caplog.records] == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(server: FaultyServer, store: Path, settings: CacheSettings, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=True)
    try:
        log = ends_well(reader(server, settings.replace(path=disk / "cache")))
        assert log.count("No space left on device") == log.count("data.cache") == 1
        assert 0 < bytes_in(disk) <= 3 << 20
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_killed_at_any_write(store: Path, settings: CacheSettings) -> None:
    """The store is a folder by way of fsspec, which works in forked children."""
    wanted = [(store / name).read_bytes() for name in ("b.tar", "c.tar")]
    ranges = [whole(name) for name in ("b.tar", "c.tar")]

    def read(_: Path) -> None:
        assert cached(f"file://{store}", settings).read_many(ranges) == wanted

    moment, kills = 1, 0
    while killed(settings.path, read, moment):
        kills += 1
        assert cached(f"file://{store}", settings.replace(max_bytes=(1 << 30) - moment)).read_many(ranges) == wanted
        left = [path for path in settings.path.rglob("*.writing")]
        assert not left, "the read after a kill leaves nothing unfinished"
        for path in [*blocks_of(settings), *settings.path.glob("v1/files/*/version"), settings.path / "v1" / "usage"]:
            path.unlink()
        moment += 1
    assert kills >= 15


def test_a_process_that_was_stopped_is_not_waited_for_without_end(
    server: FaultyServer, store: Path, settings: CacheSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdstream.storage.cache.folder.HELD_S", 0.2)
    storage = cached(server.url, settings)
    claims = settings.path / "v1" / "claims"
    claims.mkdir(parents=True)
    with ExitStack() as held:
        for number in range(1024):
            held.enter_context(FileLock(claims / f"{number:04d}"))
        assert storage.read_many([whole("b.tar")]) == [(store / "b.tar").read_bytes()]
    assert not blocks_of(settings)


def test_pickled(server: FaultyServer, settings: CacheSettings) -> None:
    storage = pickle.loads(pickle.dumps(cached(server.url, settings)))
    assert storage.read_many(some_ranges(0)) == LocalStorage(server.root).read_many(some_ranges(0))
