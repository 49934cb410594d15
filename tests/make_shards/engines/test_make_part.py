"""A part as a process of its own, killed again and again next to another part, and begun again: the same bytes."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from wdstream.make_shards import MakeShardsOptions, make_shards

TreeOf = Callable[[Path], Tree]


def started(raw: Path, out: Path, part: str) -> "subprocess.Popen[bytes]":
    job = ["make-shards", str(raw), str(out), "--pages-per-shard", "3", "--holdout", "3", "--workers", "1"]
    command = [sys.executable, "-m", "wdstream", *job, "--part", part]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed_again_and_again(raw: Path, out: Path, kills: int) -> None:
    """Two parts on one folder; one of them is killed while the other works."""
    moments = random.Random(kills)
    with started(raw, out, "2/2") as other:
        for _ in range(kills):
            with started(raw, out, "1/2") as part:
                time.sleep(moments.uniform(0.5, 3.0))
                part.kill()
        with started(raw, out, "1/2") as part:
            assert part.wait() == 0, part.communicate()
        assert other.wait() == 0, other.communicate()


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_part_that_is_killed(kills: int, tmp_path: Path, small_raw: Path, whole: Tree, tree_of: TreeOf) -> None:
    killed_again_and_again(small_raw, tmp_path / "out", kills)
    merging = MakeShardsOptions(pages_per_shard=3, holdout="3", workers=1, merge=True)
    make_shards(small_raw, tmp_path / "out", options=merging)
    assert tree_of(tmp_path / "out") == whole
