"""A training run measured by its real entry points: `open_run` to the first step, the gap between steps, a resume.

    python tools/bench_run.py [--pages 1000000] [--packs 64 1024 4096 16384] [--steps 40] [--step-s 0.4] [--long]

The shards are real ones: a tar of 10,000 small pages under as many names as `--pages` needs, and an index that lists
them all. Each figure is of a process of its own, which is rank 0 of as many ranks as a step has packs: it plans every
step of the run, and reads, decodes and trains one pack of each. A step takes `--step-s` seconds, in which the process
does what a GPU would: nothing. Imports and the loading of weights are timed, and left out of the start.

start    from the process's start until the first step's batches and rate are there
gap      from the end of a step to the moment when the next forward pass can begin (median and 99th percentile), and
         the CPU time of the training thread in it (median), which does not wait for other programs of the machine
cpu      of the process and the processes that it started, a step: planning, and the rank's own pack; and of those alone
         that it started, which plan
resume   the start again, from a checkpoint in the middle
memory   --long: resident memory of the rank, and of the process that plans, along 5,000 steps without pause

Times are of the wall, so run it on a machine that does nothing else. Exit status 1 when a wanted figure is missed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from wanted import Wanted

if TYPE_CHECKING:
    from wdstream.config.schema import Config
    from wdstream.families.base import Family
    from wdstream.train.setup import Run

BASE_PAGES = 10_000
SEQUENCE_LENGTH, MAX_PATCHES = 1024, 3072
LONG = (64, 512)
"""Packs per step of the runs whose memory is watched: planned in a thread, and by another process."""
MOST_PLANNED_CHEAPLY = 4096
"""Packs per step up to which planning is to take a tenth of a core, of steps of `--step-s`."""
console = Console(width=170)

CONFIG = """\
model: {{path: {folder}/model, dtype: float32}}
data:
  train: [{{path: {folder}/shards}}]
  sequence_length: {sequence_length}
  max_patches: {max_patches}
  global_batch_size: {packs}
  workers: 1
  {data}
tiling: {{kind: none}}
train: {{output: {output}, checkpoint_every: 1000000, keep_checkpoints: 2, log_every: 1, {train}}}
"""


# ---------------------------------------------------------------- shards


def write_shards(folder: Path, pages: int) -> None:
    """A tiny model, one real shard, and an index of as many copies of it as `pages` needs."""
    from wdstream.make_shards import MakeShardsOptions, make_shards
    from wdstream.testing.tiny.build import make_tiny_model

    make_tiny_model(folder / "model")
    write_raw(folder / "raw", min(pages, BASE_PAGES))
    options = MakeShardsOptions(tokenizer=folder / "model", workers=2, pages_per_shard=BASE_PAGES)
    make_shards(folder / "raw", folder / "one", options=options)
    shutil.rmtree(folder / "raw")
    repeat_shard(folder / "one", folder / "shards", max(pages // BASE_PAGES, 1))


def write_raw(folder: Path, count: int) -> None:
    """Pages with the proportions of real ones (page_like.py), a quarter of their size, blank."""
    from PIL import Image

    from page_like import FORMATS, SHARES

    rng = np.random.default_rng(5)
    folder.mkdir()
    for number in range(count):
        width, height = FORMATS[rng.choice(len(FORMATS), p=SHARES)] * rng.uniform(110, 170) / 72 / 4
        Image.new("L", (int(width), int(height)), 255).save(folder / f"p{number:05d}.jpg", quality=50)
        words = int(np.clip(rng.lognormal(np.log(90), 0.6), 4, 500))
        (folder / f"p{number:05d}.txt").write_text("page " * words, encoding="ascii")


def repeat_shard(one: Path, out: Path, copies: int) -> None:
    """Shards that are links to the one of a folder, and their index."""
    from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON
    from wdstream.shards.column_files import ColumnWriter
    from wdstream.shards.index_files import IndexFiles
    from wdstream.shards.meta import ShardEntry
    from wdstream.storage.atomic import atomic_write

    index = IndexFiles(one)
    (entry,) = index.catalog.shards
    (out / INDEX_FOLDER).mkdir(parents=True)
    shards = tuple(
        ShardEntry(name=f"s{number:06d}.tar", samples=entry.samples, bytes=entry.bytes, digest=f"{number:032x}")
        for number in range(copies)
    )
    for shard in shards:
        os.link(one / entry.name, out / shard.name)
    entries = {}
    for name in index.catalog.columns:
        with atomic_write(out / INDEX_FOLDER / f"{name}.npy") as file:
            column = index.column(name)
            writer = ColumnWriter(file, column.dtype)
            for part in repeated(name, column, copies):
                writer.write(part)
            entries[name] = writer.finish()
    catalog = replace(
        index.catalog,
        shards=shards,
        columns=entries,
        num_samples=entry.samples * copies,
        num_images=index.catalog.num_images * copies,
    )
    (out / INDEX_FOLDER / INDEX_JSON).write_bytes(catalog.to_json())


def repeated(name: str, column: NDArray[Any], copies: int) -> Iterator[NDArray[Any]]:
    """A column of one shard for each of its copies."""
    for number in range(copies):
        if name == "shard":
            yield column + column.dtype.type(number)
        elif name == "image_start":
            yield column[:-1] + column[-1] * number
        else:
            yield column
    if name == "image_start":
        yield column[-1:] * copies


# ---------------------------------------------------------------- a rank


def rank(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """One process of a run: figures of its start and of its steps."""
    began = process_start()
    import_all()
    from wdstream.config.schema import load_config
    from wdstream.records import World
    from wdstream.train.engine import open_engine
    from wdstream.train.launch.accelerator import start_accelerator
    from wdstream.train.loop import restore
    from wdstream.train.setup import open_run

    config = load_config(folder / f"{options.name}.yaml", ())
    accelerator = start_accelerator(config)
    family = family_of(config)
    open_engine(config, accelerator, family)  # what the first one imports is not counted
    imported = time.time()
    open_engine(config, accelerator, family)
    loaded = time.time()
    accelerator.free_memory()  # it would save and load the optimizers of these, too
    run = open_run(config, accelerator, world=World(rank=0, size=options.packs))
    opened = time.time()
    counters, _ = restore(run)
    restored = time.time()
    steps = range(counters.step, counters.step + options.steps)
    with run.stream.open(None if run.start is None else run.start.stream, ()):
        figures = train_steps(run, steps, options)
        state = run.stream.state()
    if options.save:
        run.checkpoints.save(steps.stop, stream=state, trainer={"step": steps.stop})
    weights = loaded - imported
    aside = imported - began + 2 * weights + restored - opened  # weights were loaded twice: to be timed, and to be used
    figures["first_step_s"] = figures.pop("first_at") - began - aside
    return figures | {"imports_s": imported - began, "weights_s": weights, "open_run_s": opened - loaded - weights}


def import_all() -> None:
    """What a start imports on its way, so that it is not counted as its own time."""
    import peft  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer  # noqa: F401
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl  # noqa: F401

    import wdstream.proofs.lengths
    import wdstream.train.loop  # noqa: F401


def family_of(config: "Config") -> "Family":
    """The family of the run, which also brings what its processor imports."""
    from wdstream.config.build import family_from_config
    from wdstream.proofs.lengths import require_exact_lengths

    family = family_from_config(config)
    require_exact_lengths(family)
    return family


def train_steps(run: "Run", steps: range, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of the steps of a rank: what the loop does between them, and a pause in place of the model."""
    gaps, busy, cpu, memory, first_at, digest = [], [], [], [], 0.0, 0
    for step in steps:
        if options.long and (step - steps.start) % 250 == 0:
            memory.append([step - steps.start, *resident_mb()])
        started, thread = time.time(), time.thread_time()
        batches = run.stream.take(step)
        contents = run.stream.contents(step, batches)
        run.rate(step)
        gaps.append(time.time() - started)
        busy.append(time.thread_time() - thread)
        first_at = first_at or time.time()
        digest = 0 if contents is None else contents.digest
        time.sleep(options.step_s)
        cpu.append(cpu_seconds() if not options.long else (0.0, 0.0))
    skip = min(4, len(gaps) - 2)  # what was made ready before the first step hides a planner that is too slow
    percentiles = np.percentile(gaps[skip:], [50, 99, 100]) * 1000
    each = np.diff(cpu, axis=0)[len(cpu) // 2 :]  # of the second half: a process that plans has started by then
    all_ms, planning_ms = (each.mean(axis=0) * 1000).tolist()
    figures = {"gap_ms": percentiles.tolist(), "busy_ms": float(np.median(busy[skip:])) * 1000}
    figures |= {"cpu_ms": all_ms, "planning_ms": planning_ms}
    return figures | {"first_at": first_at, "digest": f"{digest:016x}", "memory": memory}


def process_start() -> float:
    """When this process was started, seconds of the epoch."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> tuple[float, float]:
    """CPU time of this process and of those that it started, and of those alone."""
    import psutil

    own = psutil.Process()
    started = sum(sum(process.cpu_times()[:2]) for process in own.children(recursive=True))
    return sum(own.cpu_times()[:2]) + started, started


def resident_mb() -> tuple[float, float]:
    """Resident memory of this process and of those that it started: all of it, and without mapped files."""
    import psutil

    own = psutil.Process()
    total = [0.0, 0.0]
    for process in (own, *own.children(recursive=True)):
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        for place, name in enumerate(("VmRSS:", "RssAnon:")):
            total[place] += sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
    return total[0], total[1]


# ---------------------------------------------------------------- report


def measure(folder: Path, name: str, packs: int, settings: Mapping[str, str], options: Sequence[str]) -> dict[str, Any]:
    """Figures of one process."""
    fill = {"sequence_length": SEQUENCE_LENGTH, "max_patches": MAX_PATCHES, "packs": packs, "folder": folder}
    (folder / f"{name}.yaml").write_text(CONFIG.format(output=folder / f"run-{name}", **fill, **settings))
    command = [sys.executable, __file__, "--child", str(folder), "--name", name, "--packs", str(packs), *options]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return figures


def report(folder: Path, options: argparse.Namespace, wanted: Wanted) -> None:
    """Measure and print everything for one size of data."""
    columns = (
        "packs",
        "start",
        "of it open_run",
        "gap p50",
        "p99",
        "longest",
        "its CPU",
        "CPU a step",
        "planning",
        "resume",
        "imports",
        "weights",
    )
    table = Table(*columns, title=f"{options.pages:,} pages, a step takes {options.step_s} s", box=None)
    ways = {"max_steps": {"data": "seed: 0", "train": "max_steps: 1000000, lr: 1.0e-4"}}
    base = ["--steps", str(options.steps), "--step-s", str(options.step_s)]
    for packs in options.packs:
        name = f"packs{packs}"
        first = measure(folder, name, packs, ways["max_steps"], [*base, "--save"])
        again = measure(folder, name, packs, ways["max_steps"], ["--steps", "3", "--step-s", "0"])
        shutil.rmtree(folder / f"run-{name}", ignore_errors=True)
        gap = [f"{value:.2f} ms" for value in first["gap_ms"]]
        seconds = [f"{first[key]:.2f} s" for key in ("first_step_s", "open_run_s")]
        table.add_row(
            f"{packs:,}",
            *seconds,
            *gap,
            f"{first['busy_ms']:.2f} ms",
            f"{first['cpu_ms']:.0f} ms",
            f"{first['planning_ms']:.0f} ms",
            f"{again['first_step_s']:.2f} s",
            *(f"{first[key]:.1f} s" for key in ("imports_s", "weights_s")),
        )
        wanted.check(f"first step, {packs} packs", first["first_step_s"], 5, at_least=False, unit=" s")
        wanted.check(f"resume, {packs} packs", again["first_step_s"], 5, at_least=False, unit=" s")
        wanted.check(f"gap between steps, {packs} packs, median", first["gap_ms"][0], 2, at_least=False, unit=" ms")
        wanted.check(f"CPU of the gap, {packs} packs, median", first["busy_ms"], 2, at_least=False, unit=" ms")
        if packs <= MOST_PLANNED_CHEAPLY:
            share = first["planning_ms"] / options.step_s / 10
            wanted.check(f"planning {packs} packs, of a core", share, 10, at_least=False, unit=" %")
    console.print(table)


def memory(folder: Path, packs: int, wanted: Wanted) -> None:
    """Resident memory along 5,000 steps."""
    settings = {"data": "seed: 0", "train": "max_steps: 1000000"}
    found = measure(folder, f"long{packs}", packs, settings, ["--steps", "5000", "--step-s", "0", "--long"])["memory"]
    console.print(
        f"{packs} packs, resident MB by step (without mapped files): "
        + ", ".join(f"{s}: {a:.0f} ({b:.0f})" for s, a, b in found)
    )
    half = found[len(found) // 2 :]
    growth = half[-1][1] - min(value for _, value, _ in half)
    what = f"growth of resident memory over the second half of 5,000 steps of {packs} packs"
    wanted.check(what, growth, 20, at_least=False, unit=" MB")


def main() -> int:
    """Measure, print; 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--packs", type=int, nargs="+", default=[64, 1024, 4096, 16384])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--step-s", type=float, default=0.4)
    parser.add_argument(
        "--long", action="store_true", help="also run 5,000 steps, of 64 and of 512 packs, and report memory"
    )
    parser.add_argument("--folder", type=Path, help="where the shards are made, or were made by an earlier call")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        (options.packs,) = options.packs
        print(json.dumps(rank(options.child, options)))
        return 0
    wanted = Wanted(console)
    with tempfile.TemporaryDirectory(prefix="bench_run") as name:
        folder = options.folder or Path(name)
        if not (folder / "shards").exists():
            folder.mkdir(exist_ok=True)
            write_shards(folder, options.pages)
        report(folder, options, wanted)
        if options.long:
            for packs in LONG:
                memory(folder, packs, wanted)
    if wanted.missed:
        console.print(f"missed: {', '.join(wanted.missed)}", style="red")
    return int(bool(wanted.missed))


if __name__ == "__main__":
    sys.exit(main())
