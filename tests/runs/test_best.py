"""A checkpoint is found by "best", "newest" or its step; what is not there is named with what is."""

from pathlib import Path

import pytest

from wdstream.errors import TrainError
from wdstream.runs.best import BestCheckpoint, read_best, resolve_checkpoint, write_best
from wdstream.runs.layout import RunLayout


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for name in ("step-00000005", "step-00000010", "step-00000015.tmp", "step-00000001.deleted"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    return tmp_path


def test_resolved(output: Path) -> None:
    write_best(RunLayout(output), BestCheckpoint(step=5, set="held_out", figure="loss", value=1.25))
    assert read_best(RunLayout(output)) == BestCheckpoint(step=5, set="held_out", figure="loss", value=1.25)
    names = {which: resolve_checkpoint(output, which).name for which in ("best", "newest", 5, "5", "10")}
    assert names == {
        "best": "step-00000005",
        "newest": "step-00000010",
        5: "step-00000005",
        "5": "step-00000005",
        "10": "step-00000010",
    }
    assert (output / "checkpoints" / "step-00000015.tmp").exists()  # a run that lives may be writing it


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (15, r"step-00000015: there is no such checkpoint; there are those of the steps 5, 10"),
        ("last", r"checkpoint 'last': expected best, newest or one of the steps 5, 10"),
        (-5, r"checkpoint -5: expected best"),
        ("best", r"no best checkpoint is recorded: .*give one of the steps 5, 10, or newest"),
    ],
)
def test_absent(output: Path, which: str | int, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        resolve_checkpoint(output, which)


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="there is no finished checkpoint"):
        resolve_checkpoint(tmp_path, "newest")


def test_the_record_is_damaged(output: Path) -> None:
    (output / "best.json").write_text('{"step": 5}')
    with pytest.raises(TrainError, match=r"best.json: expected step, set, figure and value"):
        resolve_checkpoint(output, "best")
