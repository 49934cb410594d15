"""The tile cache: what is kept comes back, whatever is not exactly it is a miss, and the bound holds for everyone."""

import json
import logging
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest

from wdstream.errors import ConfigError
from wdstream.pixels.cache_usage import TEMP_PREFIX, USAGE, cache_info, entries_of, prune_cache
from wdstream.pixels.grey import grey_as_rgb, is_grey
from wdstream.pixels.settings import PixelSettings, TileCacheSettings
from wdstream.pixels.tile_cache import TileCache, cache_policy, entry_name, open_cache
from wdstream.records import Pixels, Size

SIZES: list[Size] = [(40, 30), (17, 5), (56, 28)]
POLICY = "0123456789abcdef"


def tiles_of(seed: int) -> tuple[Pixels, ...]:
    """Two tiles in colour and one in grey, of SIZES."""
    rng = np.random.default_rng(seed)
    colour = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES[:2]]
    return (*colour, grey_as_rgb(rng.integers(0, 256, (28, 56), dtype=np.uint8)))


def name_of(seed: int) -> str:
    return entry_name(f"image {seed}".encode())


def same(found: tuple[Pixels, ...] | None, wanted: tuple[Pixels, ...]) -> bool:
    return found is not None and all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def open_at(path: Path, *, max_bytes: int = 10**9, policy: str = POLICY) -> TileCache:
    return TileCache(TileCacheSettings(path=path, max_bytes=max_bytes), policy)


def only_entry(path: Path) -> Path:
    (entry,) = entries_of(path)
    return entry.path


def used(path: Path) -> int:
    return sum(entry.size for entry in entries_of(path))


@pytest.fixture
def cache(tmp_path: Path) -> TileCache:
    return open_at(tmp_path)


def test_what_is_kept_comes_back(cache: TileCache) -> None:
    tiles = tiles_of(0)
    assert cache.get(name_of(0), SIZES) is None
    cache.put(name_of(0), tiles)
    found = cache.get(name_of(0), SIZES)
    assert found is not None
    assert same(found, tiles)
    assert [is_grey(tile) for tile in found] == [False, False, True]
    assert all(tile.flags.writeable for tile in found[:2])  # torch warns of arrays that are not


def test_grey_takes_a_third(cache: TileCache, tmp_path: Path) -> None:
    grey = grey_as_rgb(np.full((100, 100), 7, np.uint8))
    cache.put(name_of(0), [grey])
    assert 10_000 < used(tmp_path) < 10_300


def test_names_are_content_and_scale() -> None:
    names = {entry_name(b"a"), entry_name(b"b"), entry_name(b"a", 32)}
    assert len(names) == 3
    assert entry_name(b"a") == entry_name(b"a", 64)


def test_policies_differ_by_all_that_decides_a_pixel() -> None:
    settings = [("t1", "exact", 10), ("t2", "exact", 10), ("t1", "scaled", 10), ("t1", "exact", 11)]
    policies = [cache_policy(tiling=a, decode=b, max_pixels=c) for a, b, c in settings]  # type: ignore[arg-type]
    assert len(set(policies)) == 4
    assert policies[0] == cache_policy(tiling="t1", decode="exact", max_pixels=10)


def flipped(place: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return damage


def resealed(**changes: object) -> Callable[[bytes], bytes]:
    """An entry whole by its checksum, with another header."""

    def damage(data: bytes) -> bytes:
        length = int.from_bytes(data[12:16], "little")
        header = json.dumps(json.loads(data[16 : 16 + length]) | changes).encode()
        body = len(header).to_bytes(4, "little") + header + data[16 + length :]
        return data[:8] + zlib.crc32(body).to_bytes(4, "little") + body

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    **{f"flipped at {place}": flipped(place) for place in (0.0, 0.001, 0.002, 0.01, 0.5, 1.0)},
    **{f"cut to {size}": itemgetter(slice(size)) for size in (0, 5, 15, 16, 40, 3000)},
    "cut by one byte": lambda data: data[:-1],
    "longer": lambda data: data + b"\x00",
    "zeros": lambda data: bytes(len(data)),
    "of another format": lambda data: b"wdtiles0" + data[8:],
    "of another image": resealed(name=entry_name(b"other")),
    "of another policy": resealed(policy="f" * 16),
    "of other sizes": resealed(shapes=[[30, 40, 3], [5, 17, 3], [56, 28]]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_a_miss_and_is_written_again(
    cache: TileCache, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache.put(name_of(0), tiles_of(0))
    path = only_entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(name_of(0), SIZES) is None
    cache.put(name_of(0), tiles_of(0))
    assert same(cache.get(name_of(0), SIZES), tiles_of(0))


def test_entries_that_changed_places_are_misses(cache: TileCache, tmp_path: Path) -> None:
    for seed in range(2):
        cache.put(name_of(seed), tiles_of(seed))
    first, second = (entry.path for entry in entries_of(tmp_path))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    assert [cache.get(name_of(seed), SIZES) for seed in range(2)] == [None, None]


def test_another_policy_finds_nothing(cache: TileCache, tmp_path: Path) -> None:
    cache.put(name_of(0), tiles_of(0))
    assert open_at(tmp_path, policy="f" * 16).get(name_of(0), SIZES) is None
    assert same(open_at(tmp_path).get(name_of(0), SIZES), tiles_of(0))


def test_the_bound_holds_and_a_fixed_share_stays(tmp_path: Path) -> None:
    """CacheSpace for half the images: after two epochs in different orders about that half hits."""
    size = 40 * 30 * 3 + 17 * 5 * 3 + 56 * 28
    cache = open_at(tmp_path, max_bytes=50 * (size + 200))
    for order in (range(100), reversed(range(100))):
        for seed in order:
            if cache.get(name_of(seed), SIZES) is None:
                cache.put(name_of(seed), tiles_of(seed))
            assert used(tmp_path) <= 50 * (size + 200)
    hits = [seed for seed in range(100) if cache.get(name_of(seed), SIZES) is not None]
    assert 40 <= len(hits) <= 51
    smallest = sorted(range(100), key=name_of)
    assert set(hits) == set(smallest[: len(hits)])


def test_what_other_policies_left_goes_first(tmp_path: Path) -> None:
    size = 40 * 30 * 3 + 17 * 5 * 3 + 56 * 28 + 200
    old = open_at(tmp_path, max_bytes=12 * size, policy="a" * 16)
    for seed in range(10):
        old.put(name_of(seed), tiles_of(seed))
    new = open_at(tmp_path, max_bytes=12 * size)
    for seed in range(10):
        new.put(name_of(seed), tiles_of(seed))
    assert all(same(new.get(name_of(seed), SIZES), tiles_of(seed)) for seed in range(10))
    assert sum(old.get(name_of(seed), SIZES) is not None for seed in range(10)) in (0, 1, 2)


def test_a_folder_that_holds_other_things_keeps_them(tmp_path: Path) -> None:
    """`tile_cache.path` may by mistake be a folder of shards: they are not entries, so none is evicted."""
    shard = tmp_path / "shards" / "000.tar"
    shard.parent.mkdir()
    shard.write_bytes(bytes(100_000))
    cache = open_at(tmp_path, max_bytes=20_000)
    for seed in range(10):
        cache.put(name_of(seed), tiles_of(seed))
    assert shard.read_bytes() == bytes(100_000)
    assert 10_000 < used(tmp_path) <= 20_000


def test_a_writer_and_prune_do_not_meet(tmp_path: Path) -> None:
    """`prune` removes empty folders; one that a writer has just made for its entry is none."""
    cache = open_at(tmp_path, max_bytes=10**6)
    done = threading.Event()

    def prune() -> None:
        while not done.is_set():
            prune_cache(tmp_path, max_bytes=0)

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for seed in range(200):
            cache.put(name_of(seed), tiles_of(seed % 3))
            open_at(tmp_path)
            cache_info(tmp_path)
    finally:
        done.set()
        thread.join()
    cache.put(name_of(0), tiles_of(0))
    assert same(cache.get(name_of(0), SIZES), tiles_of(0))


def test_an_entry_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = open_at(tmp_path, max_bytes=1000)
    cache.put(name_of(0), tiles_of(0))
    assert list(entries_of(tmp_path)) == []


def test_what_a_killed_writer_left_goes_first(tmp_path: Path) -> None:
    size = 40 * 30 * 3 + 17 * 5 * 3 + 56 * 28 + 200
    cache = open_at(tmp_path, max_bytes=12 * size)
    cache.put(name_of(0), tiles_of(0))
    only_entry(tmp_path).with_name(TEMP_PREFIX + "x").write_bytes(bytes(8 * size))
    (tmp_path / USAGE).unlink()
    for seed in range(10):
        cache.put(name_of(seed), tiles_of(seed))
    assert all(same(cache.get(name_of(seed), SIZES), tiles_of(seed)) for seed in range(10))


@pytest.mark.parametrize("usage", [b"", b"123", (10**15).to_bytes(8, "little")])
def test_a_wrong_count_is_counted_again(tmp_path: Path, usage: bytes) -> None:
    cache = open_at(tmp_path, max_bytes=100_000)
    cache.put(name_of(0), tiles_of(0))
    (tmp_path / USAGE).write_bytes(usage)
    cache.put(name_of(1), tiles_of(1))
    assert same(cache.get(name_of(0), SIZES), tiles_of(0))
    assert same(cache.get(name_of(1), SIZES), tiles_of(1))
    assert int.from_bytes((tmp_path / USAGE).read_bytes(), "little") == used(tmp_path)


def test_a_cache_that_cannot_be_written_says_so_once(
    cache: TileCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / f"v2-{POLICY}"
    (folder / name_of(0)[:2]).write_bytes(b"a file where a folder should be")
    with caplog.at_level(logging.WARNING, logger="wdstream"):
        for _ in range(3):
            cache.put(name_of(0), tiles_of(0))
            assert cache.get(name_of(0), SIZES) is None
    writes = [record.message for record in caplog.records if "no more tiles are kept" in record.message]
    assert len(writes) == 1
    assert str(folder) in writes[0]


def test_the_folder_is_made_or_named(tmp_path: Path) -> None:
    settings = PixelSettings(tile_cache=TileCacheSettings(path=tmp_path / "a" / "b", max_bytes=10**6))
    assert isinstance(open_cache(settings, tiling="t", max_pixels=1), TileCache)
    assert open_cache(PixelSettings(), tiling="t", max_pixels=1) is None
    (tmp_path / "file").write_bytes(b"")
    settings = PixelSettings(tile_cache=TileCacheSettings(path=tmp_path / "file", max_bytes=10**6))
    with pytest.raises(ConfigError, match=r"tile_cache\.path .*file: .*name a folder to write to"):
        open_cache(settings, tiling="t", max_pixels=1)


def work(path: Path, max_bytes: int, seed: int) -> tuple[int, int]:
    """One of several processes on one cache: hits and wrong hits over some epochs."""
    cache = open_at(path, max_bytes=max_bytes, policy=POLICY if seed % 2 else "b" * 16)
    hits = wrong = 0
    for number in np.random.default_rng(seed).integers(0, 30, 300).tolist():
        found = cache.get(name_of(number), SIZES)
        if found is None:
            cache.put(name_of(number), tiles_of(number))
        else:
            hits += 1
            wrong += not same(found, tiles_of(number))
    return hits, wrong


def test_many_processes_at_once(tmp_path: Path) -> None:
    max_bytes = 20 * (40 * 30 * 3 + 17 * 5 * 3 + 56 * 28 + 200)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        results = [pool.submit(work, tmp_path, max_bytes, seed) for seed in range(4)]
        counts = [result.result() for result in results]
    assert all(wrong == 0 for _, wrong in counts)
    assert sum(hits for hits, _ in counts) > 100
    assert used(tmp_path) <= max_bytes
