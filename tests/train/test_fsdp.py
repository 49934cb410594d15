"""FSDP2, two ranks, a micro-batch without images on one of them: no hang, the same gradient, exact resume.

Spans: train.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import documents_alone

WORKER = str(ROOT / "tests/workers/fsdp.py")


@pytest.mark.slow
def test_sharded_training_is_the_same_training(tiny_model: Path, tmp_path: Path) -> None:
    run_world(WORKER, [str(tiny_model), str(tmp_path)], size=2)
    norms = json.loads((tmp_path / "norms.json").read_text())
    wanted = documents_alone(tiny_model).double().norm().item()
    assert norms["straight"][0] == pytest.approx(wanted, rel=1e-5)
    assert norms["again"] == norms["straight"][2:]
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "final", dtype=torch.float32)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
