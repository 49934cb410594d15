"""The model to train: loaded from a local model folder, quantised, frozen and given adapters as configured."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import Config, ModelConfig
from wdstream.errors import ConfigError
from wdstream.proofs.checkpoint import load_checkpoint
from wdstream.train.model.adapter import add_adapter, refuse_frozen_targets
from wdstream.train.model.checkpointing import enable_checkpointing
from wdstream.train.model.kernels import take_kernels
from wdstream.train.model.parts import is_of_language
from wdstream.train.model.quantize import four_bit, keep_four_bit_layout

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from wdstream.train.model.init import WarmStart

MixedPrecision = Literal["no", "bf16", "fp16"]

MIXED_PRECISION: dict[torch.dtype, MixedPrecision] = {
    torch.float32: "no",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


def compute_dtype(config: ModelConfig) -> torch.dtype:
    """The compute dtype of `model.dtype`; auto is bfloat16 on a GPU that has it, else float32."""
    if config.dtype == "auto":
        has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bf16 else torch.float32
    dtype: torch.dtype = getattr(torch, config.dtype)
    return dtype


def load_model(
    config: Config,
    device: torch.device,
    *,
    attention: str | dict[str, str] | None = None,
    init: "WarmStart | None" = None,
    has_numbers: bool = True,
) -> "PreTrainedModel | PeftModel":
    """The model, ready for `Accelerator.prepare`: dtype, attention, adapters, frozen parts, gradient checkpointing.

    Without an adapter the weights are float32 and computed in `model.dtype` by autocast, so that small updates are not
    lost; with one, the frozen base is kept in `model.dtype` (4-bit for QLoRA) and the adapter in float32.

    Args:
        config: which model, and how it is trained.
        device: where this process computes.
        attention: `model.attn` for each part of the model (`Family.attention_setting`); None: the same for all.
        init: whose weights a new run begins with; None: those of `model.path`.
        has_numbers: False: on the meta device, for a process that receives its weights (sharded.py).

    Raises:
        ConfigError: the path is not a model folder, or kernels do not fit it.
        FamilyError: the checkpoint is not whole (proofs/checkpoint.py).
        TrainError: adapters fit nowhere, or `init` is of another model.
    """
    adapter = config.train.adapter
    source = None if init is None else init.weights_folder
    model = load_weights(
        config.model, adapter, device, attention or config.model.attn, source=source, has_numbers=has_numbers
    )
    numbers = init if has_numbers else None
    if numbers is not None and adapter is None:
        model = numbers.put_in(model)
    model.config.use_cache = False
    take_kernels(model, config.model, device)
    if config.train.freeze_vision:
        freeze_vision(model)
    if adapter is not None:
        model = add_adapter(model, adapter, config.model.path)
        if numbers is not None:
            numbers.put_in_adapter(model)
        if config.train.freeze_vision:
            refuse_frozen_targets(model)
    again = config.train.gradient_checkpointing
    enable_checkpointing(model, False if again == "auto" else again)  # a run has settled it by now
    model.train()
    return model


def freeze_vision(model: nn.Module) -> None:
    """Stop training everything but the language model and its head."""
    for name, parameter in model.named_parameters():
        if not is_of_language(name):
            parameter.requires_grad_(False)


def trains_vision(config: Config) -> bool:
    """Whether vision parameters may get gradients; then a micro-batch without images leaves some without."""
    if config.train.adapter is not None:
        adapter = config.train.adapter
        beyond = adapter.target_modules is not None or bool(adapter.modules_to_save)
        return beyond or not set(adapter.parts) <= {"language"}
    return not config.train.freeze_vision


def load_weights(
    config: ModelConfig,
    adapter: AdapterConfig | None,
    device: torch.device,
    attention: str | dict[str, str],
    *,
    source: Path | None = None,
    has_numbers: bool = True,
) -> "PreTrainedModel":
    """The weights of `model.path` as they are trained: in float32, or as the base of an adapter.

    Args:
        config: which model, and how it computes.
        adapter: how its base is kept; None: all weights are trained.
        device: where this process computes.
        attention: of each part of the model, or of all.
        source: another folder to take the weights from; the model is still that of `model.path`.
        has_numbers: False: names and shapes alone are read, and the model is on the meta device.

    Raises:
        ConfigError: the path is not a model folder.
        FamilyError: the checkpoint is not whole.
    """
    from transformers import AutoConfig

    if not (config.path / "config.json").is_file():
        raise ConfigError(
            f"model.path: {config.path} holds no config.json; give the folder of a model "
            "(wdstream make-tiny-model makes one for trials)"
        )
    options: dict[str, object] = {"attn_implementation": attention}
    options["dtype"] = torch.float32 if adapter is None else compute_dtype(config)
    if adapter is not None and adapter.kind == "qlora":
        options["quantization_config"] = four_bit(config.path, adapter, compute_dtype(config), device)
        options["device_map"] = {"": device.index or 0 if device.type == "cuda" else "cpu"}
    if source is not None:
        options["config"] = AutoConfig.from_pretrained(config.path, local_files_only=True)
    if not has_numbers:
        options["device_map"] = "meta"
    model = load_checkpoint(
        source or config.path, allow_missing=config.allow_missing, allow_unexpected=config.allow_unexpected, **options
    )
    if "quantization_config" in options:
        keep_four_bit_layout(model)
    return model
