"""Worlds that do not divide a step: some ranks run an empty row, and the run is that of one process.

Spans: train, runs.
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.processes import run_world
from tests.helpers.training import TRAIN, Workplace
from wdstream.commands.app import app
from wdstream.runs.layout import RunLayout
from wdstream.runs.losses import join_rows, read_losses
from wdstream.storage.json_lines import read_lines

SETTINGS = ("data.global_batch_size=3", "train.record_losses=true", "train.lr=0.0001", "train.max_steps=6")


def figures(output: Path) -> tuple[list[float], list[tuple[int, str]]]:
    """Losses, steps and digests of a run of six steps."""
    metrics, steps = (list(read_lines(output / name)) for name in ("metrics.jsonl", "steps.jsonl"))
    return [line["loss"] for line in metrics], [(line["step"], line["digest"]) for line in steps]


def check(workplace: Workplace, tmp_path: Path, *settings: str, size: int) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert workplace.train(alone, *SETTINGS, *settings) == 0
    chosen = (f"train.output={together}", *SETTINGS, *settings, "train.stop_after=3")
    options = [word for setting in chosen for word in ("--set", setting)]
    printed = run_world(TRAIN, [str(workplace.config_file), *options], size=size)
    assert "of the places of a step stay empty: data.global_batch_size 3 on" in printed
    assert workplace.train(together, *SETTINGS, *settings) == 0  # and on one process to the end
    losses, steps = figures(alone)
    found, found_steps = figures(together)
    assert found_steps == steps
    assert found == pytest.approx(losses, rel=1e-5)
    rows, wanted = (join_rows(list(read_losses(RunLayout(output)))) for output in (together, alone))
    assert rows.sample.tolist() == wanted.sample.tolist()
    assert rows.loss.tolist() == pytest.approx(wanted.loss.tolist(), rel=1e-4)
    for command in (["audit", str(together)], ["trace", str(together), "--step", "1"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output


def test_three_packs_on_two_processes(workplace: Workplace, tmp_path: Path) -> None:
    check(workplace, tmp_path, size=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("train.micro_batch_size=2",),
        ("data.deal=phase", "data.pad_to=full"),
        ("data.train=[{path: ROOT/shards, loss_weight: 0.5}, {path: ROOT/shards-eval, loss_weight: 2.0}]",),
        ("train.adapter={kind: lora, r: 4}", "train.eval_every=2"),
    ],
)
def test_with_other_settings(workplace: Workplace, tmp_path: Path, settings: tuple[str, ...]) -> None:
    named = [setting.replace("ROOT", str(workplace.root)) for setting in settings]
    check(workplace, tmp_path, *named, size=2)
