"""Steps of a run that are counted while it begins: the same losses, kept in checkpoints, and checked at the end."""

import inspect
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import SETTINGS, Workplace
from wdstream.config.build import plan_from_config
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.totals import StepCounter, keep_total, kept_total, total_key
from wdstream.runs.checkpoint import find_newest
from wdstream.storage.json_lines import read_lines
from wdstream.train import setup
from wdstream.train.total import RunTotal, steps_of_checkpoint

EPOCH = (*SETTINGS, "train.max_steps=null", "data.epochs=1", "train.log_every=1", "data.eval=[]")


@pytest.fixture
def workplace(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """With shards of its own: counts are kept next to their index, and other tests would find them there."""
    root = tmp_path_factory.mktemp("counted")
    for name in ("model", "shards-eval"):
        (root / name).symlink_to(workplace.root / name)
    shutil.copytree(workplace.root / "shards", root / "shards")
    (root / "cfg.yaml").write_text(workplace.config_file.read_text().replace(str(workplace.root), str(root)))
    return Workplace(root)


def losses(output: Path) -> list[tuple[object, object, object]]:
    return [(line["step"], line["loss"], line["lr"]) for line in read_lines(output / "metrics.jsonl")]


@pytest.mark.parametrize("warmup", [0, 3, 1000])
def test_a_count_in_the_background_changes_nothing(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int
) -> None:
    assert len(losses_both_ways(workplace, tmp_path, monkeypatch, f"train.warmup_steps={warmup}")) > 5


def losses_both_ways(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> list[tuple[object, object, object]]:
    """Those of a run whose steps are counted at once, which are those of one that counts in the background."""
    assert workplace.train(tmp_path / "at-once", *EPOCH, setting) == 0
    count_in_background(monkeypatch)
    assert workplace.train(tmp_path / "counted", *EPOCH, setting) == 0
    assert losses(tmp_path / "counted") == losses(tmp_path / "at-once")
    return losses(tmp_path / "counted")


def count_in_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even few steps counted by another process, and no count taken that is kept."""
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    monkeypatch.setattr(setup, "kept_total", lambda plan: None)


def test_a_checkpoint_keeps_the_number(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workplace.train(tmp_path / "whole", *EPOCH) == 0
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    assert workplace.train(tmp_path / "parts", *EPOCH, "train.stop_after=3") == 0
    checkpoint, _ = find_newest(tmp_path / "parts" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.trainer["data_steps"] == len(losses(tmp_path / "whole"))
    monkeypatch.setattr(setup, "StepCounter", None)  # nothing is counted again
    monkeypatch.setattr(setup, "kept_total", None)
    assert workplace.train(tmp_path / "parts", *EPOCH) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize("limit", [4, 100])
def test_a_count_no_further_than_needed(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """The data last longer than train.max_steps, or end before."""
    assert losses_both_ways(workplace, tmp_path, monkeypatch, f"train.max_steps={limit}")


def test_max_steps_can_be_raised_after_an_end_and_a_resume(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted as far as the old limit is not taken for the end of the data."""
    starts = ((2, 6), (2, 6), (None, 6), (None, 9))
    output = tmp_path / "at-once"
    for stop, limit in starts:
        assert workplace.train(output, *EPOCH, f"train.max_steps={limit}", f"train.stop_after={stop or 'null'}") == 0
    count_in_background(monkeypatch)
    output = tmp_path / "counted"
    for stop, limit in starts:
        assert workplace.train(output, *EPOCH, f"train.max_steps={limit}", f"train.stop_after={stop or 'null'}") == 0
    assert losses(output) == losses(tmp_path / "at-once")
    assert len(losses(output)) == 9


class Endless(StepCounter):
    """A count that takes as long as that of 100 million pages; asks the run to stop when it is waited for."""

    def poll(self) -> int | None:
        if any(frame.function == "wait" for frame in inspect.stack()):
            os.kill(os.getpid(), signal.SIGTERM)
        return None


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_run_that_waits_for_the_count_stops_when_asked_to(
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    warmup: int,
) -> None:
    settings = (*EPOCH, f"train.warmup_steps={warmup}")
    assert workplace.train(tmp_path / "whole", *settings) == 0
    count_in_background(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(setup, "StepCounter", Endless)
        for _ in range(2):  # the second time before any step
            assert workplace.train(tmp_path / "run", *settings) == 0
            assert f"stopped before step {warmup}" in capsys.readouterr().out
    assert len(losses(tmp_path / "run")) == warmup
    assert workplace.train(tmp_path / "run", *settings) == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.parametrize("planning", ["thread", "process"])
def test_two_ranks_count_and_share_a_planner(workplace: Workplace, tmp_path: Path, planning: str) -> None:
    """As one process does it at once; one of them does not learn from its launcher how many share the machine."""
    settings = (*EPOCH, "train.warmup_steps=2")
    assert workplace.train(tmp_path / "alone", *settings) == 0
    script = str(ROOT / "tests/workers/counted_run.py")
    chosen = (f"train.output={tmp_path / 'two'}", *settings, f"data.planning={planning}")
    words = [str(workplace.config_file), *(word for setting in chosen for word in ("--set", setting))]
    run_world(script, words, size=2)
    for (step, loss, rate), (other, expected, other_rate) in zip(
        losses(tmp_path / "two"), losses(tmp_path / "alone"), strict=True
    ):
        assert (step, rate) == (other, other_rate)
        assert loss == pytest.approx(expected, rel=1e-4)


def test_a_wrong_number_is_an_error_at_the_end(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    for wrong, found in ((3, "do not end after 3"), (500, "end after")):
        monkeypatch.setattr(setup, "kept_total", lambda plan, wrong=wrong: wrong)
        assert workplace.train(tmp_path / f"run{wrong}", *EPOCH) == 1
        error = capsys.readouterr().err
        assert f"{wrong} steps were counted, and the data {found}" in error
        assert "Remove index/steps" in error


def test_the_number_is_kept_next_to_the_index(workplace: Workplace, tmp_path: Path) -> None:
    plan: Plan = plan_from_config(workplace.config(tmp_path, "data.epochs=1"))
    other = plan_from_config(workplace.config(tmp_path, "data.epochs=2"))
    keep_total(plan, 123)
    assert kept_total(plan) == 123
    assert kept_total(other) is None
    (path,) = (workplace.root / "shards" / "index").glob("steps.*.json")
    right = path.read_text(encoding="ascii")
    for wrong in ("{", '{"steps": 124}', right.replace("123", "124"), '{"steps": true}', "[" * 100_000):
        path.write_text(wrong, encoding="ascii")
        assert kept_total(plan) is None
    path.write_text(right, encoding="ascii")
    assert kept_total(plan) == 123
    path.rename(path.with_name(f"steps.{total_key(other):012x}.json"))
    assert kept_total(other) is None  # it is of another plan


def test_a_number_that_cannot_be_kept_is_said_and_no_error(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    index = workplace.root / "shards" / "index"
    plan = plan_from_config(workplace.config(tmp_path, *EPOCH))
    (index / f"steps.{total_key(plan):012x}.json").mkdir()
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    assert workplace.train(tmp_path / "run", *EPOCH) == 0
    assert caplog.text.count("are not kept next to the index") == 1


def test_which_numbers_of_a_checkpoint_hold() -> None:
    exact = {"data_steps": 90, "counted_up_to": 100, "counted_for": 7}
    at_least = {"data_steps": 100, "counted_up_to": 100, "counted_for": 7}
    assert steps_of_checkpoint(exact, key=7, limit=None) == (90, None)
    assert steps_of_checkpoint(exact, key=8, limit=None) == (None, None)
    assert steps_of_checkpoint(at_least, key=7, limit=None) == (None, None)
    assert steps_of_checkpoint(at_least, key=7, limit=100) == (100, 100)  # still no more than it was
    assert steps_of_checkpoint(at_least, key=7, limit=101) == (None, None)
    assert steps_of_checkpoint({}, key=0, limit=100) == (None, None)


def test_what_ends_a_run() -> None:
    assert RunTotal(limit=10).known == 10
    assert RunTotal(limit=10, is_counted=True).known is None
    assert RunTotal(limit=10, is_counted=True, of_data=7).known == 7
    assert RunTotal(limit=10, is_counted=True, of_data=7).ends_with_data
    assert not RunTotal(limit=10, is_counted=True, of_data=17).ends_with_data
    assert not RunTotal(limit=10, is_counted=True, of_data=10, up_to=10).ends_with_data
    assert RunTotal(limit=10, is_counted=True, of_data=7, up_to=10).ends_with_data
    assert json.dumps(RunTotal(limit=10).saved()) == "{}"


def test_the_record_has_the_number(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    assert workplace.train(tmp_path / "run", *EPOCH, "train.warmup_steps=2", "train.stop_after=4") == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["total_steps"] > 5
