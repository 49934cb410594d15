"""`wdstream evaluate`: what a run said of its last step, said again of its result; on one process and on two."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from typer.testing import CliRunner

from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.commands.app import app
from wdstream.errors import ConfigError, TrainError
from wdstream.storage.json_lines import read_lines
from wdstream.train.evaluate.sets import SetReport
from wdstream.train.evaluate.standalone import evaluate_finished

GENERATE = "train.generate={max_pages: 3, max_new_tokens: 6}"
KINDS = {
    "full": ("train.lr=0.003",),
    "lora": ("train.adapter={kind: lora, r: 4}", "train.lr=0.05", "train.gradient_checkpointing=true"),
    "qlora": ("train.adapter={kind: qlora, r: 4}", "train.lr=0.05"),
    "bf16": ("train.adapter={kind: lora, r: 4}", "train.lr=0.05", "model.dtype=bfloat16"),
}


class Runs(dict[str, Path]):
    """Kind of training -> a finished run of two steps."""

    def __init__(self, workplace: Workplace) -> None:
        super().__init__()
        self._workplace = workplace

    def __missing__(self, kind: str) -> Path:
        self[kind] = self._workplace.root / f"finished-{kind}"
        assert self._workplace.train(self[kind], *KINDS[kind], "train.max_steps=2", GENERATE) == 0
        return self[kind]


@pytest.fixture(scope="module")
def runs(workplace: Workplace) -> Runs:
    return Runs(workplace)


def measure(path: Path, *overrides: str, out: Path | None = None, **settings: Any) -> dict[str, SetReport]:
    AcceleratorState._reset_state(reset_partial_state=True)
    reports = evaluate_finished(path, overrides, out=out, **settings)
    assert reports is not None
    return reports


@pytest.mark.parametrize("kind", ["full", "lora", pytest.param("qlora", marks=pytest.mark.slow)])
def test_a_finished_run_is_measured_as_at_its_last_step(kind: str, runs: Runs, tmp_path: Path) -> None:
    (line,) = read_lines(runs[kind] / "eval.jsonl")
    reports = measure(runs[kind], out=tmp_path)
    assert {"step": 1, "name": "held_out", **reports["held_out"].figures()} == line
    pages = runs[kind] / "generated" / "held_out" / "step-00000001.jsonl"
    assert (tmp_path / "held_out.jsonl").read_bytes() == pages.read_bytes()
    assert len(list(read_lines(pages))) == 3


@pytest.mark.slow
def test_half_precision_writes_too(runs: Runs) -> None:
    (line,) = read_lines(runs["bf16"] / "eval.jsonl")
    assert line["generated"] == 3
    figures = measure(runs["bf16"])["held_out"].figures()
    assert figures["loss"] == pytest.approx(
        line["loss"], rel=1e-2
    )  # what the run kept in float32 is rounded in `final`
    assert figures["generated"] == 3


def test_a_configuration_is_measured_as_its_model_is(workplace: Workplace) -> None:
    loss_only = measure(workplace.config_file)["held_out"]
    assert loss_only.written is None
    assert loss_only.loss == pytest.approx(6.93, abs=0.1)  # log of 1,024: nothing is supervised yet
    report = measure(workplace.config_file, "train.adapter={kind: lora}", generate=2, max_new_tokens=4)["held_out"]
    assert replace(report, written=None) == loss_only
    assert report.written is not None
    assert [page.is_cut for page in report.written.pages] == [True, True]
    assert report.written.counts.cer > 0.8
    configured = measure(workplace.config_file, GENERATE, generate=0)["held_out"]
    assert configured.written is None


def test_pages_that_fail_are_counted_and_named(workplace: Workplace, tmp_path: Path) -> None:
    shards, bad_keys = workplace.damaged_shards()
    override = f"data.eval=[{{name: bad, path: {shards}}}]"
    report = measure(workplace.config_file, override, generate=14, max_new_tokens=1, out=tmp_path)["bad"]
    assert report.written is not None
    assert sorted(failure.key for failure in report.failures) == sorted(bad_keys)
    assert sorted(failure.key for failure in report.written.failures) == sorted(bad_keys)
    counts = {key: report.figures()[key] for key in ("pages", "failed", "generated", "not_generated")}
    assert counts == {"pages": 12, "failed": 2, "generated": 12, "not_generated": 2}
    named = [line["key"] for line in read_lines(tmp_path / "bad.jsonl") if "reason" in line]
    assert sorted(named) == sorted(bad_keys)
    lines = list(report.lines())
    for key in bad_keys:
        assert any(f"page {key!r} failed and counts for nothing: " in line for line in lines)
        assert any(f"page {key!r} was not written: " in line for line in lines)


def test_the_command_prints_lines_or_json(workplace: Workplace, tmp_path: Path) -> None:
    arguments = ["evaluate", str(workplace.config_file), "--generate", "2", "--max-new-tokens", "3"]
    AcceleratorState._reset_state(reset_partial_state=True)
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)], catch_exceptions=False).stdout
    assert shown.startswith("held_out: loss 6.9")
    assert "over 2 pages, 2 of them cut off\n" in shown
    assert shown.count("    reference  ") == 2
    assert len(list(read_lines(tmp_path / "held_out.jsonl"))) == 2
    AcceleratorState._reset_state(reset_partial_state=True)
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert found["held_out"]["generated"] == 2
    assert f"loss {found['held_out']['loss']:.4f} over {found['held_out']['tokens']} tokens" in shown


def test_refusals(workplace: Workplace, runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.eval names no set"):
        measure(workplace.config_file, "data.eval=[]")
    with pytest.raises(TrainError, match="not the folder of a training run"):
        measure(tmp_path)
    (tmp_path / "run.json").write_bytes((runs["lora"] / "run.json").read_bytes())
    with pytest.raises(TrainError, match="has no final/ yet"):
        measure(tmp_path)
    shutil.copytree(runs["lora"] / "final", tmp_path / "final")
    with pytest.raises(TrainError, match=r"is not of this model and train\.adapter"):
        measure(tmp_path, "train.adapter={kind: lora, r: 4, target_modules: [q_proj]}")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(workplace: Workplace, runs: Runs, tmp_path: Path) -> None:
    alone = measure(runs["lora"], generate=5, out=tmp_path / "one")["held_out"]
    arguments = ["evaluate", str(runs["lora"]), "--generate", "5", "--json", "--out", str(tmp_path / "two")]
    output = run_world("wdstream", arguments, size=2)
    found = json.loads(output[output.index("{\n") :])["held_out"]
    assert found == pytest.approx(alone.figures(), rel=1e-12)
    assert (tmp_path / "two" / "held_out.jsonl").read_bytes() == (tmp_path / "one" / "held_out.jsonl").read_bytes()
    assert found["generated"] == 5
