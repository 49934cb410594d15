"""The order of paths, and what a listed file costs in memory."""

import gc
import tracemalloc
from pathlib import Path

import pytest

from wdstream.raw.listing import list_files

_NAMES = ("b.jpg", "b/a.jpg", "b/a.txt", "b-c/a.jpg", "b.d/x/y.jpg", "b.d/x.jpg", "b0.jpg", "b/x/a.jpg", "b/x.png")


def make_pages(raw: Path, num_pages: int, per_folder: int) -> None:
    """Images, each with its text, which are never opened."""
    for number in range(num_pages):
        folder = raw / f"scans{number // per_folder:04d}"
        if number % per_folder == 0:
            folder.mkdir(parents=True)
        (folder / f"page{number:07d}.jpg").touch()
        (folder / f"page{number:07d}.txt").touch()


def test_files_and_stamps_are_in_the_order_of_whole_paths(tmp_path: Path) -> None:
    for name in _NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    listing = list_files(tmp_path)
    assert [file.path for file in listing.files] == sorted(name for name in _NAMES if not name.endswith("txt"))
    assert [*listing.stamps] == sorted(_NAMES) and len(listing.stamps) == len(_NAMES)
    assert listing.stamps["b/a.txt"].startswith("7 ") and "b/b.txt" not in listing.stamps


def memory(raw: Path, num_pages: int) -> tuple[int, int]:
    """Bytes that a listing holds, and most that it held meanwhile."""
    gc.collect()
    tracemalloc.start()
    listing = list_files(raw)
    measured = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing.files) == num_pages
    return measured


def test_a_listed_page_costs_few_bytes(tmp_path: Path) -> None:
    make_pages(tmp_path / "few", 2048, 512)
    make_pages(tmp_path / "many", 6144, 512)
    list_files(tmp_path / "few")  # what is loaded once is not counted
    (few, most_of_few), (many, most_of_many) = memory(tmp_path / "few", 2048), memory(tmp_path / "many", 6144)
    assert many - few < 4096 * 150 and most_of_many - most_of_few < 4096 * 200


@pytest.mark.slow
def test_a_million_pages_are_listed_in_little_memory(tmp_path: Path) -> None:
    make_pages(tmp_path, 1_000_000, 1000)
    kept, most = memory(tmp_path, 1_000_000)
    assert kept < 150 << 20 and most < 200 << 20
