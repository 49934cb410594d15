"""`data.pad_to: full`: a run over rows of one length has the losses of one over rows as long as their packs.

Spans: train, commands.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.training import Workplace
from wdstream.commands.app import app
from wdstream.storage.json_lines import read_lines

SHORT = ("train.max_steps=3", "train.record_bytes=true", "train.lr=1e-3")


def test_the_run_is_the_same_run(workplace: Workplace, tmp_path: Path) -> None:
    found = {}
    for name, settings in (("longest", ()), ("full", ("data.pad_to=full",))):
        assert workplace.train(tmp_path / name, *SHORT, *settings) == 0
        steps = list(read_lines(tmp_path / name / "metrics.jsonl"))
        report = list(read_lines(tmp_path / name / "eval.jsonl"))
        ledger = list(read_lines(tmp_path / name / "steps.jsonl"))
        found[name] = (
            [step["loss"] for step in steps],
            [step["grad_norm"] for step in steps],
            [line["loss"] for line in report],
            [line["sha256"] for line in ledger if "sha256" in line],
        )
    longest, full = found["longest"], found["full"]
    assert len(full[3]) == 3
    assert full[3] == longest[3]
    assert full[0] == pytest.approx(longest[0], rel=1e-6)
    assert full[1] == pytest.approx(longest[1], rel=1e-5)
    assert full[2] == pytest.approx(longest[2], rel=1e-6)


def test_plan_says_how_much_is_padding(workplace: Workplace) -> None:
    command = ["plan", str(workplace.config_file), "--set", "data.pad_to=full", "--set", "data.epochs=1"]
    said = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert said["row_length"] == 1088
    assert said["padding"] == pytest.approx(1 - said["tokens"] / (said["packs"] * 1088))
    shown = CliRunner().invoke(app, command).output
    assert f"data.pad_to: full: rows of 1,088 tokens, {said['padding']:.2%} are padding" in " ".join(shown.split())
    assert "padding" not in CliRunner().invoke(app, command[:2]).output
