"""The model to train: loaded from a local model folder, quantised, frozen and given adapters as configured."""

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from wdstream.config.schema import Config, ModelConfig
from wdstream.config.training import AdapterConfig
from wdstream.errors import ConfigError, TrainError, needs_extra
from wdstream.proofs.checkpoint import load_checkpoint
from wdstream.train.model.checkpointing import enable_checkpointing

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import BitsAndBytesConfig, PreTrainedModel

MixedPrecision = Literal["no", "bf16", "fp16"]

LANGUAGE_MODULES = re.compile(r"(^|\.)(language_model|text_model|lm_head)(\.|$)")
"""Module names of the language model in every family; all others belong to the vision tower or its projector."""

LORA_TARGETS = r".*(language_model|text_model)\..*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Attention and MLP projections of the language model only; "all-linear" would reach into the vision tower."""

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
    if dtype != torch.float32 and not torch.cuda.is_available():
        warnings.warn(
            f"model.dtype: {config.dtype} is 20 to 70 times slower than float32 on a CPU; use auto or float32",
            stacklevel=2,
        )
    return dtype


def load_model(
    config: Config, device: torch.device, *, attention: str | dict[str, str] | None = None
) -> "PreTrainedModel | PeftModel":
    """The model, ready for `Accelerator.prepare`: dtype, attention, adapters, frozen parts, gradient checkpointing.

    Without an adapter the weights are float32 and computed in `model.dtype` by autocast, so that small updates are not
    lost; with one, the frozen base is kept in `model.dtype` (4-bit for QLoRA) and the adapter in float32.

    Args:
        config: which model, and how it is trained.
        device: where this process computes.
        attention: `model.attn` for each part of the model (`Family.attention_setting`); None: the same for all.

    Raises:
        ConfigError: the path is not a model folder.
        FamilyError: the checkpoint is not whole (proofs/checkpoint.py).
        TrainError: adapters fit nowhere.
    """
    adapter = config.train.adapter
    model = _load_weights(config.model, adapter, device, attention or config.model.attn)
    model.config.use_cache = False
    if config.train.freeze_vision:
        freeze_vision(model)
    if adapter is not None:
        model = add_adapter(model, adapter)
    enable_checkpointing(model, config.train.gradient_checkpointing)
    model.train()
    return model


def freeze_vision(model: nn.Module) -> None:
    """Stop training everything but the language model and its head."""
    for name, parameter in model.named_parameters():
        if not LANGUAGE_MODULES.search(name):
            parameter.requires_grad_(False)


def trains_vision(config: Config) -> bool:
    """Whether vision parameters may get gradients; then a micro-batch without images leaves some without."""
    if config.train.adapter is not None:
        return config.train.adapter.target_modules is not None
    return not config.train.freeze_vision


def add_adapter(model: "PreTrainedModel", adapter: AdapterConfig) -> "PeftModel":
    """The model under PEFT: all frozen but the LoRA matrices, which are float32.

    Raises:
        TrainError: `target_modules` matches no module, or one whose weight is tied to another's.
    """
    from peft import LoraConfig, get_peft_model

    targets = adapter.target_modules
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    lora = LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=LORA_TARGETS if targets is None else targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft asks by a name that transformers renamed; nothing a user could do about it.
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings", category=UserWarning)
            adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise TrainError(f"train.adapter.target_modules: {error}") from error
    refuse_tied_targets(tied, adapted.base_model.targeted_module_names)
    return adapted


def refuse_tied_targets(tied: Mapping[str, str], targets: Iterable[str]) -> None:
    """Refuse an adapter on one of two layers that share a weight.

    Args:
        tied: names of weights that are one, by the weight that they are tied to.
        targets: names of modules that got an adapter.

    Raises:
        TrainError: names both.
    """
    chosen = set(targets)
    for first, second in sorted(tied.items()):
        pair = [name.removesuffix(".weight") for name in (first, second)]
        if found := [name for name in pair if name in chosen]:
            raise TrainError(
                f"train.adapter.target_modules: {found[0]} is among the targets, and {pair[0]} and {pair[1]} are one "
                "weight (tie_word_embeddings): an adapter on one is not on the other, so it could never be merged; "
                "leave both out"
            )


def _load_weights(
    config: ModelConfig, adapter: AdapterConfig | None, device: torch.device, attention: str | dict[str, str]
) -> "PreTrainedModel":
    from transformers.utils import logging

    if not (config.path / "config.json").is_file():
        raise ConfigError(
            f"model.path: {config.path} holds no config.json; give the folder of a model "
            "(wdstream make-tiny-model makes one for trials)"
        )
    options: dict[str, object] = {"attn_implementation": attention}
    options["dtype"] = torch.float32 if adapter is None else compute_dtype(config)
    if adapter is not None and adapter.kind == "qlora":
        options["quantization_config"] = _four_bit(config, device)
        options["device_map"] = {"": device.index or 0 if device.type == "cuda" else "cpu"}
    logging.disable_progress_bar()  # one bar per process would tear the training's own
    model = load_checkpoint(
        config.path, allow_missing=config.allow_missing, allow_unexpected=config.allow_unexpected, **options
    )
    if "quantization_config" in options:
        keep_four_bit_layout(model)
    return model


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


def _four_bit(config: ModelConfig, device: torch.device) -> "BitsAndBytesConfig":
    """NF4 with double quantisation, over the language model's linear layers only."""
    with needs_extra("train.adapter.kind: qlora", "train", error_type=TrainError, alternative="or use kind: lora"):
        import bitsandbytes  # noqa: F401
    from transformers import BitsAndBytesConfig

    dtype = compute_dtype(config)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        # A CPU computes 4-bit layers fast in float32 only, whatever model.dtype says.
        bnb_4bit_compute_dtype=dtype if device.type != "cpu" else torch.float32,
        # FSDP can only shard a storage of the compute dtype; the bytes are the same.
        bnb_4bit_quant_storage=dtype if dtype != torch.float32 else torch.uint8,
        llm_int8_skip_modules=modules_outside_language(config.path),
    )


def modules_outside_language(path: Path) -> list[str]:
    """Name prefixes of the parts that are never quantised: vision tower, projector, output head."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):  # no weights, only their names
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(path, local_files_only=True))
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    outside = {".".join(name.split(".")[:2]) for name in linear if not LANGUAGE_MODULES.search(name)}
    return [*sorted(outside), "lm_head"]
