"""A split that changed after a run: what is evaluated may have been trained on, and no page's steps are known."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from wdstream.config.schema import Config, DatasetConfig
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import PlanError
from wdstream.runs.page_trace import trace_page
from wdstream.runs.record import read_run
from wdstream.train.evaluate.held_out_since import warn_of_other_split


@pytest.fixture
def moved(run_folder: Path, tmp_path: Path) -> tuple[Path, Config]:
    """A run on shards of its own, and a configuration that measures what these hold out."""
    run, shards = tmp_path / "run", tmp_path / "shards"
    shutil.copytree(run_folder, run)
    record = json.loads((run / "run.json").read_text())
    (entry,) = record["config"]["data"]["train"]
    shutil.copytree(entry["path"], shards)
    entry["path"] = str(shards)
    (run / "run.json").write_text(json.dumps(record))
    config = read_run(run).config
    measured = DatasetConfig(path=str(shards), split="held_out")
    return run, config.replace(data=config.data.replace(eval=(measured,)))


def test_another_split_is_said(moved: tuple[Path, Config], caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    run, config = moved
    with caplog.at_level(logging.WARNING, "wdstream"):
        warn_of_other_split(run, config)
        assert caplog.messages == []
        split_shards(tmp_path / "shards", SplitOptions(holdout="2", by="page"))
        warn_of_other_split(run, config)
        assert len(caplog.messages) == 1
        assert "other pages are held out now than while the run trained" in caplog.messages[0]
        shutil.rmtree(tmp_path / "shards")
        warn_of_other_split(run, config)
        assert "held out while the run trained is not known: " in caplog.messages[1]


def test_a_page_is_not_looked_for_in_another_plan(moved: tuple[Path, Config], tmp_path: Path) -> None:
    key = next(iter(trace_page(moved[0], "*").occurrences)).name
    split_shards(tmp_path / "shards", SplitOptions(holdout="2", by="page"))
    with pytest.raises(PlanError, match="not that of the run any more: split changed since"):
        trace_page(moved[0], key)
