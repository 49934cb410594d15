"""How many of wdstream's functions, in how many of its files, the work of `next(loader)` goes through.

    python tools/count_calls.py [--list] [--calls 40] [--workers 0]

A file and a function that a reader has to know to follow a batch from the plan to the device: the fewer, the better.

What counts: functions and methods written in a file of the package that are entered during a call, on any thread, each
once, by file and qualified name. Lambdas, comprehensions, generator expressions, class and module bodies are part of
the function that they are in and do not count; nor does generated code, as `__init__` of a dataclass.
A loader is warmed up by one call, so that what only a start does (descriptors, lazy imports, the family's caches) is
left out. A single call does not plan a step when one is left over, nor meet every kind of page; so the figure that
counts is that of all calls together, over more than an epoch. Single calls are reported, too: they are each call's
own work without workers, and the work of whatever runs meanwhile with them.

The pages are those that the repository ships, the model is a tiny Qwen2.5-VL with a real tokenizer. Exit status 1 when
a wanted figure is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console

import wdstream
from data_set import SHIPPED, open_data
from wanted import Line, show
from wdstream import Plan, Shards, TilingPolicy, load_family
from wdstream.nodes import LaneSettings
from wdstream.pipeline.streamed import Lanes

PACKAGE = Path(wdstream.__file__).parent
WANTED_FUNCTIONS, WANTED_FILES = 180, 45  # fewer than

Function = tuple[str, str]  # file below the package, qualified name


@dataclass(slots=True)
class Recorder:
    """Collects the functions entered while `is_on`; threads that are started after `watch` are heard, too."""

    is_on: bool = False
    found: set[Function] = field(default_factory=set)
    prefix: str = f"{PACKAGE}{os.sep}"

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """A profile function, as sys.setprofile takes it."""
        code = frame.f_code
        if self.is_on and event == "call" and code.co_filename.startswith(self.prefix) and code.co_name[0] != "<":
            self.found.add((code.co_filename.removeprefix(self.prefix), code.co_qualname))

    def calls(self, loader: Iterator[Any], number: int) -> list[set[Function]]:
        """The functions of each of `number` calls, after one that warms up."""
        next(loader)
        each = []
        for _ in range(number):
            self.found, self.is_on = set(), True
            next(loader)
            self.is_on = False
            each.append(self.found)
        return each


def count(source: Plan | Lanes, *, number: int, workers: int) -> list[set[Function]]:
    """The functions of each of `number` calls of a loader over `source`."""
    recorder = Recorder()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    try:
        with source.loader(workers=workers, prefetch=2 if workers else 0) as loader:
            return recorder.calls(loader, number)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def open_sources(shards: Path, model: Path) -> dict[str, Plan | Lanes]:
    """One pack per step, by the index and without one."""
    family, tiling = load_family(model), TilingPolicy()
    plan = Plan(Shards.open(shards), family, tiling, sequence_length=8192, max_patches=40_000, global_batch_size=1)
    settings = LaneSettings(
        family=family, tiling=tiling, sequence_length=8192, max_patches=40_000, global_batch_size=1, lanes=1
    )
    return {"planned": plan, "streamed": Lanes(urls=sorted(map(str, shards.glob("*.tar"))), settings=settings)}


def files_of(functions: set[Function]) -> set[str]:
    """The files that functions are in."""
    return {file for file, _ in functions}


def lines_of(each: list[set[Function]], *, is_judged: bool) -> list[Line]:
    """The figures of one loader."""
    together = set[Function]().union(*each)
    figures = (
        ("functions", len(together), WANTED_FUNCTIONS, [len(one) for one in each]),
        ("files", len(files_of(together)), WANTED_FILES, [len(files_of(one)) for one in each]),
    )
    return [
        Line(
            what=f"{what} entered",
            found=f"{found} (single calls: median {statistics.median(singles):.0f}, most {max(singles)})",
            wanted=f"< {wanted}" if is_judged else "",
            is_met=found < wanted if is_judged else None,
        )
        for what, found, wanted, singles in figures
    ]


def list_functions(each: list[set[Function]], console: Console) -> None:
    """Every function of the calls, a line per file."""
    together = set[Function]().union(*each)
    for file in sorted(files_of(together)):
        names = sorted(name for where, name in together if where == file)
        console.print(f"  {file} {len(names)}: {', '.join(names)}", highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    """Count, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the functions of each file, too")
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    console = Console()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        shards, model = open_data(SHIPPED, None, Path(folder))
        for name, source in open_sources(shards, model).items():
            each = count(source, number=options.calls, workers=options.workers)
            missed += show(lines_of(each, is_judged=name == "planned"), f"{name}, {options.calls} calls", console)
            if options.list:
                list_functions(each, console)
    console.print(f"missed: {', '.join(missed)}" if missed else "no wanted figure is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
