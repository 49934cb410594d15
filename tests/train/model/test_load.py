"""What is loaded, frozen, quantised and given adapters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, FamilyError, TrainError
from wdstream.train.model.load import (
    compute_dtype,
    keep_four_bit_layout,
    load_model,
    modules_outside_language,
    trains_vision,
)

CPU = torch.device("cpu")


def make_config(path: Path, **train: Any) -> Config:
    tree = {"model": {"path": str(path)}, "data": {"train": [{"path": "none"}]}, "train": train}
    return Config.model_validate(tree)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_full_training_trains_everything(tiny_model: Path) -> None:
    config = make_config(tiny_model)
    model = load_model(config, CPU)
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert model.training
    assert model.config.use_cache is False
    assert trains_vision(config)


def test_freeze_vision_leaves_the_language_model(tiny_model: Path) -> None:
    config = make_config(tiny_model, freeze_vision=True)
    names = trainable(load_model(config, CPU))
    assert names
    assert not [name for name in names if "visual" in name]
    assert "model.language_model.embed_tokens.weight" in names
    assert not trains_vision(config)


def test_lora_reaches_the_language_model_only(tiny_model: Path) -> None:
    config = make_config(tiny_model, adapter={"kind": "lora", "r": 4}, gradient_checkpointing=True)
    model = load_model(config, CPU)
    names = trainable(model)
    assert len(names) == 3 * 7 * 2  # layers x projections x (A, B)
    assert all(".language_model." in name and ".lora_" in name for name in names)
    assert not trains_vision(config)
    assert trains_vision(make_config(tiny_model, adapter={"target_modules": ".*qkv"}))


def test_lora_targets_that_match_nothing_are_named(tiny_model: Path) -> None:
    with pytest.raises(TrainError, match=r"train.adapter.target_modules: .*no_such"):
        load_model(make_config(tiny_model, adapter={"target_modules": "no_such"}), CPU)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", r".*(lm_head|q_proj)"])
def test_an_adapter_on_a_tied_head_is_refused(tiny_model: Path, target: str) -> None:
    targets = target if "*" in target else [target]
    with pytest.raises(TrainError, match=r"lm_head and model.language_model.embed_tokens are one weight"):
        load_model(make_config(tiny_model, adapter={"target_modules": targets}), CPU)


def test_an_adapter_on_a_head_of_its_own(tiny_models: dict[str, Path]) -> None:
    config = make_config(tiny_models["idefics3"], adapter={"target_modules": ["lm_head"]})
    assert {name.split(".")[-3] for name in trainable(load_model(config, CPU))} == {"lora_A", "lora_B"}


def test_qlora_quantises_the_language_model_only(tiny_model: Path) -> None:
    import bitsandbytes as bnb

    model = load_model(make_config(tiny_model, adapter={"kind": "qlora", "r": 4}), CPU)
    four_bit = [name for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(four_bit) == 3 * 7
    assert all(".language_model." in name for name in four_bit)
    assert {name.split(".")[-3] for name in trainable(model)} == {"lora_A", "lora_B"}
    linear = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert {module.compute_dtype for module in linear} == {torch.float32}


def test_four_bit_layers_of_any_shape_learn_after_an_evaluation() -> None:
    # On CPUs with avx512_bf16, bitsandbytes would repack the weights in the evaluation: an error for most of these
    # shapes, and no gradient for the others. Elsewhere the test says less: nothing repacks.
    import bitsandbytes as bnb

    torch.manual_seed(0)
    for num_inputs, num_outputs in ((64, 64), (192, 64), (160, 64), (64, 16), (8, 64), (63, 33)):
        layer = bnb.nn.Linear4bit(num_inputs, num_outputs, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
        keep_four_bit_layout(layer)
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        inputs = torch.randn(3, num_inputs, requires_grad=True)
        expected = nn.functional.linear(inputs, weight, layer.bias)
        layer.eval()
        with torch.no_grad():
            torch.testing.assert_close(layer(inputs.detach()), expected)
        layer.train()
        layer(inputs).sum().backward()
        torch.testing.assert_close(inputs.grad, weight.sum(0).expand(3, -1))


def test_no_four_bit_layer_of_a_model_is_repacked(tiny_model: Path) -> None:
    import bitsandbytes as bnb

    model = load_model(make_config(tiny_model, adapter={"kind": "qlora", "r": 4}), CPU)
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert {layer.support_avx512bf16_for_cpu for layer in layers} == {False}


def test_parts_that_stay_unquantised(tiny_model: Path) -> None:
    assert modules_outside_language(tiny_model) == ["model.visual", "lm_head"]


def test_dtypes() -> None:
    config = make_config(Path("m"))
    assert compute_dtype(config.model) == torch.float32
    slow = config.model.model_copy(update={"dtype": "bfloat16"})
    with pytest.warns(UserWarning, match="bfloat16 is 20 to 70 times slower than float32 on a CPU"):
        assert compute_dtype(slow) == torch.bfloat16


def test_no_checkpoint_and_wrong_attention_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.path: .* holds no config.json"):
        load_model(make_config(tmp_path), CPU)
    config = make_config(tiny_model)
    wrong = config.model_copy(update={"model": config.model.model_copy(update={"attn": "flash_attention_2"})})
    with pytest.raises(FamilyError, match=r"the model cannot be loaded \(ImportError: .*[Ff]lash"):
        load_model(wrong, CPU)
