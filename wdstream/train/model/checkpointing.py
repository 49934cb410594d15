"""Activation checkpointing: which layers compute their activations again in the backward pass, and what of them.

By transformers' own mechanism, which each of its layers takes part in. The gradient is the same: a layer that is
computed again starts from the same inputs and random numbers.
"""

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from wdstream.config.speed import CheckpointedLayers
from wdstream.errors import TrainError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_ATEN = torch.ops.aten
KEPT_RESULTS = [
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    _ATEN._scaled_dot_product_fused_attention_overrideable.default,
]
"""What `selective` keeps: results of matrix products and of attention, which take most of the time. Norms, activation
functions, casts and rotations are computed again."""


def enable_checkpointing(model: "PreTrainedModel | PeftModel", wanted: bool | str | CheckpointedLayers) -> None:
    """Let layers compute their activations again, as `train.gradient_checkpointing` says; in place.

    Raises:
        TrainError: more layers are asked for than a part has.
    """
    if not wanted:
        return
    arguments: dict[str, object] = {"use_reentrant": False}
    if wanted == "selective":
        arguments["context_fn"] = functools.partial(create_selective_checkpoint_contexts, KEPT_RESULTS)
    # The name changed within transformers 5; the argument did not.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(arguments)
    # It asks for gradients of what embeddings give, of images too, which only reentrant checkpoints need: a frozen
    # vision tower would be computed again and have a backward pass, for a gradient that nothing takes.
    model.disable_input_require_grads()
    if isinstance(wanted, CheckpointedLayers):
        _leave_others(model, wanted)


def layers_of(model: "PreTrainedModel | PeftModel") -> tuple[list[nn.Module], list[nn.Module]]:
    """(layers of the language model, layers of all other parts) that can be computed again, in order."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    inside = {id(module) for module in model.get_decoder().modules()}
    language: list[nn.Module] = []
    others: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            (language if id(module) in inside else others).append(module)
    return language, others


def _leave_others(model: "PreTrainedModel | PeftModel", wanted: CheckpointedLayers) -> None:
    counts = (("layers", wanted.layers), ("vision_layers", wanted.vision_layers))
    for (name, count), layers in zip(counts, layers_of(model), strict=True):
        if count > len(layers):
            raise TrainError(
                f"train.gradient_checkpointing.{name}: {count}, and this model has {len(layers)} that can be computed "
                "again; give at most those"
            )
        for layer in layers[count:]:
            layer.gradient_checkpointing = False  # type: ignore[assignment]
