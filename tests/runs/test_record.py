"""The record of a run across starts."""

import json
from pathlib import Path

from wdstream.config.schema import Config
from wdstream.runs.record import RunRecord, data_differences, differences, package_versions
from wdstream.storage.json_lines import read_lines


def config(lr: float = 1e-4) -> Config:
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "s"}]}, "train": {"lr": lr}}
    return Config.model_validate(tree)


def test_starts_add_up_and_changes_are_told(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    books, more = {"books": {"shards": 2, "pages": 40}}, {"books": {"shards": 3, "pages": 60}}
    assert record.start(config(), fingerprints={"index": "ab"}, data=books, step=0, world_size=2) == []
    assert data_differences(tmp_path, books) == []
    assert data_differences(tmp_path, more) == ["data set books.pages: 40 -> 60", "data set books.shards: 2 -> 3"]
    for step in range(7):
        record.add_step({"step": step, "digest": "00"})
    record.add_state(4, {"step": 5})
    assert record.start(config(5e-5), fingerprints={"index": "ab"}, data=more, step=5, world_size=1) == [
        "train.lr: 0.0001 -> 5e-05",
        "data set books.pages: 40 -> 60",
        "data set books.shards: 2 -> 3",
    ]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["starts"] == [{"step": 0, "world_size": 2}, {"step": 5, "world_size": 1}]
    assert run["fingerprints"] == {"index": "ab"}
    assert run["config"]["train"]["lr"] == 5e-5
    assert [line["step"] for line in read_lines(tmp_path / "steps.jsonl")] == [0, 1, 2, 3, 4]
    assert list(read_lines(tmp_path / "states.jsonl")) == [{"step": 4, "stream": {"step": 5}}]


def test_a_start_from_nothing_forgets_the_starts_before(tmp_path: Path) -> None:
    record = RunRecord(tmp_path)
    record.start(config(), fingerprints={}, step=0, world_size=2)
    record.start(config(), fingerprints={}, step=0, world_size=1)
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
