"""A run goes back to one of its checkpoints: what is cut, what is moved, at whatever moment the command is killed.

The training proof is in tests/train/test_rollback_run.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.kills import killed
from wdstream.config.schema import Config
from wdstream.errors import TrainError, WdstreamError
from wdstream.runs.audit import audit
from wdstream.runs.best import BestCheckpoint, write_best
from wdstream.runs.blocks import append_block
from wdstream.runs.checkpoint import (
    Checkpoint,
    Retention,
    begin_checkpoint,
    checkpoint_path,
    find_newest,
    finish_checkpoint,
    partial_path,
)
from wdstream.runs.checkpoint_table import list_run
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import run_lock
from wdstream.runs.rollback import roll_back
from wdstream.storage.json_lines import read_lines, write_lines


@pytest.fixture
def finished(run_folder: Path, tmp_path: Path) -> Path:
    """A run with checkpoints of the steps 2, 4 and 6, a best one, evaluations and a result."""
    output = Path(shutil.copytree(run_folder, tmp_path / "run"))
    files = RunLayout(output)
    for step in (2, 4, 6):
        path = checkpoint_path(files.checkpoints, step)
        begin_checkpoint(path)
        (partial_path(path) / "model.safetensors").write_bytes(bytes([step]) * 1000)
        checkpoint = Checkpoint(path=path, step=step, world_size=2, zero_stage=None, stream={}, trainer={})
        finish_checkpoint(checkpoint, measured=[], keep=Retention(newest=9))
    begin_checkpoint(checkpoint_path(files.checkpoints, 8))  # a kill left it
    write_best(files, BestCheckpoint(step=6, set="held_out", figure="loss", value=0.5))
    write_lines(files.evaluations, [{"step": step, "name": "held_out", "loss": step / 10} for step in (1, 3, 5)])
    for step in (3, 5):
        pages = files.generated_pages("held_out", step)
        pages.parent.mkdir(parents=True, exist_ok=True)
        pages.write_text("{}\n")
    files.trackers.write_text('{"wandb": "an-id"}')
    files.final.mkdir()
    (files.final / "config.json").write_text("{}")
    return output


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, whose note has the process, and the events of TensorBoard, which have a time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock" and "tensorboard" not in path.parts
    }


def test_later_checkpoints_are_moved_and_every_list_is_cut(finished: Path) -> None:
    files = RunLayout(finished)
    before, steps = contents(finished), files.read_steps()
    done = roll_back(finished, 4)
    assert done.moved == ["final", "checkpoints/step-00000006"]
    assert files.read_steps() == [line for line in steps if line["step"] < 4]
    assert max(files.read_states()) == 4
    assert [line["step"] for line in read_lines(files.evaluations)] == [1, 3]
    assert [path.name for path in files.generated.rglob("*.jsonl")] == ["step-00000003.jsonl"]
    assert [path.name for path in sorted(files.checkpoints.iterdir())] == ["step-00000002", "step-00000004"]
    assert not files.final.exists() and not files.best.exists()
    assert all(line["step"] < 4 for line in read_lines(files.quarantine))
    moved = finished / "rolled-back"
    assert contents(moved / "step-00000006") == {
        name.removeprefix("checkpoints/step-00000006/"): data
        for name, data in before.items()
        if name.startswith("checkpoints/step-00000006/")
    }
    assert [start["step"] for start in json.loads(files.record.read_bytes())["starts"]] == [0, 2]
    assert audit(finished).is_clean
    once = contents(finished)
    assert roll_back(finished, 4).moved == []
    assert contents(finished) == once


def test_what_is_removed_is_gone_and_a_second_way_back_keeps_the_first(finished: Path) -> None:
    files = RunLayout(finished)
    first = files.checkpoints / "step-00000006"
    shutil.copytree(first, finished / "copy")
    roll_back(finished, 4)
    (finished / "copy").rename(first)
    roll_back(finished, 4)
    names = sorted(path.name for path in (finished / "rolled-back").iterdir())
    assert names == ["final", "step-00000006", "step-00000006.2"]
    assert roll_back(finished, 2, is_removed=True).moved == ["checkpoints/step-00000004"]
    assert sorted(path.name for path in (finished / "rolled-back").iterdir()) == names


def test_killed_at_any_moment_and_run_again(finished: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    roll_back(whole, 2)
    wanted, moment, is_killed = contents(whole), 0, True
    while is_killed:
        moment += 1
        output = Path(shutil.copytree(finished, tmp_path / "killed"))
        is_killed = killed(output, lambda folder: roll_back(folder, 2), moment)
        left = [one.step for one in list_run(output)]
        assert left in ([2, 4, 6], [2, 4], [2]), "the later ones go first"
        roll_back(output, 2)
        assert contents(output) == wanted, moment
        shutil.rmtree(output)
    assert moment > 10


def test_what_cannot_be_done_changes_nothing(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="there are those of the steps 2, 4, 6"):
        roll_back(finished, 3)
    damaged = finished / "checkpoints" / "step-00000004" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    before = contents(finished)
    with pytest.raises(TrainError, match="the checkpoint is not whole, and nothing was changed; others: 2, 6"):
        roll_back(finished, 4)
    with run_lock(finished), pytest.raises(TrainError, match="is training here"):
        roll_back(finished, 2)
    with pytest.raises(TrainError, match="not the folder of a training run"):
        roll_back(tmp_path / "none", 2)
    assert contents(finished) == before and not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["eval.jsonl", "losses/pages.blocks", "best.json"])
def test_what_is_damaged_is_found_before_anything_is_moved(finished: Path, name: str) -> None:
    files = RunLayout(finished)
    files.losses.parent.mkdir(exist_ok=True)
    for step in (1, 5):
        append_block(files.losses, {"step": np.array([step])})
    path = finished / name
    path.write_bytes(b"{\n" + path.read_bytes())
    before = contents(finished)
    with pytest.raises(WdstreamError, match=path.name):
        roll_back(finished, 4)
    assert contents(finished) == before


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": 1, "step": 2, "world_size": 1, "files": {"a": 3}}']
)
def test_a_manifest_that_is_none_is_a_checkpoint_that_is_not_whole(finished: Path, text: str) -> None:
    manifest = finished / "checkpoints" / "step-00000004" / "manifest.json"
    manifest.write_text(text)
    for is_verified in (False, True):
        found = {one.step: one.problem for one in list_run(finished, is_verified=is_verified)}
        assert "manifest.json" in found.pop(4) and not any(found.values())
    with pytest.raises(TrainError, match="nothing was changed"):
        roll_back(finished, 4)


def test_copies_next_to_the_checkpoints_are_none(finished: Path) -> None:
    folder = finished / "checkpoints"
    for name in ("step-00000004-copy", "step-old"):
        shutil.copytree(folder / "step-00000004", folder / name)
    newest, messages = find_newest(folder)
    assert newest is not None and newest.step == 6 and not messages
    assert [one.step for one in list_run(finished)] == [2, 4, 6]
    roll_back(finished, 2)
    assert (folder / "step-00000004-copy").is_dir()


def test_the_list_of_checkpoints(finished: Path, stream_config: Callable[..., Config]) -> None:
    damaged = finished / "checkpoints" / "step-00000004" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    (finished / "checkpoints" / "step-00000002" / "trainer.json").unlink()
    quick, slow = list_run(finished), list_run(finished, is_verified=True)
    assert [(one.step, bool(one.problem), one.is_best) for one in quick] == [
        (2, True, False),
        (4, False, False),
        (6, False, True),
    ]
    assert [bool(one.problem) for one in slow] == [True, True, False]
    assert quick[0].problem == "trainer.json: expected 2 bytes, found no file"
    assert quick[1].evaluations == {"held_out": {"loss": 0.3}}
    assert quick[2].nbytes > 1000 and quick[2].world_size == 2
