"""reshard and dedup, killed at any moment and started again: the same bytes as without.

Spans: curation.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.mixed_shards import tree_of, write_mixed

PROGRAM = """
import sys
from pathlib import Path
from wdstream.curation.deduplication.dedup import dedup, DedupOptions
from wdstream.curation.resharding.reshard import reshard, ReshardOptions
job, source, out, workers = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
print("begins", flush=True)
if job == "reshard":
    reshard([source], out, options=ReshardOptions(pages=6, shuffle=True, uniform=True, workers=workers))
else:
    out.mkdir(exist_ok=True)
    dedup([source], out / "list.jsonl", options=DedupOptions(near=True, by="image", workers=workers))
"""


def start(job: str, source: Path, out: Path, workers: int) -> "subprocess.Popen[bytes]":
    """The job, about to begin."""
    command = [sys.executable, "-c", PROGRAM, job, str(source), str(out), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def seconds_of(job: str, source: Path, out: Path) -> float:
    """How long the job takes when nothing happens."""
    with start(job, source, out, 1) as process:
        begun = time.monotonic()
        assert process.wait() == 0
    return time.monotonic() - begun


def killed_again_and_again(job: str, tmp_path: Path, kills: int, workers: int) -> None:
    source = write_mixed(tmp_path / "in", count=60, per_shard=12)
    whole = seconds_of(job, source, tmp_path / "whole")
    moments = random.Random(kills)
    for _ in range(kills):
        with start(job, source, tmp_path / "out", workers) as process:
            time.sleep(moments.uniform(0, 1.2 * whole / 3))  # what was done stays done: later ones have less to do
            process.kill()
    with start(job, source, tmp_path / "out", workers) as process:
        assert process.wait() == 0
    assert tree_of(tmp_path / "out", ["workers"]) == tree_of(tmp_path / "whole", ["workers"])


@pytest.mark.parametrize("job", ["reshard", "dedup"])
def test_killed_three_times_it_ends_with_the_same_bytes(job: str, tmp_path: Path) -> None:
    killed_again_and_again(job, tmp_path, kills=3, workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["reshard", "dedup"])
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_twenty_times_it_ends_with_the_same_bytes(job: str, workers: int, tmp_path: Path) -> None:
    killed_again_and_again(job, tmp_path, kills=20, workers=workers)
