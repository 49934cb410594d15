"""data.cache against the folder: CPU time of a warm cache, what a start reads of a store, how often a small cache hits.

    python tools/bench_cache.py [SHARDS] [--model M] [--rounds 7] [--rows 10000000]

Warm: the same pages, from a folder and from a cache of a URL, in alternating rounds; medians of the ratios of CPU time,
of the reader alone (ranges, checksums, members) and of the whole stream (decoded, cut, encoded).
Start: the first process of a node, and the second, open an index of many rows on a web server of this machine, and
read the columns that a plan needs; requests and bytes are counted there, the resident memory here.
Small: an epoch of random blocks after another, through a cache that has room for half of them.

Exit status 1 when a figure wanted by the project is missed.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from rich.console import Console

from bench_index import TOKENIZER, write_index
from data_set import data_parser, open_data
from tests.helpers.cache_hits import share_of_hits
from tests.helpers.faulty_server import failing
from wanted import Line, show
from wdstream.families.registry import load_family
from wdstream.pipeline.planned import Plan
from wdstream.shards.reader import Shards
from wdstream.storage.cache.settings import CacheSettings
from wdstream.tiling.policy import TilingPolicy

WANTED_OVERHEAD = 1.10
WANTED_HITS = 0.4
RANKS_OF_A_NODE, RANKS = 8, 64
GIGA = 1e9


def warm_lines(folder: Path, model: Path, cache: CacheSettings, rounds: int) -> list[Line]:
    """CPU time of a warm cache over that of the folder."""
    here, there = Shards.open(folder), Shards.open(f"file://{folder}", cache=cache)
    lines = []
    reader = (("reader", read_all, len(here) * repeats_of(here)), ("stream", stream_all(model), len(here)))
    for what, make, num_pages in reader:
        runs = [make(shards) for shards in (here, there)]
        for run in runs:
            run()  # fills the cache, compares its checksums, imports
        ratios, times = [], []
        for number in range(rounds):
            found = {}
            for which in (0, 1) if number % 2 else (1, 0):
                start = time.process_time()
                runs[which]()
                found[which] = time.process_time() - start
            ratios.append(found[1] / found[0])
            times.append(found[1] / num_pages)
        ratio = statistics.median(ratios)
        lines.append(
            Line(
                what=f"warm cache over folder, {what}",
                found=f"{ratio:.3f} ({statistics.median(times) * 1e3:.3f} ms of CPU per page)",
                wanted=f"<= {WANTED_OVERHEAD}",
                is_met=ratio <= WANTED_OVERHEAD,
            )
        )
    return lines


def read_all(shards: Shards) -> Callable[[], object]:
    """Every page once, at random, ten together."""
    rows = random.Random(0).sample(range(len(shards)), len(shards))
    groups = [rows[start : start + 10] for start in range(0, len(rows), 10)]
    return lambda: [shards.read_pages(group) for _ in range(repeats_of(shards)) for group in groups]


def repeats_of(shards: Shards) -> int:
    """How often all pages are read, so that their time can be measured."""
    return max(1, 4000 // len(shards))


def stream_all(model: Path) -> Callable[[Shards], Callable[[], object]]:
    """The whole stream over an epoch."""

    def make(shards: Shards) -> Callable[[], object]:
        settings = {"sequence_length": 8192, "max_patches": 40_000, "global_batch_size": 1, "epochs": 1}
        plan = Plan(shards, load_family(model), TilingPolicy(), **settings)  # type: ignore[arg-type]

        def run() -> None:
            with plan.loader(workers=0, prefetch=0) as loader:
                for _ in islice(loader, 10):
                    pass

        return run

    return make


START = """
import resource, sys, time
from pathlib import Path
from wdstream.shards.reader import Shards
from wdstream.storage.cache.settings import CacheSettings
url, cache, tokenizer = sys.argv[1:]
start, cpu = time.perf_counter(), time.process_time()
cache = CacheSettings(path=Path(cache), max_bytes=1 << 50) if cache else None
shards = Shards.open(url, cache=cache)
for name in shards.catalog.column_shapes():
    getattr(shards, name)
shards.tokens(tokenizer)
own = sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
print(time.perf_counter() - start, time.process_time() - cpu, own)
"""


def start_lines(index: Path, rows: int, cache: Path) -> list[Line]:
    """What the processes of a node read of a store before they plan: with a cache, and without."""
    lines: list[Line] = []
    with failing(index, rate=0) as server:
        for what, path in (("first process", cache), ("second process", cache), ("a process without a cache", "")):
            server.asked = server.bytes_sent = 0
            command = [sys.executable, "-c", START, server.url, str(path), TOKENIZER]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, cpu, own = map(float, done.stdout.split())
            lines.append(
                Line(
                    what=f"start over {rows:,} rows, {what}",
                    found=f"{server.asked} GETs, {server.bytes_sent / 1e6:,.1f} MB, {seconds:.1f} s, "
                    f"{cpu:.1f} s of CPU, {own / 1e3:,.0f} MB of its own memory",
                )
            )
            if what == "second process":
                lines.append(
                    Line(
                        what="  GETs of the second process",
                        found=f"{server.asked}",
                        wanted="0",
                        is_met=server.asked == 0,
                    )
                )
            if what == "first process":
                per_row = server.bytes_sent / rows
    nodes = RANKS // RANKS_OF_A_NODE
    each = per_row * 1e8 / GIGA
    found = f"{each:.2f} GB per node, {nodes * each:.1f} GB of {nodes} nodes; without {RANKS * each:.0f} GB"
    return [*lines, Line(what=f"{RANKS} ranks over 100,000,000 rows, at these bytes per row", found=found)]


def small_lines(folder: Path) -> list[Line]:
    """How many blocks of a second epoch a cache has that holds half of the data, most of it not read just before."""
    share = share_of_hits(folder, block_bytes=1 << 14, num_blocks=2000)
    return [
        Line(
            what="a cache of half the data, third epoch",
            found=f"{share:.0%} of blocks are there",
            wanted=f">= {WANTED_HITS:.0%}",
            is_met=share >= WANTED_HITS,
        )
    ]


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = data_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=10_000_000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # CPU time is then that of one core
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards, model = open_data(options.data, options.model, folder)
        cache = CacheSettings(path=folder / "cache", max_bytes=1 << 50)
        lines = warm_lines(shards, model, cache, options.rounds) + small_lines(folder)
        if options.rows:
            (folder / "large").mkdir()
            write_index(folder / "large", options.rows)
            lines += start_lines(folder / "large", options.rows, folder / "start")
        missed = show(lines, f"data.cache, {shards}", console)
    console.print(f"missed: {', '.join(missed)}" if missed else "no wanted figure is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
