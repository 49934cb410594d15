"""The folder of a cache: what is held, what goes first, and claims that end with their holder."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.cache_hits import share_of_hits
from wdstream.storage.cache.folder import CacheFolder, KeptFile, eviction, open_cache_folder
from wdstream.storage.cache.settings import CacheSettings

DAY = 24 * 3600.0
NOW = 1e9


@pytest.fixture
def settings(tmp_path: Path) -> CacheSettings:
    return CacheSettings(path=tmp_path / "cache", max_bytes=40_000, block_bytes=1 << 12)


def kept(name: str, *, age: float, size: int = 10, is_column: bool = False) -> KeptFile:
    return KeptFile(path=Path("f") / name, size=size, used=NOW - age, is_column=is_column)


def test_what_goes_first() -> None:
    old_column, new_column = (kept(str(days), age=days * DAY, is_column=True) for days in (8, 1))
    blocks = [kept(f"b-{number}", age=float(number)) for number in range(20)]
    order = eviction([new_column, *blocks, old_column], recent_bytes=50, now=NOW)
    assert order[0] == old_column
    assert order[-1] == new_column
    assert order[-6:-1] == blocks[4::-1]  # the five used last, the longest unused first
    others = order[1:-6]
    assert {*others} == {*blocks[5:]}
    assert others != sorted(others, key=lambda file: file.used)
    used_otherwise = [kept(f"b-{number}", age=float(25 - number)) for number in range(5, 20)]
    again = eviction(used_otherwise, recent_bytes=0, now=NOW)
    assert [file.path for file in again] == [file.path for file in others]  # the same, however they were used


def test_files_within_the_bound(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    for number in range(150):
        folder.keep(folder.files / "x" / f"{number}", [b"head", bytes(900)])
        sizes = [path.stat().st_size for path in folder.files.glob("*/*")]
        assert sum(sizes) <= settings.max_bytes
    assert len(sizes) >= 8
    folder.keep(folder.files / "x" / "large", [bytes(39_000)])
    assert not (folder.files / "x" / "large").exists()
    assert folder.is_writable


def test_a_cache_of_half_the_data_keeps_a_fixed_share(tmp_path: Path) -> None:
    # 0.4; one that drops what was used longest ago has 0.125
    assert share_of_hits(tmp_path, block_bytes=1 << 12, num_blocks=400) > 0.3
    open_cache_folder.cache_clear()


def test_a_wrong_count_is_counted_again(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    folder.keep(folder.files / "x" / "1", [bytes(100)])
    for torn in (b"", b"abc", (50_000).to_bytes(8, "little")):
        (settings.path / "v1" / "usage").write_bytes(torn)
        folder.keep(folder.files / "x" / "2", [bytes(100)])
        assert (settings.path / "v1" / "usage").read_bytes() == (200).to_bytes(8, "little")
        (folder.files / "x" / "2").unlink()


def test_what_a_killed_process_began_goes(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    assert folder.begin(folder.columns / "dead", 16_000)
    with folder.claim(folder.claim_of("alive"), waits=True):
        assert folder.begin(folder.columns / "alive", 16_000)
        for number in range(10):
            folder.keep(folder.files / "x" / str(number), [bytes(4_000)])
        assert [path.name for path in folder.columns.iterdir()] == ["alive.writing"]


def test_a_claim_is_held_by_one(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    claim = folder.claim_of("x")
    with folder.claim(claim, waits=False) as is_mine, CacheFolder(settings).claim(claim, waits=False) as is_again:
        assert (is_mine, is_again) == (True, False)
    with folder.claim(claim, waits=False) as is_mine:
        assert is_mine


def test_a_forked_child_holds_no_claim_of_its_parent(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    claim = folder.claim_of("x")
    with folder.claim(claim, waits=False):
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
    try:
        with folder.claim(claim, waits=False) as is_mine:
            assert is_mine
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lower_bound_holds_from_the_start(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    for number in range(9):
        folder.keep(folder.files / "x" / str(number), [bytes(4_000)])
    open_cache_folder(settings)
    assert len([*folder.files.glob("x/*")]) == 9
    open_cache_folder(settings.replace(max_bytes=33_000))
    assert len([*folder.files.glob("x/*")]) == 7


def test_what_cannot_be_removed_is_passed_over(settings: CacheSettings, caplog: pytest.LogCaptureFixture) -> None:
    folder = CacheFolder(settings)
    for strange in (folder.files / "x" / "folder", folder.columns / "folder"):
        strange.mkdir(parents=True)
    for number in range(30):
        folder.keep(folder.files / "x" / str(number), [bytes(4_000)])
    assert (folder.files / "x" / "29").exists()
    assert not caplog.text


def test_a_clock_that_was_wrong_keeps_nothing(settings: CacheSettings) -> None:
    folder = CacheFolder(settings)
    for name in ("before", "now"):
        for number in range(4):
            folder.keep(folder.files / name / str(number), [bytes(4_000)])
    for path in folder.files.glob("before/*"):
        os.utime(path, (time.time() + DAY, time.time() + DAY))
    folder.window_bytes = 16_000
    folder.keep(folder.files / "more", [bytes(16_000)])
    assert len([*folder.files.glob("now/*")]) == 4
