"""The record of a run across starts."""

import json
from pathlib import Path

import pytest

from wdstream.config.schema import Config
from wdstream.errors import TrainError
from wdstream.runs.layout import RunLayout, StepLine
from wdstream.runs.record import (
    DataSizes,
    RunRecord,
    data_differences,
    differences,
    package_versions,
    read_run,
    start_record,
)
from wdstream.storage.json_lines import read_lines


def config(lr: float = 1e-4) -> Config:
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "s"}]}, "train": {"lr": lr}}
    return Config.model_validate(tree)


def start(
    folder: Path, config: Config, *, step: int, world_size: int, data: DataSizes | None = None
) -> tuple[RunRecord, list[str]]:
    files = RunLayout(folder)
    return start_record(files, config, fingerprints={"index": "ab"}, data=data or {}, step=step, world_size=world_size)


def step_line(step: int) -> StepLine:
    return {"step": step, "digest": "00", "world_size": 2, "pages": 3, "supervised": 40, "failed": 0}


def test_starts_add_up_and_changes_are_reported(tmp_path: Path) -> None:
    books, more = {"books": {"shards": 2, "pages": 40}}, {"books": {"shards": 3, "pages": 60}}
    record, changes = start(tmp_path, config(), data=books, step=0, world_size=2)
    assert changes == []
    here = config().replace(train=config().train.replace(output=tmp_path))
    assert data_differences(here, books) == []
    other = here.replace(data=here.data.replace(seed=5), train=here.train.replace(lr=1.0))
    assert data_differences(other, books) == ["data.seed: 0 -> 5"]
    assert data_differences(here, more) == ["dataset books.pages: 40 -> 60", "dataset books.shards: 2 -> 3"]
    for step in range(7):
        record.steps.append(step_line(step))
    record.add_state(4, {"step": 5})
    files = RunLayout(tmp_path)
    for step in (3, 5):
        path = files.generated_pages("by/heart", step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    _, changes = start(tmp_path, config(5e-5), data=more, step=5, world_size=1)
    assert changes == [
        "train.lr: 0.0001 -> 5e-05",
        "dataset books.pages: 40 -> 60",
        "dataset books.shards: 2 -> 3",
    ]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["starts"] == [{"step": 0, "world_size": 2}, {"step": 5, "world_size": 1}]
    assert run["fingerprints"] == {"index": "ab"}
    assert run["config"]["train"]["lr"] == 5e-5
    assert [line["step"] for line in read_lines(tmp_path / "steps.jsonl")] == [0, 1, 2, 3, 4]
    assert list(read_lines(tmp_path / "states.jsonl")) == [{"step": 4, "stream": {"step": 5}}]
    assert [path.name for path in (tmp_path / "generated" / "by%2Fheart").iterdir()] == ["step-00000003.jsonl"]
    found = read_run(tmp_path)
    assert list(found.steps) == [step_line(step) for step in range(5)]
    assert found.states == {5: {"step": 5}}
    assert (found.world_size(3), found.world_size(99)) == (2, 2)


def test_an_older_record_is_compared_as_it_is_read_today(tmp_path: Path) -> None:
    """A key that was not there yet and a colour that was written as a name do not count as changes of this start."""
    red = config().replace(tiling={"pad_color": "red"})
    start(tmp_path, red, step=0, world_size=1)
    before = json.loads((tmp_path / "run.json").read_text())
    del before["config"]["model"]["allow_missing"], before["config"]["data"]["workers"]
    before["config"]["tiling"]["pad_color"] = "red"
    before["config"]["train"]["lr"] = 3e-5
    (tmp_path / "run.json").write_text(json.dumps(before))
    _, changes = start(tmp_path, red, step=2, world_size=1)
    assert changes[1:] == ["train.lr: 3e-05 -> 0.0001"]
    assert "lines of steps 0 to 1 are lost" in changes[0]


@pytest.mark.parametrize("content", ["", "[1]", '{"ver', "\0" * 30, "null", '["config"]'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(TrainError, match=r"run\.json: expected a JSON object, found .*; it is damaged"):
        start(tmp_path, config(), step=2, world_size=1)
    with pytest.raises(TrainError, match=r"not the folder of a training run: run\.json (cannot be read \(|lacks what)"):
        read_run(tmp_path)


def test_a_start_from_nothing_forgets_the_starts_before(tmp_path: Path) -> None:
    start(tmp_path, config(), step=0, world_size=2)
    start(tmp_path, config(), step=0, world_size=1)
    assert json.loads((tmp_path / "run.json").read_text())["starts"] == [{"step": 0, "world_size": 1}]


def test_differences_name_nested_keys() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}) == [
        "a.c: 2 -> 4",
        "d: 3 -> None",
        "e: None -> 5",
    ]


def test_versions_name_torch() -> None:
    versions = package_versions()
    assert versions["torch"]
    assert set(versions) >= {"transformers", "accelerate", "numpy"}


def test_metrics_of_an_older_run_are_read_by_todays_names(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "straggler": 1.25}\n{"step": 1, "imbalance": 1.5}\n')
    assert list(RunLayout(tmp_path).read_metrics()) == [{"step": 0, "imbalance": 1.25}, {"step": 1, "imbalance": 1.5}]
