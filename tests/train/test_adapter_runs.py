"""Runs with every kind of adapter: resumed bit for bit, the same on one and two processes, read by plain peft.

Spans: train.
"""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.storage.json_lines import read_lines

KINDS = {
    "dora": "{kind: lora, r: 4, dropout: 0.1, rslora: true, dora: true, parts: [language, vision, projector]}",
    "whole": "{kind: lora, r: 4, modules_to_save: [projector, lm_head]}",
    "tokens": "{kind: lora, r: 4, parts: [projector], train_tokens: ['<|im_end|>']}",
    "qlora": "{kind: qlora, r: 4, quant_type: fp4, quantized_parts: [language, vision], dora: true, "
    "modules_to_save: [projector]}",
}
COMMON = ("data.eval=[]", "train.max_steps=4", "train.checkpoint_every=2")


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "final" / "adapter_model.safetensors")


@pytest.mark.parametrize("kind", ["whole", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_a_run_resumes_bit_for_bit(
    workplace: Workplace, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (*COMMON, f"train.adapter={KINDS[kind]}", "train.lr=0.003")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert workplace.train(whole, *settings) == 0
    assert "trained: 0." in capfd.readouterr().out
    assert workplace.train(halves, *settings, "train.stop_after=2") == 0
    assert workplace.train(halves, *settings) == 0
    assert losses(halves) == losses(whole)
    assert len({*losses(whole)}) == 4
    ours, theirs = weights(halves), weights(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_process_and_two_train_the_same(workplace: Workplace, tmp_path: Path, kind: str) -> None:
    outputs = []
    for size in (1, 2):
        outputs.append(output := tmp_path / str(size))
        chosen = (f"train.output={output}", *COMMON, f"train.adapter={KINDS[kind]}", "train.lr=0.001")
        words = [word for one in chosen for word in ("--set", one)]
        run_world("wdstream.train", [str(workplace.config_file), *words], size=size)
    one, two = outputs
    assert losses(two) == pytest.approx(losses(one), rel=1e-6)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_plain_peft_reads_what_was_trained_whole(workplace: Workplace, tmp_path: Path) -> None:
    assert workplace.train(tmp_path / "run", *COMMON, f"train.adapter={KINDS['whole']}", "train.lr=0.003") == 0
    base = AutoModelForImageTextToText.from_pretrained(workplace.root / "model", dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, tmp_path / "run" / "final").merge_and_unload()
    assert merged.lm_head.weight is merged.get_input_embeddings().weight
    saved = weights(tmp_path / "run")
    assert torch.equal(merged.lm_head.weight, saved["base_model.model.lm_head.weight"])
    merger = "visual.merger.mlp.0.weight"
    assert torch.equal(merged.model.get_parameter(merger), saved[f"base_model.model.model.{merger}"])
