"""A base in 4 bits (QLoRA): which layers are quantised, how, and in a layout that gradients pass through."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from wdstream.config.adapter import AdapterConfig
from wdstream.errors import TrainError, needs_extra
from wdstream.proofs.checkpoint import model_of_config
from wdstream.train.model.adapter import saved_modules
from wdstream.train.model.parts import model_part

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def four_bit(path: Path, adapter: AdapterConfig, dtype: torch.dtype, device: torch.device) -> "BitsAndBytesConfig":
    """How the linear layers of `quantized_parts` are quantised.

    Args:
        path: the model folder.
        adapter: of kind qlora.
        dtype: that `model.dtype` computes in.
        device: where this process computes.

    Raises:
        TrainError: bitsandbytes is not installed.
    """
    with needs_extra("train.adapter.kind: qlora", "train", error_type=TrainError, alternative="or use kind: lora"):
        import bitsandbytes  # noqa: F401
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=adapter.quant_type,
        bnb_4bit_use_double_quant=adapter.double_quant,
        # A CPU computes 4-bit layers fast in float32 only, whatever model.dtype says.
        bnb_4bit_compute_dtype=dtype if device.type != "cpu" else torch.float32,
        # The same bytes either way; in this form other programs can shard what they load.
        bnb_4bit_quant_storage=dtype if dtype != torch.float32 else torch.uint8,
        llm_int8_skip_modules=unquantized_modules(path, adapter),
    )


def unquantized_modules(path: Path, adapter: AdapterConfig) -> list[str]:
    """Names of the linear layers that stay as they are: of other parts, what is trained whole, the output head."""
    kept, _ = _linear_layers(path, adapter)
    return sorted(kept)


def require_quantised(path: Path, adapter: AdapterConfig) -> None:
    """Refuse `quantized_parts` of which nothing would be in 4 bits; of a new run, for one that continues cannot change.

    Raises:
        TrainError: names the first.
    """
    _, quantised = _linear_layers(path, adapter)
    for part in adapter.quantized_parts:
        if part not in map(model_part, quantised):
            raise TrainError(
                f"train.adapter.quantized_parts: {part}: nothing of it would be in 4 bits: it has no linear layer, or "
                "modules_to_save trains all of them whole; leave one out"
            )


def _linear_layers(path: Path, adapter: AdapterConfig) -> tuple[list[str], list[str]]:
    """(those that stay as they are, those that become 4 bits), by name."""
    with torch.device("meta"):  # no weights, only their names
        model = model_of_config(path)
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    saved = tuple(f"{one}." for one in saved_modules(model, adapter.modules_to_save))
    kept = [n for n in linear if model_part(n) not in adapter.quantized_parts or f"{n}.".startswith(saved)]
    return kept, [name for name in linear if name not in kept]


def keep_four_bit_layout(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for inference on CPUs with avx512_bf16; in place.

    Without this, the first forward pass in eval mode repacks them, and they stay so. That pass needs inputs divisible
    by 64 and outputs by 32, and computes in bfloat16; worse, a repacked layer has no backward pass: after the first
    evaluation no gradient would reach anything below it, without an error (bitsandbytes 0.50.2). In the layout of all
    other processors, any shape works, training and evaluation compute alike, and numbers do not depend on the CPU.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
