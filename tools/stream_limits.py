"""Fresh processes for tools/bench_stream.py: the first batch, resident memory, a consumer that waits for data.

    python tools/stream_limits.py first-batch SHARDS MODEL
    python tools/stream_limits.py memory SHARDS MODEL --pool 4096 --prefetch 16
    python tools/stream_limits.py wait SHARDS MODEL --pages-per-second 4 --batches 8

Each prints one JSON object. `repeat_index` makes a large index of few pages: its shards are links to the real ones, its
rows name the real samples again and again.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wdstream.pipeline.loader import StreamLoader

SETTLED_S = 0.4  # a process that used no CPU for this long has its prefetch full
CPU_NOISE_S = 0.01


def repeat_index(shards: Path, out: Path, *, rows: int, rows_per_shard: int = 1000) -> Path:
    """A folder of links to the shards of another, with an index of at least `rows` rows that point into them."""
    from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON, Catalog
    from wdstream.shards.column_files import entry_of
    from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, ShardEntry
    from wdstream.shards.reader import Shards
    from wdstream.shards.token_columns import write_token_column

    real = Shards.open(shards)
    entries: list[ShardEntry] = []
    order: list[int] = []  # real row of each new row
    while len(order) < rows:
        number = len(entries) % len(real.catalog.shards)
        entry = real.catalog.shards[number]
        repeats = max(1, rows_per_shard // entry.samples)
        name = f"{len(entries):05}-{entry.name}"
        out.mkdir(parents=True, exist_ok=True)
        (out / name).symlink_to((shards / entry.name).resolve())
        entries.append(
            ShardEntry(name=name, samples=entry.samples * repeats, bytes=entry.bytes, digest=f"{len(entries):032x}")
        )
        order.extend([*real.rows_of_shard(number)] * repeats)
    chosen = np.array(order)
    spans = [np.arange(real.image_start[row], real.image_start[row + 1]) for row in range(len(real))]
    images = np.concatenate([spans[row] for row in order])
    columns = {name: getattr(real, name)[chosen] for name in SAMPLE_COLUMNS}
    columns |= {name: getattr(real, name)[images] for name in IMAGE_COLUMNS}
    columns["shard"] = np.repeat(np.arange(len(entries), dtype="<i4"), [entry.samples for entry in entries])
    columns["image_start"] = np.concatenate([[0], np.cumsum(columns["num_images"], dtype="<i8")])
    index = out / INDEX_FOLDER
    index.mkdir()
    for name, column in columns.items():
        np.save(index / f"{name}.npy", column)
    listed = {name: entry_of(column) for name, column in columns.items()}
    catalog = Catalog(shards=tuple(entries), num_samples=len(chosen), num_images=len(images), columns=listed)
    (index / INDEX_JSON).write_bytes(catalog.to_json())
    for path in sorted((shards / INDEX_FOLDER).glob("tokens.*.npy")):
        write_token_column(out, path.name.split(".")[1], np.load(path)[chosen])
    return out


def open_loader(options: argparse.Namespace) -> "StreamLoader":
    """The loader as a training run opens it."""
    from wdstream.families.registry import load_family
    from wdstream.pipeline.planned import Plan
    from wdstream.shards.reader import Shards
    from wdstream.tiling.policy import TilingPolicy

    plan = Plan(
        Shards.open(options.shards),
        load_family(options.model),
        TilingPolicy(),
        sequence_length=8192,
        max_patches=40_000,
        global_batch_size=1,
        pool=options.pool,
    )
    return plan.loader(workers=2, prefetch=options.prefetch)


def first_batch(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of this process up to its first batch, and of torch's import; the caller measures the wall clock."""
    start = time.process_time()
    import torch  # noqa: F401  # what every training process pays, whatever its loader

    torch_cpu_s = time.process_time() - start
    with open_loader(options) as loader:
        next(loader)
        return {"cpu_s": time.process_time(), "torch_cpu_s": torch_cpu_s}


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Resident bytes with everything ready ahead, the most of several batches; and the bytes of the largest batch."""
    resident, largest = 0, 0
    with open_loader(options) as loader:
        for _ in range(options.batches):
            batch = next(loader)
            largest = max(largest, sum(value.nbytes for value in batch.values() if hasattr(value, "nbytes")))
            settle()
            resident = max(resident, resident_bytes())
    return {"resident": resident, "batch": largest}


def settle() -> None:
    """Wait until this process has nothing left to do."""
    used, since = time.process_time(), time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        time.sleep(0.02)
        if time.process_time() - used > CPU_NOISE_S:
            used, since = time.process_time(), time.monotonic()


def resident_bytes() -> int:
    """Resident memory of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def wait(options: argparse.Namespace) -> dict[str, Any]:
    """Share of the time after the first batch that a consumer at a steady pace spends waiting for data."""
    waited = 0.0
    with open_loader(options) as loader:
        batch = next(loader)
        start = time.monotonic()
        for _ in range(options.batches):
            time.sleep(sum(len(keys) for keys in batch["keys"]) / options.pages_per_second)
            asked = time.monotonic()
            batch = next(loader)
            waited += time.monotonic() - asked
        return {"share": waited / (time.monotonic() - start)}


def main() -> int:
    """Run one of the measurements and print its JSON."""
    runs: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "first-batch": first_batch,
        "memory": memory,
        "wait": wait,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=runs)
    parser.add_argument("shards", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pool", type=int, default=128)
    parser.add_argument("--prefetch", type=int, default=2)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--pages-per-second", type=float, default=4.0)
    options = parser.parse_args()
    print(json.dumps(runs[options.run](options)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
