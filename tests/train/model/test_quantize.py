"""Which layers are in 4 bits, how, and that they learn."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.training import make_config, trainable
from wdstream.config.adapter import AdapterConfig
from wdstream.errors import TrainError
from wdstream.train.model.load import load_model
from wdstream.train.model.quantize import keep_four_bit_layout, require_quantised, unquantized_modules

CPU = torch.device("cpu")


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
    skipped = unquantized_modules(tiny_model, AdapterConfig(kind="qlora"))
    assert {name.split(".")[1] for name in skipped if name != "lm_head"} == {"visual"}
    assert "lm_head" in skipped


@pytest.mark.parametrize(("quant_type", "double_quant"), [("nf4", True), ("nf4", False), ("fp4", True)])
def test_how_weights_are_quantised_follows_the_settings(tiny_model: Path, quant_type: str, double_quant: bool) -> None:
    import bitsandbytes as bnb

    chosen = {"kind": "qlora", "r": 4, "quant_type": quant_type, "double_quant": double_quant}
    model = load_model(make_config(tiny_model, adapter=chosen), CPU)
    states = [module.weight.quant_state for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert {state.quant_type for state in states} == {quant_type}
    assert {state.nested for state in states} == {double_quant}


def test_other_parts_in_four_bits_but_what_is_trained_whole(tiny_model: Path) -> None:
    import bitsandbytes as bnb

    chosen = {"kind": "qlora", "r": 4, "quantized_parts": ["language", "vision", "projector"], "dora": True}
    model = load_model(make_config(tiny_model, adapter={**chosen, "modules_to_save": ["merger.mlp.0"]}), CPU)
    four_bit = {name for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert {".visual." in name for name in four_bit} == {True, False}
    assert [name for name in four_bit if "merger" in name or "lm_head" in name] == [
        "base_model.model.model.visual.merger.mlp.2"
    ]
    merger = [one for name, one in model.named_parameters() if "merger.mlp.0.modules_to_save" in name]
    assert merger and {one.dtype for one in merger} == {torch.float32}


def test_a_part_of_which_nothing_would_be_quantised_is_refused(tiny_model: Path) -> None:
    adapter = AdapterConfig(kind="qlora", quantized_parts=("language", "projector"), modules_to_save=("projector",))
    with pytest.raises(TrainError, match=r"quantized_parts: projector: nothing of it would be in 4 bits"):
        require_quantised(tiny_model, adapter)
    require_quantised(tiny_model, adapter.replace(modules_to_save=()))


def test_no_line_about_a_kernel_that_nothing_uses() -> None:
    """peft imports bitsandbytes, which says on CPUs with avx512_bf16 that it has found no kernel for repacked layers;
    its other lines stay."""
    said = """
import logging, sys, wdstream.train
log = logging.getLogger("bitsandbytes.backends.cpu.ops")
log.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "no")
log.warning("another line")
"""
    done = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert done.stderr == "another line\n"
