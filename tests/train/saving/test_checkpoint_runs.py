"""Whole runs: which checkpoints are there afterwards, saved between steps or next to them; runs that begin with one.

Spans: train, runs.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.full_disk import no_file_over
from tests.helpers.training import Workplace
from wdstream.runs.audit import audit
from wdstream.runs.best import read_best, resolve_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines

LORA = (
    "train.adapter={kind: lora, r: 4, dropout: 0.2}",
    "train.lr=0.01",
    "train.max_steps=6",
    "train.ema={decay: 0.9}",
)
BEST = ("train.eval_every=3", "train.keep_best={set: held_out}")


def steps_of(output: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in RunLayout(output).checkpoints.iterdir())


def losses(output: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_lines(output / "metrics.jsonl")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def final_bytes(output: Path) -> bytes:
    return (output / "final" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(workplace: Workplace) -> Path:
    """Six steps; a checkpoint after each second one is kept, of the others the newest, and the best."""
    output = workplace.root / "saves"
    settings = ("train.checkpoint_every=5", "train.keep_every=2", "train.keep_checkpoints=1")
    assert workplace.train(output, *LORA, *BEST, *settings) == 0
    return output


def test_milestones_and_the_best_one_are_kept(straight: Path) -> None:
    evaluations = {line["step"] + 1: line["loss"] for line in read_lines(straight / "eval.jsonl")}
    assert list(evaluations) == [3, 6]
    best = read_best(RunLayout(straight))
    assert best is not None
    assert (best.step, best.value) == min(evaluations.items(), key=lambda item: item[1])
    # There was one of step 3, because its evaluation was the best so far; 5 is the newest of all others.
    assert steps_of(straight) == ([2, 4, 5, 6] if best.step == 6 else [2, 3, 4, 5, 6])
    assert resolve_checkpoint(straight, "best").name == f"step-{best.step:08}"
    saves = list(read_lines(straight / "saves.jsonl"))
    assert [line["step"] + 1 for line in saves] == [2, 3, 4, 5, 6]
    assert all(line["waited_s"] > 0 and line["written_s"] > 0 for line in saves)


def test_saved_next_to_the_steps_and_by_the_clock(workplace: Workplace, straight: Path) -> None:
    """At every step, because a moment has passed; the losses and every byte are as without."""
    output = workplace.root / "saves-async"
    clock = ("train.checkpoint_every=null", "train.checkpoint_minutes=1e-9", "train.keep_checkpoints=9")
    assert workplace.train(output, *LORA, *BEST, *clock, "train.async_checkpoints=true") == 0
    assert losses(output) == losses(straight)
    assert steps_of(output) == [1, 2, 3, 4, 5, 6]
    assert (straight / "checkpoints/step-00000002/ema.safetensors").exists()
    for step in (2, 6):
        name = f"checkpoints/step-{step:08}"
        assert contents(output / name) == contents(straight / name)
    assert read_best(RunLayout(output)) == read_best(RunLayout(straight))
    assert final_bytes(output) == final_bytes(straight)
    assert [line["step"] for line in read_lines(output / "saves.jsonl")] == [0, 1, 2, 3, 4, 5]


def test_a_clock_that_has_not_run_out_saves_nothing(workplace: Workplace, tmp_path: Path) -> None:
    settings = ("train.checkpoint_every=null", "train.checkpoint_minutes=1000", "data.eval=[]", "train.max_steps=2")
    assert workplace.train(tmp_path / "run", *LORA, *settings) == 0
    assert steps_of(tmp_path / "run") == [2]


def test_a_run_that_begins_with_anothers_checkpoint(
    workplace: Workplace, straight: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, source = tmp_path / "second", straight / "checkpoints" / "step-00000004"
    begin = (*LORA, f"train.resume={source}", "data.eval=[]", "train.stop_after=1")
    assert workplace.train(output, *begin) == 0
    record = json.loads((output / "run.json").read_text())
    assert record["origin"] == {"step": 4, "checkpoint": str(source.resolve())}
    assert workplace.train(output, *begin) == 0  # the same command continues with what it began
    assert json.loads((output / "run.json").read_text())["origin"]["step"] == 4
    assert losses(output) == losses(straight)[4:]
    assert final_bytes(output) == final_bytes(straight)
    report = audit(output)
    assert report.is_clean and (report.steps, report.states) == (2, 3), report.differences
    assert "lost" not in capfd.readouterr().out
    assert workplace.train(tmp_path / "other", *begin, "train.optimizer=muon") == 2
    assert f"{source} has the state of adamw" in capfd.readouterr().err
    assert workplace.train(straight, *LORA, f"train.resume={source}") == 2
    assert f"run rollback {straight} --to 4" in capfd.readouterr().err


def test_the_best_one_of_a_run_that_begins_with_anothers_is_in_its_own_output(
    workplace: Workplace, straight: Path, tmp_path: Path
) -> None:
    """Evaluated before its first step, it was the best, and best.json named a checkpoint that was not there."""
    output, source = tmp_path / "second", straight / "checkpoints" / "step-00000004"
    worse = ("train.lr=0.5", "train.max_grad_norm=null", "train.eval_every=1", "train.max_steps=5")
    assert workplace.train(output, *LORA, *worse, "train.keep_best={set: held_out}", f"train.resume={source}") == 0
    best = read_best(RunLayout(output))
    assert best is not None and best.step == 4
    assert resolve_checkpoint(output, "best") == output / "checkpoints" / "step-00000004"


def test_a_save_that_fails_next_to_the_steps_ends_the_run(
    workplace: Workplace, straight: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The disk is full for files of this size; what was complete before stays."""
    output = tmp_path / "full"
    shutil.copytree(straight / "checkpoints" / "step-00000004", output / "checkpoints" / "step-00000004")
    settings = (*LORA, "data.eval=[]", "train.checkpoint_every=1", "train.async_checkpoints=true")
    size = (straight / "checkpoints" / "step-00000004" / "optimizer.bin").stat().st_size
    with no_file_over(size // 2):
        assert workplace.train(output, *settings) == 1
    message = capfd.readouterr().err
    folder = output / "checkpoints" / "step-00000005"
    assert f"a checkpoint could not be written:\nrank 0: {folder}: a file could not be written whole, as on" in message
    assert [path.name for path in (output / "checkpoints").glob("*[0-9]")] == ["step-00000004"]
    assert workplace.train(output, *settings) == 0
    assert final_bytes(output) == final_bytes(straight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("train.collective_minutes=.inf",), "train.collective_minutes: expected"),
        (("train.checkpoint_minutes=.inf",), "train.checkpoint_minutes: expected"),
        (("train.checkpoint_every=null",), "checkpoint_every and checkpoint_minutes are both null"),
        (
            ("train.keep_best={set: nothing}", "train.eval_every=1"),
            "train.keep_best.set: data.eval has no set 'nothing'",
        ),
        (("train.resume=s3://bucket/step-5",), "expected a path of this machine"),
    ],
)
def test_refusals(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: tuple[str, ...], message: str
) -> None:
    assert workplace.train(tmp_path / "run", *LORA, *settings) == 2
    assert message in capfd.readouterr().err
