"""The demo: its parts quickly, the whole of it as a slow test."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.paths import PAGES, ROOT
from wdstream.commands.demo import DemoReport, empty, make_overrides, prepare, print_report, run_demo
from wdstream.errors import ConfigError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: no raw pages there; start the demo in the repository, or give"):
        prepare(tmp_path / "none", tmp_path, ROOT / "configs" / "demo.yaml", 3, Console(file=io.StringIO()))


def test_only_a_demos_folder_is_emptied(tmp_path: Path) -> None:
    work = tmp_path / "demo"
    empty(work)
    (work / "run").mkdir()
    empty(work)
    assert names(work) == {"made-by-wdstream-demo.txt"}
    assert not (work / "run").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="mine: holds files that are not of a demo"):
        empty(other)
    assert (other / "thesis.txt").exists()


def test_settings_move_everything_into_the_work_folder() -> None:
    assert make_overrides(Path("w"), 7) == (
        "model.path=w/model",
        "data.train=[{path: w/shards}]",
        "data.eval=[{name: held_out, path: w/shards, split: held_out}]",
        "train.max_steps=7",
    )


def make_report(*, same_weights: bool) -> DemoReport:
    return DemoReport(
        killed_at=12,
        resumed_from=10,
        losses=(8.3, 6.0),
        eval_loss=6.1,
        is_same={"bytes of every step": True, "final weights": same_weights},
        seconds=99.0,
    )


@pytest.mark.parametrize(("same_weights", "word"), [(True, "equal, bit for bit"), (False, "DIFFERENT")])
def test_the_report_shows_the_proof(tmp_path: Path, same_weights: bool, word: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text(
        '{"step": 29, "fill_tokens_pct": 98.2, "fill_patches_pct": 32.5, "pages_per_s": 2.0, "tokens_per_s": 1588.0}\n'
    )
    report = make_report(same_weights=same_weights)
    page = io.StringIO()
    print_report(report, tmp_path, Console(file=page, width=200))
    assert report.is_proven is same_weights
    assert word in page.getvalue()
    assert f"tensorboard --logdir {tmp_path}/run/tensorboard" in page.getvalue()
    assert "98.2 % of tokens" in page.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_demo(tmp_path: Path) -> None:
    report = run_demo(PAGES, tmp_path / "demo", console=Console(file=io.StringIO()))
    assert report.is_proven
    assert report.killed_at >= 12
    assert report.resumed_from == 10
    assert report.losses[1] < report.losses[0] - 1.0
    assert (tmp_path / "demo" / "run" / "final" / "model.safetensors").exists()
