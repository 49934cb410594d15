"""What a row of a table costs: make-shards on 100,000 parquet rows with images, next to reading the file with pyarrow.

    python tools/bench_tables.py [--rows 100000]

`datasets` writes the file: small real pages (tests/data) as JPEG and PNG bytes, a text, and some metadata. make-shards
runs with one worker; counted is the CPU time of all its processes, and the memory of the largest.
"""

import argparse
import io
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import psutil
from PIL import Image
from rich.console import Console

from wanted import Wanted

ROOT = Path(__file__).parents[1]
SIDES = (112, 160)
TEXT = "The quick brown fox jumps over the lazy dog. " * 10
console = Console(width=140)


def small_images(count: int = 64) -> list[bytes]:
    """Crops of the shipped pages, two in three as JPEG."""
    draw = random.Random(0)
    pages = [Image.open(path).convert("RGB") for path in sorted((ROOT / "tests/data/pages/rows/images").iterdir())]
    made = []
    for number in range(count):
        page = pages[number % len(pages)]
        left, top = draw.randrange(max(1, page.width - SIDES[0])), draw.randrange(max(1, page.height - SIDES[1]))
        buffer = io.BytesIO()
        crop = page.crop((left, top, left + SIDES[0], top + SIDES[1]))
        crop.save(buffer, "PNG" if number % 3 == 0 else "JPEG")
        made.append(buffer.getvalue())
    return made


def write_rows(path: Path, rows: int) -> None:
    """The parquet file, as `datasets` writes it."""
    images = small_images()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "id": datasets.Value("int64"),
            "language": datasets.Value("string"),
            "score": datasets.Value("float64"),
        }
    )
    columns = {
        "image": [{"bytes": images[n % len(images)], "path": None} for n in range(rows)],
        "text": [f"{n} {TEXT}" for n in range(rows)],
        "id": list(range(rows)),
        "language": [("de", "en", "fr")[n % 3] for n in range(rows)],
        "score": [n / rows for n in range(rows)],
    }
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)


BARE = """
import sys, time
import pyarrow.parquet as pq
started = time.process_time()
rows = sum(batch.num_rows for batch in pq.ParquetFile(sys.argv[1]).iter_batches(1000, use_threads=False))
print(time.process_time() - started)
"""


def bare_cpu_s(path: Path) -> float:
    """CPU seconds of a bare read of all columns by pyarrow, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", BARE, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def make_shards(raw: Path, out: Path, options: Sequence[str]) -> tuple[float, int]:
    """Run make-shards; CPU seconds of all its processes, and the largest memory of any, in bytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "wdstream", "make-shards", str(raw), str(out), "--workers", "1", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        largest = _Largest(process.pid)
        largest.start()
        code = process.wait()
    if code:
        raise SystemExit(f"make-shards ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, largest.num_bytes


class _Largest(threading.Thread):
    """Watches a process and its children: the largest resident memory of any."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.num_bytes = 0

    def run(self) -> None:
        while True:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.num_bytes = max(self.num_bytes, *(member.memory_info().rss for member in family))
            except psutil.Error:
                if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
                    return
            time.sleep(0.1)


def main() -> None:
    """Measure, print, and exit with 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    datasets.disable_progress_bars()
    wanted = Wanted(console)
    with tempfile.TemporaryDirectory(prefix="bench_tables") as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        path = folder / "raw/train.parquet"
        write_rows(path, rows)
        bare = bare_cpu_s(path)
        size = path.stat().st_size
        console.print(f"{rows:,} rows, {size / 1e6:,.0f} MB; bare read by pyarrow: {bare / rows * 1000:.4f} ms per row")
        start, _ = make_shards_of_few(folder)
        for what, options in (("", []), (" without --check-images", ["--no-check-images"])):
            cpu, memory = make_shards(folder / "raw", folder / f"out{len(options)}", options)
            each = (cpu - bare) / rows * 1000
            note = f" ({start:.1f} s of it are the start)" if not what else ""
            console.print(f"make-shards{what}: {cpu:,.1f} s of CPU time{note}")
            wanted.check(f"CPU time beyond a bare read{what}", each, 0.5, at_least=False, unit=" ms per row")
            wanted.check(f"memory of the largest process{what}", memory / 1e6, 500, at_least=False, unit=" MB")
    sys.exit(bool(wanted.missed))


def make_shards_of_few(folder: Path) -> tuple[float, int]:
    """make-shards on one row: what starting costs."""
    (folder / "few").mkdir()
    write_rows(folder / "few/train.parquet", 1)
    return make_shards(folder / "few", folder / "out-few", [])


if __name__ == "__main__":
    main()
