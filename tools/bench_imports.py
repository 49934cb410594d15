"""What a start costs: CPU time of fresh processes that import wdstream, print the command's help, import one node.

    python tools/bench_imports.py [--base FOLDER] [--rounds 11]

Medians of user and system time, of processes that run in turn after one that is not counted (it compiles the modules
and warms the page cache). With --base, a checkout of another version, both trees run alternately, and the ratio of this
tree to the base is that of their least times: what else runs on the machine only adds to a time, and on a loaded one
the medians of a tree against itself differ by 6 %. At most 1 is wanted, and 0.03 are allowed for noise. Exit status 1
when it is missed.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from wanted import Line, show

HERE = Path(__file__).parents[1]
STARTS = {
    "python": ["-c", "pass"],
    "import wdstream": ["-c", "import wdstream"],
    "wdstream --help": ["-m", "wdstream", "--help"],
    "one node": ["-c", "from wdstream.nodes import Tile"],
}
WANTED, NOISE = 1.0, 0.03


def cpu_seconds(arguments: list[str], tree: Path) -> float:
    """CPU time of one fresh Python process with the package of `tree`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tree}: {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(trees: list[Path], rounds: int) -> dict[str, list[list[float]]]:
    """Seconds by start, tree and round; the trees run one after the other, and in turn either is first."""
    for arguments in STARTS.values():
        for tree in trees:
            cpu_seconds(arguments, tree)
    found = {name: [[0.0] * rounds for _ in trees] for name in STARTS}
    for number in range(rounds):
        for name, arguments in STARTS.items():
            for place in sorted(range(len(trees)), reverse=number % 2 == 1):
                found[name][place][number] = cpu_seconds(arguments, trees[place])
    return found


def line_of(name: str, here: list[float], base: list[float] | None) -> Line:
    """One start's figures."""
    seconds = statistics.median(here)
    if base is None:
        return Line(what=name, found=f"{seconds * 1e3:.0f} ms")
    ratio = min(here) / min(base)
    found = f"{seconds * 1e3:.0f} ms, base {statistics.median(base) * 1e3:.0f} ms, ratio {ratio:.3f}"
    if name == "python":  # the same for both: how noisy the machine is
        return Line(what=name, found=found)
    return Line(what=name, found=found, wanted=f"<= {WANTED}", is_met=ratio <= WANTED + NOISE)


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error("--rounds: medians of fewer than five say little")
    trees = [HERE] if options.base is None else [HERE, options.base.resolve()]
    found = measure(trees, options.rounds)
    lines = [line_of(name, times[0], times[1] if len(trees) > 1 else None) for name, times in found.items()]
    console = Console()
    missed = show(lines, f"CPU time of a start, medians of {options.rounds}", console)
    if options.base:
        console.print(f"missed: {', '.join(missed)}" if missed else "no wanted figure is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
