"""DeepSpeed's ZeRO by Accelerate's own configuration: which settings are proven, and those that follow from the run.

Accelerate hands its engine what it needs inside the calls that step.py makes anyway. What the run's YAML decides
(batch, clipping, dtype) Accelerate's file may leave out, leave at "auto" or repeat; it may not say something else.
tests/train/launch/test_zero.py holds ZeRO 1, 2 and 3 to the losses, gradient norms and weights of DDP; the rest is
refused.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.train.model.load import compute_dtype

STAGES = (1, 2, 3)


def is_zero_wanted() -> bool:
    """Whether the launcher was set to use DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true"


def zero_stage(accelerator: Accelerator) -> int | None:
    """The ZeRO stage in force; None without DeepSpeed."""
    plugin = accelerator.state.deepspeed_plugin
    return None if plugin is None else int(plugin.deepspeed_config["zero_optimization"]["stage"])


def describe_zero(stage: int | None) -> str:
    """The ZeRO stage in words, for messages."""
    return "without DeepSpeed" if stage is None else f"under DeepSpeed's ZeRO-{stage}"


def settle_zero(accelerator: Accelerator, config: Config) -> None:
    """Check DeepSpeed's settings and fill in those that follow from the run; called before anything is loaded.

    Raises:
        ConfigError: a setting contradicts the run's configuration, or is not proven.
    """
    from transformers.integrations import unset_hf_deepspeed_config

    settings: dict[str, Any] = accelerator.state.deepspeed_plugin.deepspeed_config
    follows = {
        "train_micro_batch_size_per_gpu": config.train.micro_batch_size,
        "train_batch_size": config.train.micro_batch_size * accelerator.num_processes,
        "gradient_accumulation_steps": 1,  # of the engine; a step runs as many micro-batches as the batch needs
        "gradient_clipping": config.train.max_grad_norm,
    }
    check_settings(config, settings, follows)
    settings.update(follows)
    # `final` is the whole model, whatever it was sharded into.
    settings["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
    # Weights are read as in any other run, and sharded by model/sharded.py. Those that transformers shards itself get
    # other names in `final`, and no shape by which the optimizer could tell a matrix from a norm.
    unset_hf_deepspeed_config()


def check_settings(config: Config, settings: Mapping[str, Any], follows: Mapping[str, float | None]) -> None:
    """Compare DeepSpeed's `settings` with what `follows` from the run, and with what is proven.

    Raises:
        ConfigError: names every setting that differs or is not proven.
    """
    problems = [
        f"{key}: expected auto or {value}, which follows from the run's configuration, found {settings[key]}"
        for key, value in follows.items()
        if settings.get(key, "auto") not in ("auto", value)
    ]
    problems += unproven(config, settings)
    if problems:
        raise ConfigError("\n".join(f"DeepSpeed: {problem}" for problem in problems))


def unproven(config: Config, settings: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on each setting of which nobody has shown that it trains like DDP."""
    zero, adapter, optimizer = settings["zero_optimization"], config.train.adapter, config.train.optimizer
    if zero["stage"] not in STAGES:
        yield f"zero_stage: expected 1, 2 or 3, found {zero['stage']}; without shards, start with --multi_gpu"
    if settings["fp16"]["enabled"]:
        yield "fp16: its loss scale skips steps, which would be counted as taken; use model.dtype: bfloat16"
    if settings["bf16"]["enabled"] != (compute_dtype(config.model) == torch.bfloat16):
        yield f"bf16: expected what model.dtype: {config.model.dtype} says, found {settings['bf16']['enabled']}"
    for name in ("offload_optimizer", "offload_param"):
        if zero.get(name, {}).get("device", "none") != "none":
            yield f"{name}: brings an optimizer of its own that is not proven; expected device none"
    for name in ("optimizer", "scheduler"):
        if name in settings:
            yield f"{name}: wdstream brings its own (train.optimizer, train.lr, train.warmup_steps); leave it out"
    if optimizer != "adamw":
        does = "quantise" if optimizer.endswith("8bit") else "work on"
        yield f"train.optimizer: {optimizer} would {does} shards, which are cut anywhere, and not tensors; use adamw"
    if config.train.stages:
        yield "train.stages: its engine takes the step by itself, with every gradient: use DDP or FSDP2"
    if any(entry.lr is not None for entry in (*config.train.parts.values(), *config.train.patterns.values())):
        yield "train.parts, train.patterns: rates of their own are not proven in its engine: use DDP or FSDP2"
    if config.train.ema is not None:
        yield "train.ema: its engine keeps the float32 weights inside of its optimizer: use DDP or FSDP2"
    if config.train.max_grad_norm is None:
        yield "train.max_grad_norm: null is not proven in its engine: use DDP or FSDP2, or a large number"
    if adapter is not None and adapter.kind == "qlora":
        yield "train.adapter.kind: 4-bit weights in its engine are not proven; use lora, or start with --multi_gpu"
    for key in ("dora", "modules_to_save", "train_tokens"):
        if adapter is not None and getattr(adapter, key):
            yield f"train.adapter.{key}: is not proven in its engine; leave it out, or start with --multi_gpu"


def keep_clipping(accelerator: Accelerator, optimizer: AcceleratedOptimizer, max_grad_norm: float | None) -> None:
    """After a checkpoint was loaded: clip as configured now; ZeRO brings back what it was written with."""
    if zero_stage(accelerator) is not None:
        optimizer.optimizer.clip_grad = max_grad_norm
