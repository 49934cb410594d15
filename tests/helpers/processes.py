"""Start real training processes: what a launcher does, without the seconds that imports take.

A fork server imports torch and the rest once; every rank is then a forked process of its own, which can be killed like
any other, and runs a module or script as `python` would.
"""

import contextlib
import itertools
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.helpers.paths import ROOT
from tests.helpers.waiting import HANGS_AFTER_S

PRELOADED = [
    "accelerate",
    "peft",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "torch.utils.tensorboard",
    "wdstream.train.loop",
]
SERVER = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Rank:
    """One process, and the file that holds what it prints."""

    process: BaseProcess
    log: Path

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else "(killed before it began)"


def free_port() -> int:
    """A port that no other worker of the tests takes meanwhile, nor likely one of other tests on this machine, and the
    system gives to nobody who asks for any."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    number = os.getpid() if worker is None else os.getppid() + int(worker.removeprefix("gw"))
    while True:
        port = 12_000 + number % 100 * 200 + next(_PORTS) % 200
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


_PORTS = itertools.count()


def start_world(target: str, arguments: Sequence[str], *, size: int) -> list[Rank]:
    """A module's name or a script's path with arguments, as `size` ranks of one world."""
    SERVER.set_forkserver_preload(PRELOADED)
    logs = Path(tempfile.mkdtemp(prefix="wdstream-ranks-"))
    port = free_port()
    ranks = []
    for rank in range(size):
        env = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        if size > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        log = logs / f"{rank}.log"
        process = SERVER.Process(target=_run, args=(target, list(arguments), env, str(log)))
        process.start()
        ranks.append(Rank(process, log))
    return ranks


def _run(target: str, arguments: list[str], env: dict[str, str], log: str) -> None:
    os.environ.update(env)
    os.chdir(ROOT)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import torch

    torch.set_num_threads(1)
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def finish(ranks: Sequence[Rank], *, hangs_after_s: float = HANGS_AFTER_S) -> list[tuple[int | None, str]]:
    """(exit status, output) of every rank; all are killed when one hangs."""
    deadline = time.monotonic() + hangs_after_s
    for rank in ranks:
        rank.process.join(max(0.0, deadline - time.monotonic()))
    for rank in ranks:
        rank.process.kill()
        rank.process.join()
    return [(rank.process.exitcode, rank.output) for rank in ranks]


def run_world(target: str, arguments: Sequence[str], *, size: int) -> str:
    """Output of rank 0; every rank must end with status 0."""
    results = finish(start_world(target, arguments, size=size))
    assert all(status == 0 for status, _ in results), "\n".join(output for _, output in results)
    return results[0][1]
