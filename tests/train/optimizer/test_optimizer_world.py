"""Stages and optimizers in one and several processes: what does not learn keeps its bits, and a resume is the run."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageTextToText

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from wdstream.train.optimizer.parts import model_parameters

WORKER = str(ROOT / "tests/workers/learning.py")
STAGES = [{"steps": 2, "train": ["projector"]}, {"train": ["projector", "language"], "lr": 0.002}]
SETTINGS: dict[str, Any] = {"lr": 0.01, "weight_decay": 2.0}


def train(model: Path, work: Path, kind: str, size: int, **settings: object) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    run_world(WORKER, [str(model), str(work), kind, json.dumps({**SETTINGS, **settings})], size=size)
    found: dict[str, Any] = json.loads((work / "found.json").read_text())
    assert found["again"] == found["straight"][1:], "a resume is bit-equal"
    return found


def moved_parts(model: Path, before: dict[str, str], after: dict[str, str]) -> set[str]:
    loaded = AutoModelForImageTextToText.from_pretrained(model)
    return {each.part for each in model_parameters(loaded) if before[each.names[0]] != after[each.names[0]]}


@pytest.mark.slow
def test_stages_are_exact_under_ddp_and_fsdp(tiny_model: Path, tmp_path: Path) -> None:
    worlds = [("ddp", 1), ("ddp", 2), ("ddp", 4), ("fsdp", 2)]
    runs = [train(tiny_model, tmp_path / f"{kind}-{size}", kind, size, stages=STAGES) for kind, size in worlds]
    for run in runs:
        states = [run["before"], *(digests for _, _, digests in run["straight"])]
        moved = [moved_parts(tiny_model, *pair) for pair in pairwise(states)]
        assert moved == [{"projector"}] * 2 + [{"projector", "language"}] * 2
        norms, wanted = ([norm for _, norm, _ in each["straight"]] for each in (run, runs[0]))
        assert norms == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw_fused", "adafactor", "muon", "adamw_8bit"])
def test_optimizers_train_alike_in_any_world(tiny_model: Path, tmp_path: Path, name: str) -> None:
    worlds = [("ddp", 1), ("ddp", 2), *([("fsdp", 2)] if name == "adamw_fused" else [])]
    runs = [train(tiny_model, tmp_path / f"{kind}-{size}", kind, size, optimizer=name) for kind, size in worlds]
    norms = [[norm for _, norm, _ in run["straight"]] for run in runs]
    for found in norms[1:]:  # Muon and 8 bits round what they make of gradients whose last bits differ
        assert found == pytest.approx(norms[0], rel=1e-5 if name in ("adamw_fused", "adafactor") else 5e-3)
