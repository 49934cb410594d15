"""`train.resume`: which checkpoint a start continues from, and which are refused: one output, one history."""

import json
from pathlib import Path
from typing import Any

import pytest

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, TrainError
from wdstream.runs.checkpoint import (
    Checkpoint,
    Retention,
    begin_checkpoint,
    checkpoint_path,
    finish_checkpoint,
    measure_own_files,
)
from wdstream.runs.layout import RunLayout
from wdstream.train.saving.start import choose_start


def config(output: Path, resume: Any = "auto") -> Config:
    return Config.of(
        {
            "model": {"path": "m"},
            "data": {"train": [{"path": "s"}]},
            "train": {"output": str(output), "resume": str(resume)},
        }
    )


def run(output: Path, *steps: int, origin: Path | None = None) -> Path:
    """The output of a run with checkpoints at these steps."""
    output.mkdir(exist_ok=True)
    for step in steps:
        path = checkpoint_path(RunLayout(output).checkpoints, step)
        begin_checkpoint(path)
        facts: dict[str, Any] = {"world_size": 1, "zero_stage": None, "stream": {}, "trainer": {}}
        measured = [measure_own_files(path, 0)]
        finish_checkpoint(Checkpoint(path=path, step=step, **facts), measured=measured, keep=Retention(newest=9))
    if origin is not None:
        record = {"origin": {"step": 5, "checkpoint": str(origin.resolve())}}
        RunLayout(output).record.write_text(json.dumps(record))
    return output


def chosen(output: Path, resume: Any = "auto") -> Path | None:
    start, _ = choose_start(config(output, resume))
    return None if start is None else start.path


def test_chosen(tmp_path: Path) -> None:
    new, first = tmp_path / "new", run(tmp_path / "first", 5, 10)
    at_5, at_10 = (checkpoint_path(RunLayout(first).checkpoints, step) for step in (5, 10))
    assert chosen(new) is None and chosen(new, "never") is None
    assert chosen(first) == at_10
    assert chosen(first, at_10) == at_10
    assert chosen(new, at_5) == at_5
    moved = at_5.rename(tmp_path / "kept")  # a checkpoint by any name
    assert chosen(new, moved) == moved


def test_the_same_command_continues_what_it_began(tmp_path: Path) -> None:
    origin = checkpoint_path(RunLayout(run(tmp_path / "first", 5)).checkpoints, 5)
    second = run(tmp_path / "second", 7, 9, origin=origin)
    assert chosen(second, origin) == checkpoint_path(RunLayout(second).checkpoints, 9)
    origin.rename(tmp_path / "elsewhere")  # it is not needed any more
    assert chosen(second, origin) == checkpoint_path(RunLayout(second).checkpoints, 9)


def test_refused(tmp_path: Path) -> None:
    first, other = run(tmp_path / "first", 5, 10), run(tmp_path / "other", 5)
    at_5, theirs = (checkpoint_path(RunLayout(output).checkpoints, 5) for output in (first, other))
    with pytest.raises(ConfigError, match=r"already holds checkpoints and train\.resume is never"):
        choose_start(config(first, "never"))
    with pytest.raises(ConfigError, match=rf"later checkpoints, of the steps 10, .*run rollback {first} --to 5`"):
        choose_start(config(first, at_5))
    with pytest.raises(ConfigError, match="holds checkpoints that did not begin there; choose another output"):
        choose_start(config(first, theirs))
    with pytest.raises(
        TrainError, match=r"train\.resume: .*nowhere: expected the folder of a finished checkpoint.*found nothing"
    ):
        choose_start(config(tmp_path / "new", tmp_path / "nowhere"))
