import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.errors import ConfigError
from wdstream.pixels.cache_usage import (
    TEMP_PREFIX,
    USAGE,
    cache_info,
    entries_of,
    folders_by_use,
    locked_usage,
    prune_cache,
)
from wdstream.pixels.settings import TileCacheSettings
from wdstream.pixels.tile_cache import TileCache, entry_name
from wdstream.storage.lock import FileLock

OLD, NEW = "a" * 16, "b" * 16
TILE = np.full((100, 100, 3), 9, np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three entries of an old policy, five of a new one, and what a killed writer left."""
    for age, policy, count in ((200, OLD, 3), (100, NEW, 5)):
        cache = TileCache(TileCacheSettings(path=tmp_path, max_bytes=10**7), policy)
        for number in range(count):
            cache.put(entry_name(b"%d" % number), [TILE])
        os.utime(tmp_path / f"v2-{policy}", (10**9 - age, 10**9 - age))
    next(entries_of(tmp_path)).path.with_name(TEMP_PREFIX + "x").write_bytes(b"half")
    return tmp_path


def test_info(path: Path) -> None:
    info = cache_info(path)
    assert [(use.folder, use.num_entries) for use in info.policies] == [(f"v2-{OLD}", 4), (f"v2-{NEW}", 5)]
    assert info.num_bytes == sum(entry.size for entry in entries_of(path))
    console = Console(width=100, record=True)
    info.print(console)
    text = console.export_text()
    assert f"v2-{OLD} " in text
    assert "│ all " in text


def test_prune_keeps_the_policy_used_last(path: Path) -> None:
    report = prune_cache(path)
    assert report.num_removed == 4
    assert {entry.folder for entry in entries_of(path)} == {f"v2-{NEW}"}
    assert [part.name for part in path.iterdir() if part.is_dir()] == [f"v2-{NEW}"]
    assert report.bytes_left == sum(entry.size for entry in entries_of(path))
    assert int.from_bytes((path / USAGE).read_bytes(), "little") == report.bytes_left
    console = Console(width=200, record=True)
    report.print(console)
    assert "4 entries removed, 0.1 MiB; 0.1 MiB left" in console.export_text()


@pytest.mark.parametrize(("max_bytes", "left"), [(10**7, 8), (200_000, 6), (70_000, 2), (0, 0)])
def test_prune_to_a_size(path: Path, max_bytes: int, left: int) -> None:
    report = prune_cache(path, max_bytes=max_bytes)
    entries = list(entries_of(path))
    assert len(entries) == left
    assert report.bytes_left == sum(entry.size for entry in entries) <= max_bytes
    assert sum(entry.folder == f"v2-{NEW}" for entry in entries) == min(left, 5)


def test_a_prune_is_no_use_of_a_policy(path: Path) -> None:
    """Entries of the old policy are left: it is still the one that goes first."""
    prune_cache(path, max_bytes=200_000)
    assert folders_by_use(path) == [f"v2-{OLD}", f"v2-{NEW}"]
    prune_cache(path)
    assert {entry.folder for entry in entries_of(path)} == {f"v2-{NEW}"}


def test_prune_leaves_what_is_not_its_own(path: Path) -> None:
    others = [path / "shards" / "000.tar", path / f"v2-{OLD}" / "notes.txt", path / f"v2-{OLD}" / "ab" / "notes.txt"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(b"not ours")
    (path / "empty").mkdir()
    num_bytes = cache_info(path).num_bytes
    assert prune_cache(path, max_bytes=0).bytes_removed == num_bytes
    assert [other.read_bytes() for other in others] == [b"not ours"] * 3
    assert (path / "empty").is_dir()


def test_a_cache_in_use_continues_after_a_prune(path: Path) -> None:
    cache = TileCache(TileCacheSettings(path=path, max_bytes=10**7), NEW)
    prune_cache(path, max_bytes=0)
    assert list(path.iterdir()) == [path / USAGE]
    assert cache.get(entry_name(b"0"), [(100, 100)]) is None
    cache.put(entry_name(b"0"), [TILE])
    assert cache.get(entry_name(b"0"), [(100, 100)]) is not None


def test_the_commands(path: Path) -> None:
    """`wdstream cache info` and `prune`, as typed."""
    info = CliRunner().invoke(app, ["cache", "info", str(path)], env={"COLUMNS": "200"})
    assert info.exit_code == 0
    assert f"v2-{OLD}" in info.stdout
    assert f"v2-{NEW}" in info.stdout
    pruned = CliRunner().invoke(app, ["cache", "prune", str(path), "--max-bytes", "70000"])
    assert pruned.exit_code == 0
    assert "7 entries removed" in pruned.stdout
    assert sum(entry.size for entry in entries_of(path)) <= 70_000


def test_no_cache(tmp_path: Path) -> None:
    for call in (cache_info, prune_cache):
        with pytest.raises(ConfigError, match="no tile cache there"):
            call(tmp_path)
        with pytest.raises(ConfigError, match="no tile cache there"):
            call(tmp_path / "nowhere")


def test_a_process_that_was_forked_meanwhile_does_not_hold_the_cache(path: Path) -> None:
    with locked_usage(path):
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
    try:
        with FileLock(path / USAGE, wait_s=0):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
