"""`wdstream evaluate RUN --step`: what the run said of a step, said again of its checkpoint.

Spans: train, commands.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.helpers.command import run as wdstream
from tests.helpers.training import Workplace
from wdstream.errors import ConfigError, TrainError
from wdstream.storage.json_lines import read_lines
from wdstream.train.evaluate.standalone import evaluate_checkpoints

EVERY = ("train.max_steps=3", "train.eval_every=1", "train.checkpoint_every=1", "train.lr=0.01")
WRITES = "train.generate={max_pages: 1, max_new_tokens: 3}"


@pytest.mark.parametrize("adapter", ["null", "{kind: lora, r: 4}"])
def test_each_checkpoint_is_measured_as_the_run_did(adapter: str, workplace: Workplace, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert workplace.train(run, *EVERY, WRITES, f"train.adapter={adapter}", "train.stop_after=2") == 0
    lines = {line["step"] + 1: line for line in read_lines(run / "eval.jsonl")}
    AcceleratorState._reset_state(reset_partial_state=True)
    reports = evaluate_checkpoints(run, step="all", out=tmp_path / "out")
    assert reports is not None
    assert sorted(reports) == [1, 2]
    assert lines[1] == {"step": 0, "name": "held_out", **reports[1]["held_out"].figures()}
    assert (tmp_path / "out" / "step-00000001" / "held_out.jsonl").read_bytes() == (
        run / "generated" / "held_out" / "step-00000000.jsonl"
    ).read_bytes()
    AcceleratorState._reset_state(reset_partial_state=True)
    newest = evaluate_checkpoints(run, step="newest", generate=0)
    assert newest == {2: {"held_out": replace(reports[2]["held_out"], written=None)}}


def test_the_command(workplace: Workplace, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert workplace.train(run, *EVERY, "train.adapter={kind: lora, r: 4}", "train.stop_after=1") == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    shown = wdstream("evaluate", run, "--step", "1").stdout
    assert shown.startswith("step 1: held_out: loss 6.")
    AcceleratorState._reset_state(reset_partial_state=True)
    found = json.loads(wdstream("evaluate", run, "--step", "all", "--json").stdout)
    assert f"loss {found['1']['held_out']['loss']:.4f} over" in shown
    assert "or take a checkpoint of it: --step newest" in wdstream("evaluate", run).stderr
    with pytest.raises(TrainError, match=r"there is no such checkpoint; there are those of the steps 1"):
        evaluate_checkpoints(run, step="9")
    with pytest.raises(ConfigError, match="a configuration has no checkpoints"):
        evaluate_checkpoints(workplace.config_file, step="newest")
