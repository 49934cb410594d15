"""Start real training processes: what a launcher does, without the seconds that a launcher takes."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_world(arguments: Sequence[str], *, size: int) -> list[subprocess.Popen[str]]:
    """`python ARGUMENTS` as `size` ranks of one world, in a process group of their own each."""
    port = free_port()
    base = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    ranks = []
    for rank in range(size):
        env = dict(base)
        if size > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
    return ranks


def finish(ranks: Sequence[subprocess.Popen[str]], *, timeout: float = 240) -> list[tuple[int, str]]:
    """(exit status, output) of every rank; all are killed when one takes too long."""
    try:
        outputs = [rank.communicate(timeout=timeout)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, output) for rank, output in zip(ranks, outputs, strict=True)]


def run_world(arguments: Sequence[str], *, size: int, timeout: float = 240) -> str:
    """Output of rank 0; every rank must end with status 0."""
    results = finish(start_world(arguments, size=size), timeout=timeout)
    assert all(status == 0 for status, _ in results), "\n".join(output for _, output in results)
    return results[0][1]
