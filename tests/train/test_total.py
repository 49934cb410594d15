"""Steps of a run that are counted while it begins: the same losses, kept in checkpoints, and checked at the end."""

import json
from pathlib import Path

import pytest

from tests.helpers.training import SETTINGS, Workplace
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.totals import kept_total
from wdstream.runs.checkpoint import find_newest
from wdstream.storage.json_lines import read_lines
from wdstream.train import setup
from wdstream.train.total import RunTotal, steps_of_checkpoint

EPOCH = (*SETTINGS, "train.max_steps=null", "data.epochs=1", "train.log_every=1", "data.eval=[]")


def losses(output: Path) -> list[tuple[object, object, object]]:
    return [(line["step"], line["loss"], line["lr"]) for line in read_lines(output / "metrics.jsonl")]


@pytest.mark.parametrize("warmup", [0, 3, 1000])
def test_a_count_in_the_background_changes_nothing(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int
) -> None:
    settings = (*EPOCH, f"train.warmup_steps={warmup}")
    assert workplace.train(tmp_path / "at-once", *settings) == 0
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    monkeypatch.setattr(setup, "kept_total", lambda plan: None)
    assert workplace.train(tmp_path / "counted", *settings) == 0
    assert losses(tmp_path / "counted") == losses(tmp_path / "at-once")
    assert len(losses(tmp_path / "counted")) > 5


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
    from wdstream.config.build import plan_from_config
    from wdstream.pipeline.totals import keep_total

    plan: Plan = plan_from_config(workplace.config(tmp_path, "data.epochs=1"))
    keep_total(plan, 123)
    try:
        assert kept_total(plan) == 123
        assert kept_total(plan_from_config(workplace.config(tmp_path, "data.epochs=2"))) is None
        (path,) = (workplace.root / "shards" / "index").glob("steps.*.json")
        path.write_text("{", encoding="ascii")
        assert kept_total(plan) is None
    finally:
        for path in (workplace.root / "shards" / "index").glob("steps.*.json"):
            path.unlink()


def test_which_numbers_of_a_checkpoint_hold() -> None:
    exact = {"data_steps": 90, "counted_up_to": 100, "counted_for": 7}
    at_least = {"data_steps": 100, "counted_up_to": 100, "counted_for": 7}
    assert steps_of_checkpoint(exact, key=7, limit=None) == 90
    assert steps_of_checkpoint(exact, key=8, limit=None) is None
    assert steps_of_checkpoint(at_least, key=7, limit=None) is None
    assert steps_of_checkpoint(at_least, key=7, limit=100) == 100
    assert steps_of_checkpoint(at_least, key=7, limit=101) is None
    assert steps_of_checkpoint({}, key=0, limit=100) is None


def test_what_ends_a_run() -> None:
    assert RunTotal(limit=10).known == 10
    assert RunTotal(limit=10, is_counted=True).known is None
    assert RunTotal(limit=10, is_counted=True, of_data=7).known == 7
    assert RunTotal(limit=10, is_counted=True, of_data=7).ends_with_data
    assert not RunTotal(limit=10, is_counted=True, of_data=17).ends_with_data
    assert json.dumps(RunTotal(limit=10).saved()) == "{}"


def test_the_record_has_the_number(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "SMALL_COUNT", 0)
    assert workplace.train(tmp_path / "run", *EPOCH, "train.warmup_steps=2", "train.stop_after=4") == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["total_steps"] > 5
