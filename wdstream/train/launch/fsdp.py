"""FSDP as exact training needs it, whatever the launcher said: a unit for each layer, a loss that is not rounded."""

import os
from dataclasses import replace

import torch
from accelerate import Accelerator

from wdstream.errors import ConfigError


def settle_fsdp(accelerator: Accelerator) -> None:
    """Correct what Accelerate takes where `--use_fsdp --fsdp_version 2` says no more; without FSDP nothing changes.

    * Its default wraps nothing but the whole model, whose weights are then gathered all at once: each layer of
      transformers' list (`_no_split_modules`) becomes a unit. A policy that was asked for stays.
    * Its policy for bfloat16 gives the output of the model in bfloat16, and the output is the sum of the losses: 2112
      for 2104.6. It stays as it is computed, and gradients are summed over the ranks in float32.
    * Under FSDP2 one process reads the weights, whatever the launcher says of that (train/model/sharded.py).
      transformers goes by the same variable, would read them in a process of each machine, and lose buffers.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)  # which is there only under FSDP
    if plugin is None:
        return
    if plugin.auto_wrap_policy is None:
        from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

        plugin.auto_wrap_policy = transformer_auto_wrap_policy
    if plugin.fsdp_version == 2:
        plugin.cpu_ram_efficient_loading = False
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    policy = plugin.mixed_precision_policy
    if policy is not None:
        changes = {"reduce_dtype": torch.float32, **({"output_dtype": None} if plugin.fsdp_version == 2 else {})}
        plugin.mixed_precision_policy = replace(policy, **changes)


def check_optimizer(accelerator: Accelerator, optimizer: str) -> None:
    """Refuse optimizers of which nobody has shown that they train sharded tensors as they train whole ones.

    Raises:
        ConfigError: the run is under FSDP, and the optimizer is another than AdamW.
    """
    if getattr(accelerator.state, "fsdp_plugin", None) is not None and optimizer not in ("adamw", "adamw_fused"):
        raise ConfigError(
            f"train.optimizer: {optimizer}: is not proven under FSDP, which gives it parts of tensors (a matrix cut by "
            "its rows, a block of 8-bit values cut anywhere); use adamw or adamw_fused, or start with --multi_gpu"
        )


def check_sync(accelerator: Accelerator, *, is_wanted: bool) -> None:
    """Refuse `train.sync_each_micro_batch` where it would save nothing.

    Raises:
        ConfigError: the run is not under FSDP2.
    """
    if is_wanted and not accelerator.is_fsdp2:
        raise ConfigError(
            f"train.sync_each_micro_batch: only FSDP2 (--use_fsdp --fsdp_version 2) keeps less by it, and this run is "
            f"under {accelerator.distributed_type.value}: DDP keeps whole gradients anyway, and DeepSpeed's engine "
            "shards its own; leave it out"
        )


def check_average(accelerator: Accelerator, *, is_wanted: bool) -> None:
    """Refuse `train.ema` where a process cannot see which weights it holds.

    Raises:
        ConfigError: the run is under FSDP1.
    """
    if is_wanted and getattr(accelerator.state, "fsdp_plugin", None) is not None and not accelerator.is_fsdp2:
        raise ConfigError(
            "train.ema: FSDP1 keeps its weights as parts of one flat tensor, which have no shape of their own; start "
            "with --fsdp_version 2 or --multi_gpu, or leave it out"
        )
