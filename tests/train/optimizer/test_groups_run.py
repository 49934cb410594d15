"""Whole runs of what learns: a part that is frozen stays, a rate is seen in what moved, stages change it and resume."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from tests.helpers.training import Workplace
from wdstream.storage.json_lines import read_lines
from wdstream.train.optimizer.parts import model_parameters

FEW = ("data.eval=[]", "train.adapter=null", "train.lr=0.001")


def moved(workplace: Workplace, output: Path, step: int) -> dict[str, Tensor]:
    """How far the weights of each part are from where the run began."""
    model = AutoModelForImageTextToText.from_pretrained(workplace.root / "model", dtype=torch.float32)
    after = load_file(output / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
    found: dict[str, list[Tensor]] = {}
    for each in model_parameters(model):
        found.setdefault(each.part, []).append((after[each.names[0]] - each.value.detach()).flatten())
    return {part: torch.cat(distances) for part, distances in found.items()}


def test_a_part_is_frozen_and_a_rate_is_its_own(workplace: Workplace, tmp_path: Path) -> None:
    parts = "{embeddings: {frozen: true}, vision: {lr: 0.00001, weight_decay: 0.0}, projector: {lr: 0.002}}"
    schedule = ("train.schedule=constant", "train.max_grad_norm=null", "train.max_steps=2")
    settings = (*FEW, *schedule, f"train.parts={parts}", "train.weight_decay=0.5")
    assert workplace.train(tmp_path / "run", *settings) == 0
    distance = {part: float(each.abs().max()) for part, each in moved(workplace, tmp_path / "run", 2).items()}
    assert distance["embeddings"] == 0.0
    for part, rate in (("language", 1e-3), ("vision", 1e-5), ("projector", 2e-3)):
        assert rate < distance[part] < 2.2 * rate, part  # Adam moves a weight by its rate, twice
    lines = list(read_lines(tmp_path / "run" / "metrics.jsonl"))
    assert [(line["lr"], line["lr/vision"]) for line in lines] == [(1e-3, 1e-5)] * 2
    assert all(line["grad_norm"] > 0 for line in lines)


STAGES = "[{steps: 2, train: [projector]}, {train: [projector, language], lr: 0.002, warmup_steps: 1}]"


def test_stages_change_what_learns_and_resume_bit_for_bit(workplace: Workplace, tmp_path: Path) -> None:
    """Weight decay and momentum do not move what does not learn yet, and no state is made for it."""
    staged = (*FEW, f"train.stages={STAGES}", "train.weight_decay=2.0", "train.max_steps=4", "train.checkpoint_every=1")
    straight, halting = tmp_path / "straight", tmp_path / "halting"
    assert workplace.train(straight, *staged, "train.keep_checkpoints=9") == 0
    first, last = (moved(workplace, straight, step) for step in (2, 4))
    assert {part for part, each in first.items() if each.any()} == {"projector"}
    assert {part for part, each in last.items() if each.any()} == {"projector", "language"}
    state = [len(optimizer_state(straight, step)) for step in (1, 2, 3, 4)]
    assert state[0] == state[1] < state[2] == state[3]
    assert [line["stage"] for line in read_lines(straight / "metrics.jsonl")] == [0, 0, 1, 1]
    for stops in (1, 1, 1, 9):
        assert workplace.train(halting, *staged, f"train.stop_after={stops}") == 0
    names = ("model.safetensors", "config.json")
    assert [(halting / "final" / name).read_bytes() for name in names] == [
        (straight / "final" / name).read_bytes() for name in names
    ]
    assert rates(halting) == rates(straight)


def rates(output: Path) -> list[tuple[float, ...]]:
    return [(line["loss"], line["lr"], line["grad_norm"]) for line in read_lines(output / "metrics.jsonl")]


def optimizer_state(output: Path, step: int) -> dict[int, object]:
    saved = torch.load(output / "checkpoints" / f"step-{step:08d}" / "optimizer.bin", weights_only=True)
    state: dict[int, object] = saved["state"]
    return state


def test_a_longer_run_and_other_groups_are_said(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = (*FEW, "train.parts={vision: {frozen: true}}", "train.weight_decay=0.1")
    assert workplace.train(tmp_path, *run, "train.max_steps=2") == 0
    assert workplace.train(tmp_path, *run, "train.max_steps=3", "train.parts={vision: {lr: 0.1}}") == 2
    assert "its optimizer has other groups of parameters" in capsys.readouterr().err
    assert workplace.train(tmp_path, *run, "train.max_steps=3", "train.weight_decay=0.2") == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "the learning rate jumps: step 1 had 1.00e-04, and step 2 has 1.00e-04" in said
    assert "since the run has 3 steps and not 2" in said
    assert "weight decay is on embeddings" not in said
    decays = [group["weight_decay"] for group in optimizer_groups(tmp_path, 3)]
    assert decays == [0.2, 0.0, 0.0]


def optimizer_groups(output: Path, step: int) -> list[dict[str, float]]:
    saved = torch.load(output / "checkpoints" / f"step-{step:08d}" / "optimizer.bin", weights_only=True)
    groups: list[dict[str, float]] = saved["param_groups"]
    return groups


def test_state_never_goes_to_other_parameters_of_the_same_shapes(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (f"train.patterns={{'*.layers.{layer}.*': {{lr: 0.01}}}}" for layer in (0, 1))
    assert workplace.train(tmp_path, *FEW, "train.max_steps=1", one) == 0
    assert workplace.train(tmp_path, *FEW, "train.max_steps=2", other) == 2
    assert "its optimizer has other groups of parameters" in capsys.readouterr().err
