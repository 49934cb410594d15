"""`wdstream launch`: signals reach the processes that train, and its status says how they ended.

Quick tests start a program that behaves as a training process does; the slow ones train.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.helpers.training import Workplace, wait_for_steps
from tests.helpers.waiting import wait_until
from wdstream.errors import ConfigError, TrainError
from wdstream.storage.processes import kill_tree
from wdstream.train.launch.launcher import end_status, start_launcher
from wdstream.train.launch.signals import StopSignals
from wdstream.train.launch.statuses import LOST, Ended, LaunchFolder, lost_processes, read_ends

RANK = """
import os, sys, time
from pathlib import Path
from wdstream.train.launch.signals import StopSignals
from wdstream.train.launch.statuses import LaunchFolder, stopped_end
with StopSignals() as signals:
    folder = LaunchFolder.of(os.environ)
    time.sleep(float(sys.argv[2]))
    folder.tell_pid()
    Path(sys.argv[1]).touch()
    while not signals.is_requested:
        time.sleep(0.01)
    time.sleep(float(sys.argv[3]))
    folder.tell_end(stopped_end(None))
"""


def launched(ready: Path, *, begins_after: float = 0, takes: float = 0) -> list[str]:
    return [sys.executable, "-c", RANK, str(ready), str(begins_after), str(takes)]


def signal_when(ready: Path | None, number: signal.Signals) -> threading.Thread:
    """Send this process a signal once the file is there, or in a moment."""

    def send() -> None:
        if ready is None:
            time.sleep(0.3)
        else:
            wait_until(ready.exists, "the training process")
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("number", StopSignals.SIGNALS)
def test_a_signal_reaches_the_training_process_and_its_status_comes_back(
    number: signal.Signals, tmp_path: Path
) -> None:
    before = signal.getsignal(number)
    thread = signal_when(tmp_path / "ready", number)
    assert start_launcher(launched(tmp_path / "ready"), limit_s=None) == 3
    thread.join()
    assert signal.getsignal(number) == before


def test_a_signal_that_comes_before_the_training_process_waits_for_it(tmp_path: Path) -> None:
    thread = signal_when(None, signal.SIGTERM)
    assert start_launcher(launched(tmp_path / "ready", begins_after=1), limit_s=None) == 3
    thread.join()


def test_a_limit_ends_what_takes_longer(tmp_path: Path) -> None:
    thread = signal_when(tmp_path / "ready", signal.SIGTERM)
    with pytest.raises(TrainError, match=r"killed, as it had not ended 0\.2 s after the signal"):
        start_launcher(launched(tmp_path / "ready", takes=600), limit_s=0.2)
    thread.join()


def test_processes_that_say_nothing_have_failed(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no training process began, or it ended without saying how .* status 5"):
        start_launcher([sys.executable, "-c", "raise SystemExit(5)"], limit_s=None)
    LaunchFolder(tmp_path, "0").tell_pid()
    LaunchFolder(tmp_path, "1").tell_pid()
    LaunchFolder(tmp_path, "1").tell_end(Ended(how="stopped", status=3))
    with pytest.raises(TrainError, match="rank 0 ended without saying how"):
        end_status(tmp_path, 0)


def test_why_a_rank_failed_is_said_last(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The launcher makes a traceback of it, after what the rank itself printed."""
    LaunchFolder(tmp_path, "0").tell_end(Ended(how="failed", status=2, reason="train.lr: no number\nsecond \x1b line"))
    assert end_status(tmp_path, 1) == 2
    assert capfd.readouterr().err == "wdstream launch: train.lr: no number\nsecond ␛ line\n"


def test_why_a_rank_failed_is_read_whatever_the_encoding_of_this_machine(tmp_path: Path) -> None:
    LaunchFolder(tmp_path, "0").tell_end(Ended(how="failed", status=2, reason="runs/é: no"))
    code = (
        "import sys, pathlib, wdstream.train.launch.statuses as s; print(ascii(s.read_ends(pathlib.Path(sys.argv[1]))))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "runs/\\xe9: no" in done.stdout


def test_a_rank_that_says_why_comes_before_one_that_lost_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainError) as lost, lost_processes():
        raise RuntimeError("Connection closed by peer")
    LaunchFolder(tmp_path, "0").tell_end(Ended(how="failed", status=1, reason=str(lost.value)))
    LaunchFolder(tmp_path, "1").tell_end(Ended(how="failed", status=2, reason="train.lr: no number"))
    assert end_status(tmp_path, 1) == 2
    assert capfd.readouterr().err == "wdstream launch: train.lr: no number\n"


def test_a_rank_that_was_killed_comes_before_those_that_lost_it(tmp_path: Path) -> None:
    for rank in "012":
        LaunchFolder(tmp_path, rank).tell_pid()
    LaunchFolder(tmp_path, "0").tell_end(Ended(how="failed", status=1, reason=f"{LOST} has ended, so this one ends"))
    with pytest.raises(TrainError, match=r"^rank 2 ended without saying how \(killed"):
        end_status(tmp_path, 1, gone=["2", "0", "1"])  # the launcher killed rank 1 as well
    with pytest.raises(TrainError, match=r"^rank 1, 2 ended without saying how"):
        end_status(tmp_path, 1)


def test_one_that_was_killed_before_another_failed_is_named_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for rank in "012":
        LaunchFolder(tmp_path, rank).tell_pid()
    LaunchFolder(tmp_path, "0").tell_end(Ended(how="failed", status=1, reason="5 pages failed"))
    for gone, said in ((["2", "0", "1"], True), (["0", "1", "2"], False), ([], False)):
        assert end_status(tmp_path, 1, gone=gone) == 1
        first, *others = capfd.readouterr().err.splitlines()
        assert first == "wdstream launch: 5 pages failed"
        assert [line[:56] for line in others] == ["rank 2 ended before it, without saying how (killed, such"] * said


KILLED = """
import os, signal, time
from wdstream.train.launch.statuses import LaunchFolder
if os.fork():
    time.sleep(1)  # in the place of rank 0, which the launcher kills later
    os.environ["RANK"] = "0"
    LaunchFolder.of(os.environ).tell_pid()
    time.sleep(3)
else:
    os.environ["RANK"] = "1"
    LaunchFolder.of(os.environ).tell_pid()
    time.sleep(2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_first_of_those_that_say_nothing_is_the_one_that_failed() -> None:
    with pytest.raises(TrainError, match=r"^rank 1 ended without saying how"):
        start_launcher([sys.executable, "-c", KILLED], limit_s=None)


def test_an_option_that_the_launcher_does_not_know_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="accelerate launch does not take these options"):
        start_launcher([sys.executable, "-c", "raise SystemExit(2)"], limit_s=None)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ((("finished", 0), ("finished", 0)), 0),
        ((("stopped", 75), ("stopped", 75)), 75),
        ((("finished", 0), ("failed", 1)), 1),
        ((("failed", 2), ("failed", 1)), 2),
    ],
)
def test_the_status_is_that_of_the_processes(ends: Sequence[tuple[str, int]], status: int, tmp_path: Path) -> None:
    for rank, (how, number) in enumerate(ends):
        LaunchFolder(tmp_path, str(rank)).tell_pid()
        LaunchFolder(tmp_path, str(rank)).tell_end(Ended(how=how, status=number))
    assert end_status(tmp_path, 1) == status
    assert [*read_ends(tmp_path)] == ["0", "1"]


TWO = ("--multi_gpu", "--num_processes", "2")
ONE = ("--num_processes", "1")
PYTHON = ("-m", "wdstream.train")
ACCELERATE = ("-m", "accelerate.commands.launch", "--main_process_port", "0")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", *PYTHON)
WDSTREAM = ("-m", "wdstream", "launch", "--main_process_port", "0")
LAUNCHERS = {
    "python": (PYTHON, {3}),
    "accelerate, one": ((*ACCELERATE, *ONE, *PYTHON), {0}),
    "accelerate, two": ((*ACCELERATE, *TWO, *PYTHON), {0}),
    "torchrun": (TORCHRUN, {0}),
    "wdstream, one": ((*WDSTREAM, *ONE), {3}),
    "wdstream, two": ((*WDSTREAM, *TWO), {3}),
}


@pytest.mark.slow
def test_a_disk_that_is_full_and_a_process_that_is_killed_at_once(workplace: Workplace, tmp_path: Path) -> None:
    """The main process cannot write, and the other one is killed as soon as it says so: why, and where, is said."""
    output = tmp_path / "run"
    settings = (f"train.output={output}", "train.max_steps=5000", "train.checkpoint_every=5000", "data.eval=[]")
    words = [sys.executable, *WDSTREAM, *TWO, str(workplace.config_file), *(w for s in settings for w in ("--set", s))]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True) as process:
        try:
            wait_for_steps(output, 2)
            pids = {
                child.environ().get("RANK"): child.pid for child in psutil.Process(process.pid).children(recursive=True)
            }
            resource.prlimit(pids["0"], resource.RLIMIT_FSIZE, (1000, 1000))
            wait_until((output / "failed.rank-0.json").exists, "the failure")
            os.kill(pids["1"], signal.SIGKILL)
            printed, _ = process.communicate(timeout=300)
        finally:
            kill_tree(process.pid)
    assert process.returncode == 1
    reason = f"{output}/metrics.jsonl: File too large; make room there, or raise the limit (quota, ulimit -f)"
    assert json.loads((output / "failed.rank-0.json").read_text())["message"] == reason
    assert f"\nwdstream.train: {reason}\n" in printed and f"\nwdstream launch: {reason}\n" in printed
    assert [path.name for path in output.glob("failed.*")] == ["failed.rank-0.json"]


@pytest.mark.slow
@pytest.mark.parametrize("number", StopSignals.SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_signal_through_every_launcher_gives_a_checkpoint(
    name: str, number: signal.Signals, workplace: Workplace, tmp_path: Path
) -> None:
    """The training processes are signalled, by `wdstream launch` itself; docs/training.md has the statuses."""
    command, statuses = LAUNCHERS[name]
    output, log = tmp_path / "run", tmp_path / "log"
    settings = (
        f"train.output={output}",
        "train.max_steps=5000",
        "train.stopped_status=null",
        "train.checkpoint_every=5000",
    )
    words = [sys.executable, *command, str(workplace.config_file), *(w for s in settings for w in ("--set", s))]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    try:
        wait_for_steps(output, 2)
        pid = process.pid if name.startswith("wdstream") else int((output / "lock").read_text().split()[1])
        os.kill(pid, number)
        assert process.wait(timeout=300) in statuses, log.read_text()
    finally:
        kill_tree(process.pid)
        process.wait()
    assert "with a checkpoint; the same command continues" in log.read_text()
    assert len(list((output / "checkpoints").glob("step-*/manifest.json"))) == 1
