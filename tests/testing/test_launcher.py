"""Watching a training process from outside."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers.waiting import wait_until
from wdstream.errors import TrainError
from wdstream.storage.processes import kill_tree
from wdstream.testing.launcher import TrainingProcess, launch_command

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_kill_tree_reaches_children_in_other_sessions() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        kill_tree(parent.pid)
        assert parent.wait() == -9
    wait_until(lambda: is_gone(child), "the end of the child")
    kill_tree(parent.pid)  # nothing left: no error


def test_command_of_one_and_two_processes() -> None:
    one = launch_command(Path("a.yaml"), ["train.lr=1"], 1)
    two = launch_command(Path("a.yaml"), [], 2)
    assert one[-5:] == ["-m", "wdstream.train", "a.yaml", "--set", "train.lr=1"]
    assert "--multi_gpu" not in one
    assert two[3:6] == ["--multi_gpu", "--num_processes", "2"]


def test_a_failed_run_shows_its_log(tmp_path: Path) -> None:
    with (
        TrainingProcess(
            tmp_path / "none.yaml", [], output=tmp_path / "run", log=tmp_path / "run.log", num_processes=1
        ) as trainer,
        pytest.raises(TrainError, match=r"(?s)ended with status [12].*cannot read the configuration"),
    ):
        trainer.wait()
