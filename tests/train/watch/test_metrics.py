"""Log lines: sums over the window, weighted as they should be; files for people and programs.

Spans: train.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from wdstream.report import progress
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.train.contents import Share, StepContents
from wdstream.train.step.exchange import StepFigures
from wdstream.train.watch.memory import PeakMemory
from wdstream.train.watch.metrics import LogSettings, Metrics
from wdstream.train.watch.summary import (
    Spent,
    StepMetrics,
    describe,
    describe_place,
    duration,
    summarise_steps,
)


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
    figures = StepFigures(
        loss=loss,
        grad_norm=0.5,
        wait_seconds=0.1,
        is_stopping=False,
        digest="00",
        failures=(),
        num_supervised=supervised,
    )
    return StepMetrics(contents=contents, figures=figures, lr=1e-3, seconds=seconds, fill_tokens=0.9, fill_patches=0.5)


WINDOW = [make_step(0, loss=4.0, supervised=300), make_step(1, loss=2.0, supervised=100)]


def test_pages_that_failed_do_not_lower_the_loss() -> None:
    failed = make_step(1, loss=0.0, supervised=100)
    failed = replace(failed, figures=replace(failed.figures, num_supervised=0))
    assert summarise_steps([WINDOW[0], failed])["loss"] == 4.0


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
            "clipped_pct": 0.0,
            "eval_s": 0.0,
            "save_s": 0.0,
            "cpu_peak_gb": 0.0,
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


def test_time_of_evaluation_and_saving_is_left_out_of_no_rate() -> None:
    figures = summarise_steps(WINDOW, Spent(wall=10.0, evaluating=4.0, saving=1.5))
    assert [figures[name] for name in ("tokens_per_s", "pages_per_s")] == [200.0, 2.0]
    assert [figures[name] for name in ("step_s", "eval_s", "save_s", "data_wait_pct")] == [2.0, 4.0, 1.5, 5.0]


def test_memory_clipping_epochs_and_speed() -> None:
    memory = PeakMemory(3e9, 5e9, 6e9)
    window = [
        replace(step, figures=replace(step.figures, memory=memory), is_clipped=number == 1, flops=3e12 + number * 1e12)
        for number, step in enumerate(WINDOW)
    ]
    window[1] = replace(window[1], epochs={"pages": 1.25})
    figures = summarise_steps(window, Spent(wall=100.0), devices=2, peak=3.5e12)
    wanted = {"clipped_pct": 50.0, "cpu_peak_gb": 3.0, "gpu_peak_gb": 5.0, "gpu_reserved_gb": 6.0, "epoch": 1.25}
    assert {name: figures[name] for name in wanted} == wanted
    assert figures["tflops"] == pytest.approx(7 / 4 / 2)  # over the 4 s of the steps and 2 devices
    assert figures["mfu_pct"] == pytest.approx(25.0)
    two = replace(window[1], epochs={"one": 0.5, "two": 2.0})
    assert summarise_steps([two])["epoch/two"] == 2.0
    assert "mfu_pct" not in summarise_steps(window)
    assert "tflops" not in summarise_steps([window[0], WINDOW[1]])


def test_loss_of_datasets_over_a_window() -> None:
    mix = {"books": Share(pages=1, tokens=9), "web": Share(pages=1, tokens=9)}
    sums = [((30.0, 10.0), (0.0, 0.0)), ((6.0, 2.0), (0.0, 0.0))]
    window = [
        replace(step, contents=replace(step.contents, mix=mix), figures=replace(step.figures, dataset_losses=losses))
        for step, losses in zip(WINDOW, sums, strict=True)
    ]
    found = {name: value for name, value in summarise_steps(window).items() if name.startswith("loss/")}
    assert found == {"loss/books": 3.0}


def test_where_in_the_run_a_line_is() -> None:
    assert describe_place(7, 100, {"epoch": 0.125}, 3723.4) == "step 7/100 epoch 0.12 ETA 1:02:03"
    assert describe_place(7, None, {}, None) == "step 7"
    assert [duration(seconds) for seconds in (0, 59.6, 100_000)] == ["0:00:00", "0:01:00", "1 d 3:46:40"]


def test_lines_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = LogSettings(every=1, form="json")
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=3, log=log, is_main=True)
    metrics.say("a \x1b[31mmessage")
    with metrics.timed("saving"):
        time.sleep(0.01)
    metrics.add(WINDOW[0])
    metrics.add_eval(0, "held_out", {"loss": 1.25, "tokens": 700.0, "pages": 3.0})
    metrics.close()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.pop("event") for line in lines] == ["message", "step", "evaluation"]
    assert lines[0]["message"] == "a \x1b[31mmessage"
    assert (lines[1]["step"], lines[1]["total"], lines[1]["loss"]) == (0, 3, 4.0)
    assert lines[1]["save_s"] >= 0.01
    assert lines[1]["eta_s"] == pytest.approx(4.0, rel=0.1)
    assert (lines[2]["name"], lines[2]["loss"]) == ("held_out", 1.25)
    assert all(line["time"].endswith("Z") for line in lines)


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_of_progress_are_for_people_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: Literal["text", "json"]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "_FIRST_LINE_S", 0.0)
    log = LogSettings(every=10, form=form, has_board=False)
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=30, log=log, is_main=True)
    with metrics.work("evaluating held_out") as on_progress:
        on_progress(1, 2)
    metrics.add(WINDOW[0])
    printed = capsys.readouterr().out
    assert ("evaluating held_out: 1 of 2 pages" in printed) == ("steps: 1 of 30 steps" in printed) == (form == "text")
    assert form == "text" or printed == ""


def test_files_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=3, log=LogSettings(every=2), is_main=True)
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
    assert "step 1/3 ETA 0:00:02: loss 3.5000" in printed
    assert "5.0 pages/s wait 5 % fill 90/50 % imbalance 1.10" in printed
    assert "eval held_out: loss 1.2500 over 700 tokens" in printed


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    metrics = Metrics(RunLayout(tmp_path), first_step=0, total_steps=3, log=LogSettings(), is_main=False)
    metrics.add(WINDOW[0])
    metrics.add_eval(0, "held_out", {"loss": 1.0})
    metrics.say("nothing")
    metrics.close()
    assert list(tmp_path.iterdir()) == []
