"""Steps that are passed over by number: nothing of them is trained, all else is as it was, and every reader knows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.command import run
from tests.helpers.processes import run_world
from tests.helpers.training import TRAIN, Workplace, arguments
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError
from wdstream.runs.audit import audit
from wdstream.runs.layout import RunLayout
from wdstream.runs.trace import trace
from wdstream.storage.json_lines import read_lines

SHORT = ("train.max_steps=6", "train.checkpoint_every=2", "data.eval=[]")
SKIP = 'train.skip_steps=[2, "4-5"]'


def weights(output: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoints" / f"step-{step:08d}" / "adapter_model.safetensors")


def losses(output: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_lines(output / "metrics.jsonl")}


@pytest.fixture(scope="module")
def skipping(workplace: Workplace) -> Path:
    """A run that skips steps 2, 4 and 5 of 6, stopped in between and continued."""
    output = workplace.root / "skipping"
    settings = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.lr=0.01", "train.keep_checkpoints=9", *SHORT)
    assert workplace.train(output, *settings, SKIP, "train.stop_after=3") == 0
    assert workplace.train(output, *settings, SKIP) == 0
    straight = workplace.root / "skipping-not"
    assert workplace.train(straight, *settings, "train.stop_after=4") == 0
    return output


def test_nothing_of_a_skipped_step_is_trained(workplace: Workplace, skipping: Path) -> None:
    straight = workplace.root / "skipping-not"
    ours, theirs = losses(skipping), losses(straight)
    assert [*ours] == [0, 1, 3] and [*theirs] == [0, 1, 2, 3]
    assert [ours[step] for step in (0, 1)] == [theirs[step] for step in (0, 1)]
    assert ours[3] != theirs[3]  # other weights
    rates = {line["step"]: line["lr"] for line in read_lines(skipping / "metrics.jsonl")}
    wanted = {line["step"]: line["lr"] for line in read_lines(straight / "metrics.jsonl")}
    assert rates[3] == wanted[3]
    after = weights(skipping, 4)
    assert all(torch.equal(tensor, after[name]) for name, tensor in weights(skipping, 6).items())
    before, trained = weights(skipping, 2), weights(skipping, 3)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in before.items())


def test_the_readers_of_a_run_know(workplace: Workplace, skipping: Path) -> None:
    lines = RunLayout(skipping).read_steps()
    assert [line["step"] for line in lines if line.get("skipped")] == [2, 4, 5]
    report = audit(skipping)
    assert report.is_clean, report.differences
    skipped = sum(line["pages"] for line in lines if line.get("skipped"))
    assert (report.skipped, report.skipped_steps, report.trained) == (skipped, 3, report.planned - skipped)
    assert "step 4 is skipped (train.skip_steps): its pages are not trained on" in trace(skipping, step=4).notes
    assert not any("skipped" in note for note in trace(skipping, step=3).notes)
    key = trace(skipping, step=4).pages[0].key
    for words in (("trace", skipping, "--page", key), ("where", workplace.config_file, key, "--set", SKIP)):
        assert f"{key}: step 4, which is skipped (train.skip_steps), pack " in run(*words).stdout
    shown = run("show", workplace.config_file, "--step", "4", "--set", SKIP).stdout
    assert "the step is skipped (train.skip_steps)" in " ".join(shown.split())


def test_a_step_that_is_in_the_weights_is_not_skipped_later(
    workplace: Workplace, skipping: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """But one that was skipped, is; and so is one that comes."""
    straight = workplace.root / "skipping-not"
    lora = "train.adapter={kind: lora, r: 4, dropout: 0.2}"
    assert workplace.train(straight, lora, *SHORT, "train.skip_steps=['1-5']") == 2
    said = " ".join(capfd.readouterr().err.split())
    assert "train.skip_steps: step 1 to 3 were trained already, and the run continues before step 4" in said
    assert f"wdstream run rollback {straight} --to 1" in said
    assert workplace.train(straight, lora, *SHORT, "train.skip_steps=[0]") == 2
    assert "To take it back: begin again in another train.output; else" in " ".join(capfd.readouterr().err.split())
    assert workplace.train(straight, lora, "train.lr=0.01", *SHORT, "train.skip_steps=[4, 5]") == 0
    assert [*losses(straight)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"skip_steps": ["5-3"]}, 'expected a number of a step, such as 1234, or a range, such as "2000-2010"'),
        ({"skip_steps": ["x"]}, "expected a number of a step"),
        ({"skip_steps": [-1]}, "expected a number of a step"),
        ({"skip_steps": ["²"]}, "expected a number of a step"),
        ({"skip_steps": [True]}, "skip_steps"),
        ({"skip_steps": ["0-4", "5-9"], "max_steps": 10}, "all 10 steps of the run are passed over"),
        ({"skip_steps": [2, "8-10"], "max_steps": 10}, "8-10: the steps of the run are 0 to 9"),
    ],
)
def test_steps_that_are_none_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TrainConfig(**settings)


def test_steps_after_the_end_of_the_data_are_refused(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ("train.max_steps=null", "data.epochs=1", "train.skip_steps=[50]")
    assert workplace.train(tmp_path / "run", *settings) == 2
    assert "train.skip_steps: 50: the steps of the run are 0 to 9 (the end of the data)" in capfd.readouterr().err


@pytest.mark.slow
def test_two_processes_skip_alike(workplace: Workplace, skipping: Path, tmp_path: Path) -> None:
    output = tmp_path / "two"
    run_world(TRAIN, arguments(workplace, output, *SHORT, SKIP), size=2)
    assert [*losses(output)] == [0, 1, 3]
    ours, theirs = (RunLayout(folder).read_steps() for folder in (output, skipping))
    assert [line["digest"] for line in ours] == [line["digest"] for line in theirs]
    assert losses(output) == pytest.approx(losses(skipping), rel=1e-4)
    assert audit(output).is_clean
