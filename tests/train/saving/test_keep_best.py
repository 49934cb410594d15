"""The best evaluation: which one it is, and what a start makes of what is written down."""

from pathlib import Path

from wdstream.config.saving import KeepBestConfig
from wdstream.runs.best import BestCheckpoint, read_best
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import LineFile
from wdstream.train.saving.keep_best import BestSoFar

LOSS = KeepBestConfig(set="pages")


def test_lower_is_better_and_only_of_this_set(tmp_path: Path) -> None:
    best = BestSoFar(LOSS, RunLayout(tmp_path), is_main=True)
    found = [
        best.improved(step, name, {"loss": loss})
        for step, name, loss in (
            (5, "other", 0.1),
            (5, "pages", 2.0),
            (10, "pages", 2.0),
            (15, "pages", float("nan")),
            (20, "pages", 1.0),
        )
    ]
    assert [entry and (entry.step, entry.value) for entry in found] == [None, (5, 2.0), None, None, (20, 1.0)]
    assert best.improved(25, "pages", {}) is None
    assert BestSoFar(None, RunLayout(tmp_path), is_main=True).improved(5, "pages", {"loss": 0.0}) is None


def test_figures_that_are_no_numbers_are_never_the_best(tmp_path: Path) -> None:
    """A start that found only such ones written down took the first for the best, and nothing was better ever after."""
    files = RunLayout(tmp_path)
    (files.checkpoints / "step-00000005").mkdir(parents=True)
    LineFile(files.evaluations).append({"step": 4, "name": "pages", "loss": float("nan")})
    best = BestSoFar(LOSS, files, is_main=True)
    assert read_best(files) is None
    assert best.improved(10, "pages", {"loss": 3.0}) is not None


def test_a_start_makes_the_record_again(tmp_path: Path) -> None:
    """Of evaluations that are written down and whose checkpoint is there."""
    files = RunLayout(tmp_path)
    lines = LineFile(files.evaluations)
    for step, name, loss in ((5, "pages", 2.0), (10, "pages", 1.5), (10, "other", 0.0), (15, "pages", 1.0)):
        lines.append({"step": step - 1, "name": name, "loss": loss})
    for step in (5, 10):
        (files.checkpoints / f"step-{step:08}").mkdir(parents=True)
    best = BestSoFar(LOSS, files, is_main=True)
    assert read_best(files) == BestCheckpoint(step=10, set="pages", figure="loss", value=1.5)
    assert best.improved(20, "pages", {"loss": 1.5}) is None
    BestSoFar(KeepBestConfig(set="pages", figure="cer"), files, is_main=True)
    assert read_best(files) is None
    BestSoFar(LOSS, files, is_main=False)  # another rank leaves the file alone
    assert read_best(files) is None
