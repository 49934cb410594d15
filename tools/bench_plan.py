"""The plan measured: speed and memory at 10 million pages, fill compared with other packers, balance and shuffling.

    python tools/bench_plan.py [--pages 10000000] [--sample 100000] [--part scale|packers|balance]

scale    index of --pages pages in mapped files; a process of its own on one core plans an epoch of them
packers  the plan's packer and those of other loaders, on the lengths of the same --sample pages
balance  8 ranks, 8 packs per rank and step: slowest rank over mean; pages of one document in a step, and neighbours

It times the planner alone, not a run: tools/bench_run.py does that, by the entry points that training uses.

Times are CPU times of one process, so that other processes disturb them little. Exit status 1 when a figure wanted by
the project is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from packing_baselines import BASELINES, Size
from page_like import PageLikeColumns, QwenLengths, document_of, write_columns
from wanted import Wanted
from wdstream.plan.packer import Budget, Item, PoolPacker
from wdstream.plan.planner import Planner
from wdstream.plan.sample_stream import SampleStream
from wdstream.tiling.policy import TilingPolicy

SEQUENCE_LENGTH, POOL = 8192, 128
PATCH_MARGIN = 1.10  # the second budget: mean patches of a full pack, and a tenth more
console = Console(width=140)


def make_planner(columns: PageLikeColumns, **more: Any) -> Planner:
    """The plan of one epoch under the default tiling policy."""
    settings = {"sequence_length": SEQUENCE_LENGTH, "max_patches": 27_770, "global_batch_size": 64, "epochs": 1}
    return Planner(columns, QwenLengths(), TilingPolicy(), pool=POOL, **(settings | more))  # type: ignore[arg-type]


# ---------------------------------------------------------------- scale


def scale(pages: int, wanted: Wanted) -> None:
    """Plan an epoch of `pages` pages in a process of its own and print its figures."""
    with tempfile.TemporaryDirectory(prefix="bench_plan") as folder:
        write_columns(Path(folder), pages)
        command = [sys.executable, __file__, "--child", folder, "--pages", str(pages)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    console.print("scale: the planner alone; `tools/bench_run.py` times a run's start and steps", style="dim")
    console.print(f"scale: {pages:,} pages, {found['packs']:,} packs, fill {found['fill']:.2%}", style="bold")
    wanted.check("planned pages/s on one core", found["pages_per_second"], 120_000, at_least=True)
    wanted.check("whole epoch at 10 million pages, CPU", 1e7 / found["pages_per_second"], 90, at_least=False, unit=" s")
    wanted.check("largest resident memory, mapped index included", found["memory_mb"], 400, at_least=False, unit=" MB")
    wanted.check("first step from nothing", found["first_s"], 1.0, at_least=False, unit=" s")
    wanted.check("restore from a state", found["restore_ms"], 100, at_least=False, unit=" ms")
    wanted.check("state, JSON", found["state_bytes"], 2000, at_least=False, unit=" bytes")
    wanted.check("any step after a dry run", found["step_s"], 1.0, at_least=False, unit=" s")
    console.print(
        f"  next() of a step of 64 packs: median {found['next_ms'][0]:.2f} ms, p99 {found['next_ms'][1]:.2f} ms, "
        f"longest {found['next_ms'][2]:.1f} ms; without mapped files {found['anonymous_mb']:.0f} MB",
        highlight=False,
    )


def child(folder: Path, pages: int) -> None:
    """The process of `scale`: prints its figures as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    columns = PageLikeColumns(folder, pages)
    started = time.process_time()
    planner = make_planner(columns)
    steps = planner.steps()
    next(steps)
    first = time.process_time() - started
    times = list(_times(steps, 2000))
    steps.close()

    cpu = time.process_time()
    total = planner.total_steps() or 0
    cpu = time.process_time() - cpu
    memory, anonymous = _status_mb("VmHWM"), _status_mb("RssAnon")

    state = planner.state_after(total // 2)
    started = time.process_time()
    planner.step(total // 3 + 5)
    step = time.process_time() - started
    restores = []
    for _ in range(3):
        started = time.process_time()
        resumed = make_planner(columns).steps(state.to_json())
        resumed.fill()
        restores.append(time.process_time() - started)
    fills = [sum(pack.tokens) / SEQUENCE_LENGTH for step in islice(resumed, 200) for pack in step.packs]
    resumed.close()
    found = {
        "packs": total * 64,
        "fill": sum(fills) / len(fills),
        "pages_per_second": pages / cpu,
        "memory_mb": memory,
        "anonymous_mb": anonymous,
        "first_s": first,
        "restore_ms": min(restores) * 1000,
        "state_bytes": len(state.dumps()),
        "step_s": step,
        "next_ms": [float(value) * 1000 for value in np.percentile(times, [50, 99, 100])],
    }
    print(json.dumps(found))


def _times(steps: Iterator[Any], count: int) -> Iterator[float]:
    for _ in range(count):
        started = time.process_time()
        if next(steps, None) is None:
            return
        yield time.process_time() - started


def _status_mb(name: str) -> float:
    """A figure of this process's memory. (getrusage would give that of its parent, when that was larger.)"""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


# ---------------------------------------------------------------- packers


def packers(count: int, wanted: Wanted) -> None:
    """The plan's packer and others, on the same lengths in the same order."""
    with tempfile.TemporaryDirectory(prefix="bench_plan") as folder:
        columns = write_columns(Path(folder), count)
        items = _items(make_planner(columns, max_patches=10**9), count)
    tokens, patches = (sum(item[axis] for item in items) for axis in (1, 2))
    capacity = SEQUENCE_LENGTH, int(patches / tokens * SEQUENCE_LENGTH * PATCH_MARGIN)
    items = [item for item in items if item[2] <= capacity[1]]
    sizes = [(item[1], item[2]) for item in items]
    table = Table("packer", "fill", "packs/s", "pages/s", "longest wait", "cost spread", "step tokens spread", box=None)
    console.print(
        f"packers: {len(items):,} pages, {capacity[0]:,} tokens and {capacity[1]:,} patches per pack", style="bold"
    )
    ours = _row(table, f"wdstream, pool {POOL}", _pool_packs(items, capacity), items, capacity)
    for name, baseline in BASELINES.items():
        _row(table, name, _waits(baseline, sizes, capacity), items, capacity)
    console.print(table)
    wanted.check("fill under both budgets", ours, 0.97, at_least=True)


Timed = Callable[[], list[tuple[list[int], int]]]


def _items(planner: Planner, count: int) -> list[Item]:
    with ThreadPoolExecutor(max_workers=1) as sorter:
        stream = SampleStream(planner.mixture, planner.mixture.pass_start(0), 0, sorter)
        merged = iter(stream.merge, None)
        return list(islice((Item._make(values) for part in merged for values in part.T.tolist()), count))


def _pool_packs(items: Sequence[Item], capacity: Size) -> Timed:
    """Packs as places, each with how many packs its longest waiting sample waited."""
    numbered = [item._replace(sample=place) for place, item in enumerate(items)]

    def run() -> list[tuple[list[int], int]]:
        packer = PoolPacker(Budget(tokens=capacity[0], patches=capacity[1]))
        packs: list[tuple[list[int], int]] = []
        arrived = [0] * len(items)
        at = 0
        while at < len(items) or len(packer):
            missing = POOL - len(packer)
            packer.add(numbered[at : at + missing])
            arrived[at : at + missing] = [len(packs)] * len(arrived[at : at + missing])
            at += missing
            places = [item[0] for item in packer.pack()]
            packs.append((places, len(packs) - min(map(arrived.__getitem__, places))))
        return packs

    return run


def _waits(baseline: Callable[[Sequence[Size], Size], Iterator[list[int]]], sizes: list[Size], capacity: Size) -> Timed:
    """As `_pool_packs`; a sample of a window waits while the packs before it in the window go out."""

    def run() -> list[tuple[list[int], int]]:
        packs = list(baseline(sizes, capacity))
        ready, seen, waits = [0] * len(sizes), -1, []
        for number, places in enumerate(packs):  # a window is read when its first pack is wanted
            if max(places) > seen and min(places) > seen:
                first = number
            seen = max(seen, *places)
            for place in places:
                ready[place] = first
            waits.append(number - first)
        return list(zip(packs, waits, strict=True))

    return run


def _row(table: Table, name: str, run: Timed, items: Sequence[Item], capacity: Size) -> float:
    """Time a packer, add its line, return its fill."""
    seconds = []
    for _ in range(3):
        cpu = time.process_time()
        packs = run()
        seconds.append(time.process_time() - cpu)
    assert sorted(place for places, _ in packs for place in places) == list(range(len(items)))
    tokens = np.array([sum(items[place][1] for place in places) for places, _ in packs])
    patches = np.array([sum(items[place][2] for place in places) for places, _ in packs])
    assert tokens.max() <= capacity[0]
    assert patches.max() <= capacity[1]
    cost = QwenLengths.cost
    costs = np.array(
        [sum(cost.language(items[p][1]) + items[p][4] for p in places) for places, _ in packs], dtype=np.float64
    )
    steps = tokens[: len(tokens) // 64 * 64].reshape(-1, 64).sum(axis=1)
    fill = float(tokens.sum() / (len(packs) * capacity[0]))
    table.add_row(
        name,
        f"{fill:.2%}",
        f"{len(packs) / min(seconds):,.0f}",
        f"{len(items) / min(seconds):,.0f}",
        f"{max(wait for _, wait in packs):,} packs",
        f"{costs.std() / costs.mean():.3f}",
        f"{steps.std() / steps.mean():.4f}",
    )
    return fill


# ---------------------------------------------------------------- balance


def balance(count: int, wanted: Wanted) -> None:
    """How even 8 ranks are, and whether packing harmed the shuffling."""
    with tempfile.TemporaryDirectory(prefix="bench_plan") as folder:
        columns = write_columns(Path(folder), count)
        columns = PageLikeColumns(Path(folder), count, 1000)
        console.print("balance: 8 ranks, 64 packs per step", style="bold")
        for policy, limit in (("total", 1.02), ("phase", 1.05)):
            planner = make_planner(columns, deal=policy)
            factors = [planner.imbalance(step) for step in planner.steps(world_size=8)]
            p50, p99 = np.percentile(factors, [50, 99])
            wanted.check(f"{policy}: slowest / mean, median step", float(p50), limit, at_least=False)
            wanted.check(f"{policy}: slowest / mean, p99", float(p99), limit, at_least=False)
        planned = [np.array([s for pack in step.packs for s in pack.samples]) for step in make_planner(columns).steps()]
        items = _items(make_planner(columns), count)
    order = np.array([item[0] for item in items])
    plain = np.split(order, np.cumsum([len(step) for step in planned])[:-1])
    for name, pairs in (("of one document", _same_document), ("next to each other", _adjacent)):
        found, expected = (float(np.mean([pairs(step) for step in steps[:-1]])) for steps in (planned, plain))
        console.print(f"  pairs of pages {name} in a step: {found:.2f}, in the order without packing {expected:.2f}")
        wanted.check(f"pairs {name}, planned / unpacked", found / max(expected, 0.5), 1.1, at_least=False)


def _same_document(step: Any) -> int:
    counts = np.bincount(document_of(step))
    return int((counts * (counts - 1) // 2).sum())


def _adjacent(step: Any) -> int:
    return int((np.diff(np.sort(step)) == 1).sum())


def main() -> int:
    """Run the parts; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_000_000)
    parser.add_argument("--sample", type=int, default=100_000)
    parser.add_argument("--part", choices=("scale", "packers", "balance"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.pages)
        return 0
    wanted = Wanted(console)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        console.print(
            f"load {load:.1f} on {cores} cores: others share caches and cores, times are longer than on a free machine",
            style="yellow",
        )
    for name, run, size in (
        ("scale", scale, options.pages),
        ("packers", packers, options.sample),
        ("balance", balance, options.sample),
    ):
        if options.part in (None, name):
            run(size, wanted)
    if wanted.missed:
        console.print(f"missed: {', '.join(wanted.missed)}", style="red")
    return int(bool(wanted.missed))


if __name__ == "__main__":
    sys.exit(main())
