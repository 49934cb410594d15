"""Models of the average of a run's weights, of any form of adapter: those that the run itself wrote."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.command import run
from tests.helpers.training import Workplace
from wdstream.errors import TrainError
from wdstream.train.saving.averaged import averaged
from wdstream.train.saving.export_run import export_run

COMMON = ("train.max_steps=2", "train.checkpoint_every=2", "data.eval=[]", "train.lr=0.01")
EMA = "train.ema={decay: 0.6, final_with: ema}"
KINDS = {
    "all": "null",
    "tied": "{r: 4, parts: [language, vision], dora: true, modules_to_save: [projector, lm_head]}",
    "tokens": "{r: 4, train_tokens: ['<|im_end|>']}",
}


@pytest.mark.parametrize("kind", ["tied", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("all", "tokens"))])
def test_it_is_what_the_run_wrote(workplace: Workplace, tmp_path: Path, kind: str) -> None:
    output, out = tmp_path / "run", tmp_path / "model"
    assert workplace.train(output, *COMMON, EMA, f"train.adapter={KINDS[kind]}") == 0
    done = run("model", "export", output, out, "--ema")
    assert done.returncode == 0, done.stderr
    assert "the average of its weights" in done.stdout.replace("\n", " ")
    export_run(output, tmp_path / "trained")
    name = "model.safetensors" if kind == "all" else "adapter_model.safetensors"
    ours, wanted, trained = (load_file(folder / name) for folder in (out, output / "final", tmp_path / "trained"))
    assert ours.keys() == wanted.keys() == trained.keys()
    cards = [(folder / "README.md").read_text() for folder in (out, output / "final", tmp_path / "trained")]
    assert ["exponential moving average" in card for card in cards] == [True, True, False]
    assert all(torch.equal(ours[key], wanted[key]) for key in wanted)
    assert not any(torch.equal(ours[key], trained[key]) for key in wanted if "lora_B" in key)


def test_a_checkpoint_without_it_is_refused(tmp_path: Path) -> None:
    model: Any = None  # it is not looked at
    with pytest.raises(TrainError, match=r"holds no average of the weights \(ema.safetensors\)"):
        averaged(model, {}, tmp_path)
