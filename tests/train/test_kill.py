"""Two real processes: killed without warning or asked to stop, the run continues bit for bit; on another world too.

Spans: train, testing.
"""

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.helpers.processes import finish, run_world, start_world
from tests.helpers.training import TRAIN, Workplace, arguments, steps_done, wait_for_steps
from wdstream.storage.json_lines import read_lines
from wdstream.testing.launcher import TrainingProcess


def result(output: Path) -> tuple[list[float], list[str], bytes]:
    """Losses, digests and weights of a finished run."""
    metrics, steps = (list(read_lines(output / name)) for name in ("metrics.jsonl", "steps.jsonl"))
    assert [line["step"] for line in metrics] == [line["step"] for line in steps] == list(range(10))
    weights = (output / "final" / "adapter_model.safetensors").read_bytes()
    return [line["loss"] for line in metrics], [line["digest"] for line in steps], weights


@pytest.fixture(scope="module")
def straight(workplace: Workplace) -> Path:
    output = workplace.root / "two-straight"
    run_world(TRAIN, arguments(workplace, output), size=2)
    return output


def test_killed_without_warning_and_resumed(workplace: Workplace, straight: Path) -> None:
    output = workplace.root / "two-killed"
    ranks = start_world(TRAIN, arguments(workplace, output), size=2)
    wait_for_steps(output, 6)
    for rank in ranks:
        rank.send(signal.SIGKILL)
    assert {status for status, _ in finish(ranks)} == {-signal.SIGKILL}
    run_world(TRAIN, arguments(workplace, output), size=2)
    assert result(output) == result(straight)
    assert [start["step"] for start in json.loads((output / "run.json").read_text())["starts"]] == [0, 4]


def test_sigterm_to_one_rank_stops_all_with_a_checkpoint(workplace: Workplace, straight: Path) -> None:
    output = workplace.root / "two-stopped"
    ranks = start_world(TRAIN, arguments(workplace, output), size=2)
    wait_for_steps(output, 2)
    ranks[1].send(signal.SIGTERM)
    results = finish(ranks)
    assert [status for status, _ in results] == [0, 0]
    assert "with a checkpoint; the same command continues" in results[0][1]
    done = steps_done(output)
    assert 2 <= done < 10
    assert (output / "checkpoints" / f"step-{done:08d}" / "manifest.json").exists()
    run_world(TRAIN, arguments(workplace, output), size=2)
    assert result(output) == result(straight)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), ("train.adapter=null", "train.lr=0.003")])
@pytest.mark.parametrize("kill_at", [1, 3, 5, 9])
def test_killed_at_any_step(workplace: Workplace, tmp_path: Path, kill_at: int, settings: Sequence[str]) -> None:
    """Killed once at `kill_at` and once more two steps later."""
    whole, output = tmp_path / "whole", tmp_path / "killed"
    settings = (*settings, "train.checkpoint_every=2", "train.stop_after=10")
    run_world(TRAIN, arguments(workplace, whole, *settings), size=2)
    for steps in (kill_at, min(kill_at + 2, 9)):
        ranks = start_world(TRAIN, arguments(workplace, output, *settings), size=2)
        wait_for_steps(output, steps)
        for rank in ranks:
            rank.send(signal.SIGKILL)
        finish(ranks)
    run_world(TRAIN, arguments(workplace, output, *settings), size=2)
    name = (
        "adapter_model.safetensors" if (whole / "final" / "adapter_model.safetensors").exists() else "model.safetensors"
    )
    assert (output / "final" / name).read_bytes() == (whole / "final" / name).read_bytes()
    for file in ("metrics.jsonl", "steps.jsonl"):
        key = "loss" if file == "metrics.jsonl" else "digest"
        assert [line[key] for line in read_lines(output / file)] == [line[key] for line in read_lines(whole / file)]


@pytest.mark.slow
def test_another_world_sees_the_same_pages(workplace: Workplace, straight: Path) -> None:
    """Two processes, then one: the same pages in every step; losses equal but for the order of sums."""
    output = workplace.root / "two-then-one"
    run_world(TRAIN, arguments(workplace, output, "train.stop_after=5"), size=2)
    run_world(TRAIN, arguments(workplace, output), size=1)
    losses, digests, _ = result(output)
    wanted_losses, wanted_digests, _ = result(straight)
    assert digests == wanted_digests
    assert losses == pytest.approx(wanted_losses, rel=1e-4)
    (ours,), (theirs,) = (list(read_lines(folder / "eval.jsonl")) for folder in (output, straight))
    assert (ours["tokens"], ours["pages"]) == (theirs["tokens"], theirs["pages"]) and ours["pages"] == 5
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert json.loads((output / "run.json").read_text())["starts"] == [
        {"step": 0, "world_size": 2},
        {"step": 5, "world_size": 1},
    ]


@pytest.mark.slow
def test_the_launcher_starts_two_processes_and_passes_a_signal_on(workplace: Workplace, tmp_path: Path) -> None:
    output, log = tmp_path / "run", tmp_path / "run.log"
    settings = (f"train.output={output}", "train.world_size=2", "train.max_steps=2000")
    with TrainingProcess(workplace.config_file, settings, output=output, log=log) as trainer:
        wait_for_steps(output, 2)
        trainer.process.send_signal(signal.SIGTERM)
        trainer.process.wait()
    assert "with a checkpoint; the same command continues" in log.read_text()
    assert len(list((output / "checkpoints").glob("step-*/manifest.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_launcher_of_one_process_that_ends_leaves_a_checkpoint_and_no_orphan(
    workplace: Workplace, tmp_path: Path, number: signal.Signals
) -> None:
    """It passes no signal on; training hears that its parent is gone."""
    output, log = tmp_path / "run", tmp_path / "run.log"
    settings = (f"train.output={output}", "train.max_steps=2000")
    with TrainingProcess(workplace.config_file, settings, output=output, log=log, num_processes=1) as trainer:
        wait_for_steps(output, 2)
        (rank,) = psutil.Process(trainer.process.pid).children()
        trainer.process.send_signal(number)
        trainer.process.wait()
        rank.wait(timeout=120)
    assert "with a checkpoint; the same command continues" in log.read_text()
    assert len(list((output / "checkpoints").glob("step-*/manifest.json"))) == 1


@pytest.mark.slow
def test_the_launcher_for_one_cpu_process_is_refused_when_two_are_wanted(workplace: Workplace, tmp_path: Path) -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process without an error."""
    config = str(workplace.config_file)
    launcher = ["--cpu", "--num_processes", "2", "-m", "wdstream.train", config]
    settings = (f"train.output={tmp_path / 'run'}", "train.world_size=2")
    sets = [w for s in settings for w in ("--set", s)]
    ranks = start_world("accelerate.commands.launch", [*launcher, *sets], size=1)
    ((status, output),) = finish(ranks)
    assert status != 0
    assert "train.world_size: expected 2 processes, found 1" in output
