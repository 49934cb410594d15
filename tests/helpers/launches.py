"""Start training through the real launcher as a command line says, and wait for it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.paths import ROOT
from tests.helpers.waiting import HANGS_AFTER_S
from wdstream.storage.processes import kill_tree

AS_GPUS = str(ROOT / "tests/workers/as_gpus.py")
"""In the place of `-m wdstream.train` under FSDP, which Accelerate has on GPUs only."""


def run_launches(launches: Sequence[Sequence[str]], log: Path, *, folder: Path = ROOT) -> str:
    """What launchers print that run at the same time, each given its arguments; all must end with status 0.

    Args:
        launches: arguments of `accelerate launch`, one list for each machine.
        log: file for what they print; a number is appended for each.
        folder: where they run.
    """
    logs = [log.with_name(f"{log.name}-{number}") for number in range(len(launches))]
    started = [_start(words, path, folder) for words, path in zip(launches, logs, strict=True)]
    try:
        statuses = [process.wait(HANGS_AFTER_S) for process in started]
    finally:
        for process in started:
            kill_tree(process.pid)
    printed = "\n".join(path.read_text(errors="replace") for path in logs)
    assert statuses == [0] * len(launches), printed[-6000:]
    return printed


def _start(words: Sequence[str], log: Path, folder: Path) -> "subprocess.Popen[bytes]":
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # where DeepSpeed may be
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
