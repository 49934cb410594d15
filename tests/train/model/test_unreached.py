"""Parameters that no gradient reaches are found, named and frozen; two processes then train what ended at step 1."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.families.registry import load_family
from wdstream.make_shards import add_token_column
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_tiny_model
from wdstream.train.model.unreached import find_unreached, freeze_named
from wdstream.train.step.loss import LossHead

NORM = ("model.vision_tower.post_layernorm.weight", "model.vision_tower.post_layernorm.bias")


@pytest.mark.parametrize(("family", "wanted"), [("llava_onevision", NORM), ("qwen2_5_vl", ())])
def test_they_are_found_by_one_forward_pass(tmp_path: Path, family: str, wanted: tuple[str, ...]) -> None:
    folder = make_tiny_model(tmp_path / "model", family=family)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).train()
    state = torch.get_rng_state()
    assert find_unreached(model, LossHead(model), load_family(folder)) == wanted
    freeze_named(model, wanted)
    assert torch.equal(torch.get_rng_state(), state)
    assert tuple(name for name, one in model.named_parameters() if not one.requires_grad) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava_onevision", "aya_vision", "gemma3"])
def test_two_processes_train_the_whole_model(workplace: Workplace, tmp_path: Path, family: str) -> None:
    folder = make_tiny_model(tmp_path / "model", family=family)
    shards = shutil.copytree(workplace.root / "shards", tmp_path / "shards")  # other tests have those of the workplace
    add_token_column(shards, folder)
    settings = [f"train.output={tmp_path / 'run'}", f"model.path={folder}", "train.max_steps=2", "data.eval=[]"]
    settings.append(f"data.train=[{{path: {shards}}}]")
    words = [word for setting in settings for word in ("--set", setting)]
    said = run_world("wdstream.train", [str(workplace.config_file), *words], size=2)
    assert "frozen, as no gradient reaches them: model.vision_tower." in said
    assert [line["step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")] == [0, 1]
