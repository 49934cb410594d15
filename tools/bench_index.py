"""Opening an index of 10 million pages, and checking its columns; next to how it was before columns were listed.

    python tools/bench_index.py [--pages 10000000] [--rounds 5]

The index is a real one: the columns of pages like those of a document corpus, written and listed as `wdstream index`
does. Its shards are not there, since nothing here reads a tar. CPU times of one process, the two ways by turns.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from page_like import COLUMNS, write_columns
from wanted import Wanted
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON, Catalog
from wdstream.shards.column_files import ColumnWriter
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.meta import ShardEntry
from wdstream.storage.atomic import atomic_write

SHARD_SAMPLES = 10_000
TOKENIZER = "ab" * 8
PLANNED = ("num_images", "image_start", "image_width", "image_height", "text_bytes", "text_chars", "starts_with_text")
console = Console(width=140)


def write_index(folder: Path, pages: int) -> None:
    """An index of `pages` pages, complete but for its shards."""
    with tempfile.TemporaryDirectory(prefix="bench_index") as work:
        write_columns(Path(work), pages)
        made = {name: np.load(Path(work) / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
        counts = [min(SHARD_SAMPLES, pages - start) for start in range(0, pages, SHARD_SAMPLES)]
        sizes = np.full(pages, 290_304, "<i8")
        places = np.arange(pages, dtype="<i8")
        columns: dict[str, NDArray[np.generic]] = {
            **{name: made[name] for name in PLANNED if name in made},
            "shard": np.repeat(np.arange(len(counts), dtype="<i4"), counts),
            "offset": places % SHARD_SAMPLES * 290_304,
            "nbytes": sizes,
            "crc": (places * 2_654_435_761).astype("<u4"),
            "key_hash": places.astype("<u8") * np.uint64(0x9E3779B97F4A7C15),
            "starts_with_text": np.zeros(pages, "u1"),
            "image_start": np.arange(pages + 1, dtype="<i8"),
            f"tokens.{TOKENIZER}": made["tokens"],
        }
        shards = tuple(
            ShardEntry(
                name=f"shard-{number:06d}.tar", samples=count, bytes=count * 290_304 + 10_240, digest=f"{number:032x}"
            )
            for number, count in enumerate(counts)
        )
        catalog = Catalog(shards=shards, num_samples=pages, num_images=pages)
        shapes = catalog.column_shapes()
        (folder / INDEX_FOLDER).mkdir()
        entries = {}
        for name, column in columns.items():
            with atomic_write(folder / INDEX_FOLDER / f"{name}.npy") as file:
                writer = ColumnWriter(file, shapes[name][0] if name in shapes else np.dtype("<i4"))
                writer.write(column)
                entries[name] = writer.finish()
        (folder / INDEX_FOLDER / INDEX_JSON).write_bytes(catalog.with_columns(entries).to_json())


def open_only(folder: Path) -> None:
    """Opening: types, lengths and sizes of all columns."""
    IndexFiles(folder)


def open_and_check_plan(folder: Path) -> None:
    """What a plan uses, checked."""
    files = IndexFiles(folder)
    for name in PLANNED:
        files.column(name)
    files.tokens(TOKENIZER)


def open_and_check_all(folder: Path) -> None:
    """Every column, checked."""
    files = IndexFiles(folder)
    for name in files.catalog.columns:
        files.column(name)


def map_only(folder: Path) -> None:
    """As it was: each column mapped, its type and length compared."""
    for path in sorted((folder / INDEX_FOLDER).glob("*.npy")):
        np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def cpu_s(work: Callable[[Path], None], folder: Path) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    work(folder)
    return time.process_time() - started


def main() -> None:
    """Measure, print, and exit with 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    wanted = Wanted(console)
    with tempfile.TemporaryDirectory(prefix="bench_index") as name:
        folder = Path(name)
        write_index(folder, options.pages)
        ways = (map_only, open_only, open_and_check_plan, open_and_check_all)
        times: dict[Callable[[Path], None], list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way in ways:
                times[way].append(cpu_s(way, folder))
        best = {way: min(found) for way, found in times.items()}
        size = sum(path.stat().st_size for path in (folder / INDEX_FOLDER).iterdir())
    console.print(f"index of {options.pages:,} pages, {size / 1e6:,.0f} MB; before: {best[map_only] * 1000:.1f} ms")
    wanted.check("opening", best[open_only], 0.1, at_least=False, unit=" s")
    wanted.check("opening, and checking what a plan uses", best[open_and_check_plan], 1.0, at_least=False, unit=" s")
    wanted.check("opening, and checking every column", best[open_and_check_all], 1.0, at_least=False, unit=" s")
    sys.exit(bool(wanted.missed))


if __name__ == "__main__":
    main()
