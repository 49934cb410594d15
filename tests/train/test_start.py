"""What a run finds out before its first step: lengths compared with the model's own processor.

Spans: train, proofs.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import checkpoints as variants
from tests.helpers.training import Workplace
from wdstream.families.qwen_vl import QwenVL

VERSION = "Qwen2_5_VLProcessor of transformers 5."


def test_lengths_are_compared_with_the_processor(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    assert workplace.train(workplace.root / "exact", "train.max_steps=1") == 0
    said = " ".join("".join(capfd.readouterr()).split())
    assert f"lengths and ids of 5 documents are those of {VERSION}" in said


def test_a_run_with_other_lengths_does_not_start(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan and the ids agree on one token too many per image: only the processor knows."""
    honest_cost, honest_ids = QwenVL.image_cost, QwenVL.image_ids

    def cost(self: QwenVL, widths: Any, heights: Any) -> Any:
        tokens, patches = honest_cost(self, widths, heights)
        return tokens + 1, patches

    def ids(self: QwenVL, width: int, height: int) -> Any:
        return np.append(honest_ids(self, width, height), self.image_id)

    monkeypatch.setattr(QwenVL, "image_cost", cost)
    monkeypatch.setattr(QwenVL, "image_ids", ids)
    assert workplace.train(workplace.root / "longer", "train.max_steps=1") == 1
    said = " ".join("".join(capfd.readouterr()).split())
    found = re.search(
        r"not exact for family qwen2_5_vl: images \[\(60, 90\)\]: planned (\d+) tokens, built (\d+), (\d+) by", said
    )
    assert found is not None and VERSION in said
    planned, built, by_processor = map(int, found.groups())
    assert planned == built == by_processor + 1
    assert not (workplace.root / "longer" / "steps.jsonl").exists()


@pytest.mark.parametrize("variant", [variants.missing_layer, variants.trunc], ids=lambda variant: variant.__name__)
def test_a_run_from_half_a_checkpoint_does_not_start(
    variant: Any, workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(workplace.root / "model", tmp_path / "model"))
    variant(model)
    assert workplace.train(tmp_path / "run", "train.max_steps=1", f"model.path={model}") == 1
    said = " ".join(capfd.readouterr().err.split())
    assert re.search(
        r"wdstream.train: \S+/model(: the checkpoint lacks 12 weights|/model.safetensors: not a whole)", said
    )
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_a_forced_family_is_proven(workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Under its own name nothing is proven again; under another one the doctor has to find it fit."""
    assert workplace.train(tmp_path / "own", "train.max_steps=1", "model.family=qwen2_5_vl") == 0
    assert workplace.train(tmp_path / "other", "train.max_steps=1", "model.family=qwen2_vl") == 1
    said = " ".join(capfd.readouterr().err.split())
    assert "model.family: qwen2_vl: " in said and "is not of this family; wdstream doctor found: tiled: packing" in said
