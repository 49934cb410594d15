"""What a page costs in make-shards, next to the barest loop over the same files that writes a tar of them; and what a
sample costs to read and to index, next to webdataset's plain reading.

    python tools/bench_shards.py [--pages 3000] [--copies 20] [--rounds 5] [--only copies rows pdf workers reader index]

Small pages, cut from the shipped ones, so that what is ours is not lost in their pixels: JPEGs with a .txt each, and
rows of JSONL that name such images. And the shipped PDFs, several times, next to pypdfium2 that draws, simplejpeg and
the text of each page. Counted is the CPU time of the whole command with all its processes, less that of the same
command on few pages, for both sides; they take turns, and medians are compared. The gain of a second worker, on the
PDFs, is in seconds, less those of the start, and says something on an idle machine of two cores or more. The samples
are those of the JPEGs, 1,000 per tar: read at random, verified, by `Shards.read`, which gives what webdataset gives
(key and bytes of each part) in the order of the tars; and described by `wdstream index` with one worker.

Limits: twice the bare loop for JPEGs, 1.1 times for PDFs, 0.1 ms per row, 1.8 times as fast with two workers, a quarter
of webdataset to read and no more than it to index. Of a JPEG that is copied, libjpeg reads all bits to know that it is
sound; no bare loop does, and this alone takes more than the loop, so JPEGs are also copied with --no-check-images. The
bare loop takes 0.1 ms for a row with an image file, so rows of text are measured, too. JPEGs that are checked, and rows
that name one, do not come to these figures; PDFs do, at 1.01 times, JPEGs that are not checked about, at 1.5 to
2.09 times, and on an idle machine rows of text (docs/shards.md). The figure for rows of tables is in bench_tables.py.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
from PIL import Image
from rich.console import Console

from wanted import Wanted

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "tests/data/pages"
SIDES = (224, 320)
TEXT = "The quick brown fox jumps over the lazy dog. " * 10
PARTS = ("copies", "rows", "pdf", "workers", "reader", "index")
LEAST_SHARDS = 8
"""For two workers, of which one may else wait for the last shard of the other."""
LEAST_GAIN = 1.8
console = Console(width=140)

BARE_COPY = """
import sys, io, tarfile
from pathlib import Path
with tarfile.open(sys.argv[2], "w") as tar:
    for path in sorted(Path(sys.argv[1]).glob("*.jpg")):
        for part in (path, path.with_suffix(".txt")):
            data = part.read_bytes()
            member = tarfile.TarInfo(part.name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
"""
BARE_ROWS = """
import sys, io, json, tarfile
from pathlib import Path
folder = Path(sys.argv[1])
with tarfile.open(sys.argv[2], "w") as tar, (folder / "rows.jsonl").open("rb") as rows:
    for number, line in enumerate(rows):
        row = json.loads(line)
        for ending, data in ((".jpg", (folder / row["image"]).read_bytes()), (".txt", row["text"].encode())):
            member = tarfile.TarInfo(f"{number:06d}{ending}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
"""
BARE_PDF = """
import sys
from pathlib import Path
import pypdfium2, simplejpeg
for path in sorted(Path(sys.argv[1]).glob("*.pdf")):
    pdf = pypdfium2.PdfDocument(path)
    for number in range(len(pdf)):
        page = pdf[number]
        pixels = page.render(scale=150 / 72, rev_byteorder=True).to_numpy()
        simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB")
        page.get_textpage().get_text_range()
"""
BARE_TEXTS = """
import sys, io, json, tarfile
from pathlib import Path
with tarfile.open(sys.argv[2], "w") as tar, (Path(sys.argv[1]) / "rows.jsonl").open("rb") as rows:
    for number, line in enumerate(rows):
        data = json.loads(line)["text"].encode()
        member = tarfile.TarInfo(f"{number:06d}.txt")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
"""
READ_WEBDATASET = """
import sys
from pathlib import Path
import webdataset
for sample in webdataset.WebDataset(sorted(map(str, Path(sys.argv[1]).glob("*.tar"))), shardshuffle=False):
    pass
"""
READ_SHARDS = """
import random, sys
from wdstream import Shards
shards = Shards.open(sys.argv[1])
rows = [*range(len(shards))]
random.Random(0).shuffle(rows)
for row in rows:
    getattr(shards, sys.argv[2])(row)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Raw pages, how a bare loop reads them, and what make-shards may take for a page.

    Attributes:
        name: what they are.
        raw: a folder of them.
        few: a folder of a few, which both sides read to say what their start takes.
        bare: the loop.
        pages: how many more `raw` has than `few`.
        most_times: the CPU time of the loop, at most; or
        most_ms: per page, at most.
        options: of make-shards.
    """

    name: str
    raw: Path
    few: Path
    bare: str
    pages: int
    most_times: float | None = None
    most_ms: float | None = None
    options: tuple[str, ...] = ()


def small_jpegs(count: int = 64) -> list[bytes]:
    """Parts of the shipped pages, one in four grey."""
    draw = random.Random(0)
    pages = [Image.open(path).convert("RGB") for path in sorted((PAGES / "rows/images").iterdir())]
    made = []
    for number in range(count):
        page = pages[number % len(pages)].resize((2 * SIDES[0], 2 * SIDES[1]))
        left, top = draw.randrange(SIDES[0]), draw.randrange(SIDES[1])
        part = page.crop((left, top, left + SIDES[0], top + SIDES[1]))
        buffer = io.BytesIO()
        (part if number % 4 else part.convert("L")).save(buffer, "JPEG", quality=85)
        made.append(buffer.getvalue())
    return made


def write_copies(folder: Path, pages: int) -> None:
    """JPEGs with a text each."""
    folder.mkdir()
    images = small_jpegs()
    for number in range(pages):
        (folder / f"{number:06d}.jpg").write_bytes(images[number % len(images)])
        (folder / f"{number:06d}.txt").write_text(f"{number} {TEXT}")


def write_texts(folder: Path, pages: int) -> None:
    """Rows of text alone."""
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as rows:
        rows.writelines(json.dumps({"text": f"{number} {TEXT}"}) + "\n" for number in range(pages))


def write_rows(folder: Path, pages: int) -> None:
    """The same as rows."""
    (folder / "images").mkdir(parents=True)
    images = small_jpegs()
    with (folder / "rows.jsonl").open("w") as rows:
        for number in range(pages):
            (folder / f"images/{number:06d}.jpg").write_bytes(images[number % len(images)])
            rows.write(json.dumps({"image": f"images/{number:06d}.jpg", "text": f"{number} {TEXT}"}) + "\n")


def write_pdfs(folder: Path, copies: int) -> int:
    """The shipped PDFs in English, several times; returns their pages."""
    folder.mkdir()
    pages = 0
    for path in sorted((PAGES / "pdf").glob("*-en*.pdf")):
        for copy in range(copies):
            shutil.copy(path, folder / f"{copy}-{path.name}")
        pages += copies * len(pypdfium2.PdfDocument(path))
    return pages


def cpu_of(command: Sequence[str]) -> tuple[float, float]:
    """CPU seconds of a command with all its processes, and seconds by the clock."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        time.monotonic() - started,
    )


def make_shards(raw: Path, out: Path, workers: int = 1, options: Sequence[str] = ()) -> tuple[float, float]:
    """`cpu_of` make-shards into a new folder."""
    shutil.rmtree(out, ignore_errors=True)
    return cpu_of(["-m", "wdstream", "make-shards", str(raw), str(out), "--workers", str(workers), *options])


def measure(case: Case, folder: Path, rounds: int, wanted: Wanted) -> None:
    """Both sides in turns; prints the milliseconds per page and what is wanted of them."""
    bare, bare_start, ours, start = [], [], [], []
    for _ in range(rounds):
        bare.append(cpu_of(["-c", case.bare, str(case.raw), str(folder / "bare.tar")])[0])
        bare_start.append(cpu_of(["-c", case.bare, str(case.few), str(folder / "bare.tar")])[0])
        start.append(make_shards(case.few, folder / "out-few", options=case.options)[0])
        ours.append(make_shards(case.raw, folder / "out", options=case.options)[0])
    least = _ms_each(bare, bare_start, case)
    each = _ms_each(ours, start, case)
    console.print(f"{case.name}: {case.pages:,} pages; bare {least:.3f}, make-shards {each:.3f} ms per page")
    console.print(f"  and {statistics.median(start):.2f} s to start")
    if case.most_times is not None:
        wanted.check(f"{case.name}: times the bare loop", each / least, case.most_times, at_least=False)
    if case.most_ms is not None:
        wanted.check(f"{case.name}: CPU time", each, case.most_ms, at_least=False, unit=" ms per page")


def _ms_each(all_s: Sequence[float], start_s: Sequence[float], case: Case) -> float:
    return (statistics.median(all_s) - statistics.median(start_s)) / case.pages * 1e3


def measure_workers(case: Case, folder: Path, rounds: int, wanted: Wanted) -> None:
    """Two workers next to one, by the clock, less what each takes to start.

    Raises:
        SystemExit: there is one shard, so that a second worker has nothing to do.
    """
    seconds: dict[tuple[int, Path], list[float]] = {}
    for _ in range(rounds):
        for workers in (1, 2):
            for raw in (case.few, case.raw):
                seconds.setdefault((workers, raw), []).append(make_shards(raw, folder / "out", workers)[1])
    if (shards := len(list((folder / "out").glob("*.tar")))) < LEAST_SHARDS:
        raise SystemExit(f"two workers share {shards} shards; {LEAST_SHARDS} are needed to compare: --copies")
    one, two = (
        statistics.median(seconds[workers, case.raw]) - statistics.median(seconds[workers, case.few])
        for workers in (1, 2)
    )
    wanted.check(f"{case.name}: two workers, times as fast as one", one / two, LEAST_GAIN, at_least=True)


def measure_samples(folder: Path, pages: int, rounds: int, names: Sequence[str], wanted: Wanted) -> None:
    """Reading and indexing tars of small JPEGs, in turns with webdataset."""
    tars = {}
    for name, count in (("few", 1), ("all", pages + 1)):
        write_copies(folder / f"raw-{name}", count)
        tars[name] = folder / f"shards-{name}"
        make_shards(folder / f"raw-{name}", tars[name], options=("--pages-per-shard", "1000"))
    ways: dict[str, Callable[[Path], tuple[float, float]]] = {}
    ways["webdataset"] = lambda path: cpu_of(["-c", READ_WEBDATASET, str(path)])
    if "reader" in names:
        ways["read"] = lambda path: cpu_of(["-c", READ_SHARDS, str(path), "read"])
        ways["read_page"] = lambda path: cpu_of(["-c", READ_SHARDS, str(path), "read_page"])
    if "index" in names:
        ways["index"] = lambda path: index(path, folder / "indexed")
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            for name, path in tars.items():
                found.setdefault((way, name), []).append(run(path)[0])
    each = {
        way: (statistics.median(found[way, "all"]) - statistics.median(found[way, "few"])) / pages * 1e3 for way in ways
    }
    shown = ", ".join(f"{way} {ms:.4f}" for way, ms in each.items())
    console.print(f"samples: {pages:,} small JPEGs with text; ms per sample: {shown}")
    if "reader" in names:
        wanted.check("reader: times webdataset", each["read"] / each["webdataset"], 0.25, at_least=False)
        console.print(f"  and {each['read_page'] / each['webdataset']:.2f} times with the page that the parts make")
    if "index" in names:
        wanted.check("index: times webdataset's reading", each["index"] / each["webdataset"], 1, at_least=False)


def index(shards: Path, folder: Path) -> tuple[float, float]:
    """`cpu_of` indexing tars that nothing is known of."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for tar in shards.glob("*.tar"):
        (folder / tar.name).hardlink_to(tar)
    return cpu_of(["-m", "wdstream", "index", str(folder), "--workers", "1"])


def cases(folder: Path, pages: int, copies: int, names: Sequence[str]) -> Iterator[Case]:
    """The raw folders, written when they are asked for."""
    if "copies" in names:
        raw, few = folder / "copies", folder / "copies-few"
        write_copies(raw, pages + 1)
        write_copies(few, 1)
        yield Case(name="JPEG + txt", raw=raw, few=few, bare=BARE_COPY, pages=pages, most_times=2)
        unchecked, options = "JPEG + txt, not checked", ("--no-check-images",)
        yield Case(name=unchecked, raw=raw, few=few, bare=BARE_COPY, pages=pages, most_times=2, options=options)
    if "rows" in names:
        raw, few = folder / "rows", folder / "rows-few"
        write_rows(raw, pages + 1)
        write_rows(few, 1)
        yield Case(name="JSONL rows with an image file", raw=raw, few=few, bare=BARE_ROWS, pages=pages, most_ms=0.1)
        raw, few = folder / "texts", folder / "texts-few"
        write_texts(raw, pages + 1)
        write_texts(few, 1)
        yield Case(name="JSONL rows of text", raw=raw, few=few, bare=BARE_TEXTS, pages=pages, most_ms=0.1)
    if {"pdf", "workers"} & {*names}:
        raw, few = folder / "pdf", folder / "pdf-few"
        more = write_pdfs(raw, copies + 1) - write_pdfs(few, 1)
        yield Case(name="PDF", raw=raw, few=few, bare=BARE_PDF, pages=more, most_times=1.1)


def main() -> None:
    """Measure, print, and exit with 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=3000)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    wanted = Wanted(console)
    with tempfile.TemporaryDirectory(prefix="bench_shards") as name:
        for case in cases(Path(name), asked.pages, asked.copies, asked.only):
            if case.name != "PDF" or "pdf" in asked.only:
                measure(case, Path(name), asked.rounds, wanted)
            if "workers" in asked.only and case.name == "PDF":
                measure_workers(case, Path(name), asked.rounds, wanted)
        if {"reader", "index"} & {*asked.only}:
            measure_samples(Path(name), asked.pages, asked.rounds, asked.only, wanted)
    sys.exit(bool(wanted.missed))


if __name__ == "__main__":
    main()
