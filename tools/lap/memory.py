"""The section of the lap about memory: what `wdstream plan --memory` says of a step, and what the step took."""

from typing import Any

import torch

from lap.place import Place
from lap.runs import VOCAB_SIZE, qwen
from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.testing import make_tiny_model
from wdstream.testing.tiny.qwen_vl import QWEN2_5_VL
from wdstream.train.memory.estimate import GIB, estimate_memory
from wdstream.train.memory.full_pack import full_pack
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.model.load import compute_dtype, load_model
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.blank import batch_form
from wdstream.train.step.loss import LossHead, find_targets

WIDE = qwen(width=2048, layers=4, heads=16, inner=11008, vision_layers=4)


def measure_memory(place: Place) -> dict[str, Any]:
    """GiB of a step over a full pack, by the estimate and by the allocator, with each kind of checkpointing."""
    place.device  # noqa: B018  # refuses before anything is written
    path = make_tiny_model(place.root / "model", family=QWEN2_5_VL if place.is_dry else WIDE, vocab_size=VOCAB_SIZE)
    family = load_family(path).for_attention("sdpa")
    found: dict[str, Any] = {}
    for name, value in (("false", False), ("true", True)):
        tokens, patches = (512, 512) if place.is_dry else (4096, 16384)
        data = {"train": [{"path": "none"}], "sequence_length": tokens, "max_patches": patches, "pad_to": "full"}
        tree = {"model": {"path": str(path)}, "data": data, "train": {"gradient_checkpointing": value}}
        config = Config.model_validate(tree)
        ways = estimate_memory(config, family, world=1, gpu_gib=512, kinds=("false", "true")).ways
        estimated = ways["ddp"][name].needed(1) / GIB
        found[name] = {"estimated_gib": estimated, "taken_gib": taken_gib(place.device, config, family)}
    return found


def taken_gib(device: torch.device, config: Config, family: Family) -> float | None:
    """What the second of two steps over a full pack takes of a GPU at most; None of a CPU."""
    data, dtype = config.data, compute_dtype(config.model)
    model: Any = load_model(config, device, attention=family.attention_setting("sdpa")).to(device).train()
    drop_image_padding(model)
    head, optimizer = LossHead(model), make_optimizer(model, config.train)
    form = batch_form(config, family)
    batch = full_pack(family, sequence_length=data.sequence_length, max_patches=data.max_patches, form=form)
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        inputs = dict(family.model_inputs(batch, device=device, dtype=dtype))
        inputs.pop("labels", None)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = head.loss_sum(model, inputs, find_targets(batch.labels).to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else None
