"""The index of a URL through a cache: columns fetched once on a machine, mapped by each process, checked like all."""

import logging
import mmap
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.fake_shards import pages, write_shards
from tests.helpers.faulty_server import FaultyServer, failing
from tests.helpers.kills import killed
from tests.helpers.waiting import HANGS_AFTER_S
from wdstream.shards.index import merge_index
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_token_column
from wdstream.storage.cache.folder import open_cache_folder
from wdstream.storage.cache.settings import CacheSettings

pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")

TOKENIZER = "ab" * 8
_NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_shards(tmp_path / "f", {"s-0.tar": pages("a", 30), "s-1.tar": pages("b", 20)})
    merge_index(folder)
    write_token_column(folder, TOKENIZER, range(50))
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FaultyServer]:
    with failing(folder, rate=0) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CacheSettings]:
    open_cache_folder.cache_clear()
    yield CacheSettings(path=tmp_path / "cache", max_bytes=1 << 30, block_bytes=1 << 12)
    open_cache_folder.cache_clear()


def columns_of(files: IndexFiles) -> dict[str, list[object]]:
    return {name: files.column(name).tolist() for name in files.catalog.columns}


def kept(cache: CacheSettings) -> list[Path]:
    return sorted((cache.path / "v1" / "columns").iterdir())


def test_the_second_process_maps_what_the_first_fetched(
    server: FaultyServer, folder: Path, cache: CacheSettings
) -> None:
    wanted = columns_of(IndexFiles(folder))
    assert columns_of(IndexFiles(server.url, cache=cache)) == wanted
    assert server.asked == len({*kept(cache)}) + 1  # and index.json
    server.asked = 0
    shards = Shards.open(server.url, cache=cache)
    assert columns_of(shards._files) == wanted
    assert server.asked == 0
    base: object = shards.offset.base
    assert isinstance(base, memoryview)
    assert isinstance(base.obj, mmap.mmap)
    assert shards.tokens(TOKENIZER).tolist() == list(range(50))


@pytest.mark.parametrize("place", ["header", "entries", "end"])
def test_a_damaged_file_is_fetched_again(place: str, server: FaultyServer, folder: Path, cache: CacheSettings) -> None:
    wanted = columns_of(IndexFiles(folder))
    IndexFiles(server.url, cache=cache).tokens(TOKENIZER)
    for path in kept(cache):
        data = bytearray(path.read_bytes())
        if place == "end":
            data = data[:-3]
        else:
            data[{"header": 20, "entries": -3}[place]] ^= 1
        path.unlink()  # another file, as mapped ones must not shrink
        path.write_bytes(data)
    server.asked = 0
    assert columns_of(IndexFiles(server.url, cache=cache)) == wanted
    assert server.asked == len(kept(cache))
    server.asked = 0
    assert columns_of(IndexFiles(server.url, cache=cache)) == wanted
    assert server.asked == 0


def test_answers_that_were_damaged_are_not_kept(server: FaultyServer, folder: Path, cache: CacheSettings) -> None:
    server.faults, server.rate = ["flipped"], 0.3
    assert columns_of(IndexFiles(server.url, cache=cache)) == columns_of(IndexFiles(folder))
    assert server.failed["flipped"] > 2
    server.rate = server.asked = 0
    assert columns_of(IndexFiles(server.url, cache=cache)) == columns_of(IndexFiles(folder))


def test_an_index_that_changed_is_another(server: FaultyServer, folder: Path, cache: CacheSettings) -> None:
    IndexFiles(server.url, cache=cache).tokens(TOKENIZER)
    write_token_column(folder, TOKENIZER, range(1, 51))
    server.etags = ['"another"']
    assert IndexFiles(server.url, cache=cache).tokens(TOKENIZER).tolist() == list(range(1, 51))


def test_a_cache_without_room_leaves_columns_in_memory(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = write_shards(tmp_path / "large", {"s-0.tar": pages("a", 4000, payload=1)})
    merge_index(large)
    url, wanted = f"file://{large}", columns_of(IndexFiles(large))
    small = CacheSettings(path=tmp_path / "small", max_bytes=1 << 15, block_bytes=1 << 12)
    assert columns_of(IndexFiles(url, cache=small)) == wanted
    assert 0 < sum(path.stat().st_size for path in kept(small)) <= 1 << 15
    (tmp_path / "file").touch()
    nowhere = CacheSettings(path=tmp_path / "file" / "cache", max_bytes=1 << 30)
    with caplog.at_level(logging.WARNING):
        assert columns_of(IndexFiles(url, cache=nowhere)) == wanted
    assert caplog.text.count("cannot be written to") == 1


def test_killed_at_any_write(folder: Path, cache: CacheSettings) -> None:
    """By way of fsspec's files, which work in forked children."""
    wanted = columns_of(IndexFiles(folder))
    moment = 1

    def read(_: Path) -> None:
        assert columns_of(IndexFiles(f"file://{folder}", cache=cache)) == wanted

    while killed(cache.path, read, moment):
        assert columns_of(IndexFiles(f"file://{folder}", cache=cache)) == wanted
        assert not list(cache.path.rglob("*.writing"))
        for path in [*kept(cache), cache.path / "v1" / "usage"]:
            path.unlink()
        moment += 7  # of about 80
    assert moment > 40


def test_columns_count_in_the_bound_and_old_ones_go_first(
    server: FaultyServer, folder: Path, cache: CacheSettings
) -> None:
    files = IndexFiles(server.url, cache=cache)
    used = int.from_bytes((cache.path / "v1" / "usage").read_bytes(), "little")
    assert used >= sum(path.stat().st_size for path in kept(cache)) > 0
    week = 8 * 24 * 3600
    for path in kept(cache)[:5]:
        os.utime(path, (path.stat().st_atime - week, path.stat().st_mtime - week))
    old = kept(cache)[:5]
    tight = cache.replace(max_bytes=max(used + 10, 8 << 12))
    room = tight.max_bytes - used
    open_cache_folder(tight).keep(cache.path / "v1" / "files" / "x" / "block", [bytes(room + 400)])
    assert [path.exists() for path in old].count(False) >= 1
    assert {*kept(cache)} >= {path for path in kept(cache) if path not in old}
    assert np.array_equal(files.column("offset"), IndexFiles(folder).column("offset"))


def test_columns_that_are_no_files(server: FaultyServer, folder: Path, cache: CacheSettings) -> None:
    wanted = columns_of(IndexFiles(folder))
    assert columns_of(IndexFiles(server.url, cache=cache)) == wanted
    for path in kept(cache):
        path.unlink()
        path.mkdir()
    assert columns_of(IndexFiles(server.url, cache=cache)) == wanted


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
def test_a_cache_that_another_user_filled_is_read(server: FaultyServer, folder: Path) -> None:
    """To mark a file as used takes the right to write it: without, columns were read from the store again."""
    wanted = columns_of(IndexFiles(folder))
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        cache = CacheSettings(path=Path(made) / "cache", max_bytes=1 << 30, block_bytes=1 << 12)
        columns_of(IndexFiles(server.url, cache=cache))
        server.asked = 0
        context = multiprocessing.get_context("fork")
        reader, writer = context.Pipe(duplex=False)

        def read() -> None:
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            writer.send(columns_of(IndexFiles(server.url, cache=cache)))

        process = context.Process(target=read)
        process.start()
        assert reader.poll(HANGS_AFTER_S)
        assert reader.recv() == wanted
        process.join()
        assert server.asked == 0
