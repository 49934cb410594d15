"""After a rollback the same command trains on, bit for bit as a run that was stopped at that step.

Spans: train, runs, commands.
"""

import json
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.training import SETTINGS, Workplace
from wdstream.runs.audit import audit
from wdstream.storage.json_lines import read_lines

EVERY = (*SETTINGS, "train.checkpoint_every=2", "train.eval_every=2", "train.max_steps=8", "train.keep_checkpoints=9")


def lines(output: Path, name: str) -> list[object]:
    """A growing file without what a clock or the machine says."""
    clocks = ("tokens_per_s", "pages_per_s", "step_s", "eval_s", "save_s", "data_wait_pct", "cpu_peak_gb", "tflops")
    return [{key: value for key, value in line.items() if key not in clocks} for line in read_lines(output / name)]


@pytest.fixture(scope="module")
def stopped(workplace: Workplace) -> Path:
    """A run that was stopped at step 4."""
    output = workplace.root / "stopped-at-4"
    assert workplace.train(output, *EVERY, "train.stop_after=4") == 0
    return output


def test_a_run_trains_on_from_where_it_was_brought_back_to(workplace: Workplace, stopped: Path) -> None:
    output = workplace.root / "rolled"
    assert workplace.train(output, *EVERY) == 0
    names = ("steps.jsonl", "states.jsonl", "metrics.jsonl", "eval.jsonl")
    whole = {name: lines(output, name) for name in names}
    weights = (output / "final" / "adapter_model.safetensors").read_bytes()
    listed = json.loads(run("run", "list", output, "--json").stdout)
    assert [(one["step"], one["problem"], [*one["evaluations"]]) for one in listed] == [
        (step, "", ["held_out"]) for step in (2, 4, 6, 8)
    ]
    done = run("run", "rollback", output, "--to", "4")
    assert done.returncode == 0, done.stderr
    assert "final: now in " in done.stdout and "the same command trains on from there" in done.stdout
    for name in names:
        cut, wanted = lines(output, name), lines(stopped, name)
        assert cut[: len(wanted)] == wanted, name  # a run that is stopped evaluates when it continues
    assert workplace.train(output, *EVERY) == 0
    assert {name: lines(output, name) for name in names} == whole
    assert (output / "final" / "adapter_model.safetensors").read_bytes() == weights
    assert audit(output).is_clean
