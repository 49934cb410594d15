"""Log lines: sums over the window, weighted as they should be; files for people and programs."""

from dataclasses import replace
from pathlib import Path

import pytest

from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.train.step.exchange import StepFigures
from wdstream.train.stream import Share, StepContents
from wdstream.train.watch.metrics import Metrics, StepMetrics, describe, summarise_steps


def make_step(step: int, *, loss: float, supervised: int, seconds: float = 2.0) -> StepMetrics:
    contents = StepContents(
        step=step,
        num_packs=2,
        num_supervised=supervised,
        num_pages=10,
        num_tokens=1000,
        num_patches=4000,
        digest=0,
        imbalance=1.0 + step / 10,
    )
    figures = StepFigures(loss=loss, grad_norm=0.5, wait_seconds=0.1, is_stopping=False, digest="00", failures=())
    return StepMetrics(contents=contents, figures=figures, lr=1e-3, seconds=seconds, fill_tokens=0.9, fill_patches=0.5)


WINDOW = [make_step(0, loss=4.0, supervised=300), make_step(1, loss=2.0, supervised=100)]


def test_summary_of_two_steps() -> None:
    assert summarise_steps(WINDOW) == pytest.approx(
        {
            "loss": 3.5,
            "lr": 1e-3,
            "grad_norm": 0.5,
            "tokens_per_s": 500.0,
            "pages_per_s": 5.0,
            "step_s": 2.0,
            "data_wait_pct": 5.0,
            "fill_tokens_pct": 90.0,
            "fill_patches_pct": 50.0,
            "imbalance": 1.1,
            "supervised_tokens": 400.0,
        }
    )


def test_the_mix_that_was_trained() -> None:
    mixes = [
        {"books": Share(pages=3, tokens=100), "web": Share(pages=7, tokens=500)},
        {"books": Share(pages=1, tokens=150), "web": Share(pages=9, tokens=250)},
    ]
    window = [replace(step, contents=replace(step.contents, mix=mix)) for step, mix in zip(WINDOW, mixes, strict=True)]
    found = {name: value for name, value in summarise_steps(window).items() if name.startswith("mix")}
    assert found == {
        "mix_pages_pct/books": 20.0,
        "mix_pages_pct/web": 80.0,
        "mix_tokens_pct/books": 25.0,
        "mix_tokens_pct/web": 75.0,
    }
    assert describe(summarise_steps(window)).endswith("imbalance 1.10 tokens of books 25.0 %, web 75.0 %")


def test_files_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=3, log_every=2, is_main=True)
    for step in [*WINDOW, make_step(2, loss=1.0, supervised=50)]:
        metrics.add(step)
    metrics.add_eval(2, "held_out", {"loss": 1.25, "tokens": 700.0, "pages": 3.0})
    metrics.close()
    lines = list(read_lines(tmp_path / "metrics.jsonl"))
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 3.5), (2, 1.0)]
    assert list(read_lines(tmp_path / "eval.jsonl")) == [
        {"step": 2, "name": "held_out", "loss": 1.25, "tokens": 700.0, "pages": 3.0}
    ]
    assert any("tfevents" in path.name for path in (tmp_path / "tensorboard").iterdir())
    printed = capsys.readouterr().out
    assert "step 1: loss 3.5000" in printed
    assert "5.0 pages/s wait 5 % fill 90/50 % imbalance 1.10" in printed
    assert "eval held_out: loss 1.2500 over 700 tokens" in printed


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=3, log_every=1, is_main=False)
    metrics.add(WINDOW[0])
    metrics.add_eval(0, "held_out", {"loss": 1.0})
    metrics.say("nothing")
    metrics.close()
    assert list(tmp_path.iterdir()) == []
