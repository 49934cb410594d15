"""A merged adapter computes what the adapter computes on its base: LoRA in its forms, over 4 bits; not tied ones."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from wdstream.batches.collate import collate, encode_pack
from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import ModelConfig
from wdstream.errors import TrainError
from wdstream.families.registry import load_family
from wdstream.proofs.checkpoint import load_checkpoint
from wdstream.testing import make_samples
from wdstream.train.model.adapter import LORA_TARGETS, quiet_peft
from wdstream.train.model.load import load_weights
from wdstream.train.model.merge import merged_model

CPU = torch.device("cpu")
FORMS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "trained norm": {"modules_to_save": ["norm"]},
    "whole table": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "ranks": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 7}},
}


def adapted(base: Any, folder: Path, **form: Any) -> Any:
    """A base with an adapter of random numbers, which is also written to a folder."""
    torch.manual_seed(5)
    with quiet_peft():
        model = get_peft_model(base, LoraConfig(**{"r": 4, "target_modules": LORA_TARGETS, **form}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    return model.eval()


def logits(model: nn.Module, path: Path) -> torch.Tensor:
    family = load_family(path)
    batch = collate([encode_pack(make_samples(family), family)], family)
    with torch.no_grad():
        inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
        found: torch.Tensor = model.eval()(**{**inputs, "use_cache": False}).logits
    return found


@pytest.mark.parametrize("form", sorted(FORMS))
def test_merged_and_not_merged_give_the_same_logits(form: str, tiny_model: Path, tmp_path: Path) -> None:
    base = load_checkpoint(tiny_model, dtype=torch.float32)
    plain = logits(base, tiny_model)
    wanted = logits(adapted(base, tmp_path, **FORMS[form]), tiny_model)
    found = logits(merged_model(tmp_path, ModelConfig(path=tiny_model), None), tiny_model)
    assert (wanted - plain).abs().max() > 1e-2
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_over_four_bits_the_base_is_what_four_bits_left(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelConfig(path=tiny_model, dtype="float32")
    wanted = logits(adapted(load_weights(model, AdapterConfig(kind="qlora"), CPU, "sdpa"), tmp_path), tiny_model)
    merged = merged_model(tmp_path, model, AdapterConfig(kind="qlora"))
    torch.testing.assert_close(logits(merged, tiny_model), wanted, rtol=1e-3, atol=1e-4)
    assert "is merged into them dequantised" in caplog.text
    assert {type(module) for module in merged.modules() if "Linear" in type(module).__name__} == {nn.Linear}
    off = merged_model(tmp_path, model, None)
    assert (logits(off, tiny_model) - wanted).abs().max() > 1e-2


@pytest.mark.parametrize("form", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}])
def test_an_adapter_on_a_tied_weight_is_refused(form: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft says of the tied weights what the error below says
        adapted(load_checkpoint(tiny_model, dtype=torch.float32), tmp_path, **form)
    with pytest.raises(TrainError, match=r"adapter_config.json: .* one weight"):
        merged_model(tmp_path, ModelConfig(path=tiny_model), None)


def test_an_adapter_of_another_model_is_refused(tiny_model: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    adapted(load_checkpoint(tiny_models["idefics3"], dtype=torch.float32), tmp_path)
    with pytest.raises(TrainError, match=r"not of this model"):
        merged_model(tmp_path, ModelConfig(path=tiny_model), None)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(TrainError, match=r"no adapter_model\.safetensors there"):
        merged_model(tmp_path, ModelConfig(path=tiny_model), None)
