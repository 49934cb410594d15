"""Sections of the lap about exactness: isolation under each attention, and the normalisation of the loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from lap.place import Place, Skipped, first_line
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import ModelConfig
from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.proofs.isolation import measure_isolation
from wdstream.records import Sample
from wdstream.testing import make_samples, make_tiny_model
from wdstream.train.model.kernels import require_kernels, take_kernels
from wdstream.train.step.loss import LossHead, find_targets

CASES = (
    ("qwen2_5_vl", "sdpa"),
    ("qwen2_5_vl", "flash_attention_2"),
    ("qwen3_vl", "sdpa"),
    ("idefics3", "sdpa"),
    ("idefics3", "flex_attention"),
    ("idefics3", "flash_attention_2"),
    ("gemma3", "flex_attention"),
)
DRY_CASES = (("qwen2_5_vl", "sdpa"), ("qwen2_5_vl", "flash_attention_2"))
VOCAB_SIZE = 1024


def measure_attention(place: Place) -> dict[str, Any]:
    """For each family and attention, in bfloat16: leak and difference in logits, distance of gradients."""
    found: dict[str, Any] = {}
    for family, attn in DRY_CASES if place.is_dry else CASES:
        try:
            found[f"{family} {attn}"] = _isolation(place, family, attn)
        except ImportError as error:  # an attention that is not installed
            found[f"{family} {attn}"] = {"skipped": first_line(error)}
        except Exception as error:  # whatever it is, the other cases are measured
            found[f"{family} {attn}"] = {"failed": first_line(error)}
    return found


def _isolation(place: Place, name: str, attn: str) -> dict[str, float]:
    model, family = _model(place, name, attn, torch.bfloat16)
    samples = make_samples(family)
    isolation = measure_isolation(model.eval(), family, samples)
    packed = _gradient(model, family, [samples])
    alone = _gradient(model, family, [[sample] for sample in samples])
    return {
        "leak": isolation.leak,
        "difference": isolation.difference,
        "largest_logit": isolation.scale,
        "gradient_distance": float((packed - alone).norm() / alone.norm()),
    }


def _model(place: Place, name: str, attn: str, dtype: torch.dtype) -> tuple[Any, Family]:
    folder = place.root / name
    if not folder.exists():
        make_tiny_model(folder, family=name, vocab_size=VOCAB_SIZE)
    family = load_family(folder).for_attention(attn)
    options = {"dtype": dtype, "attn_implementation": family.attention_setting(attn)}
    model = AutoModelForImageTextToText.from_pretrained(folder, **options)
    return model.to(place.device), family


def _gradient(model: Any, family: Family, packs: Sequence[Sequence[Sample]]) -> Tensor:
    """Of the mean loss over the packs, each a row of its own; float64 on the CPU."""
    return _loss_and_gradient(model, family, [[pack] for pack in packs])[1]


def measure_normalisation(place: Place) -> dict[str, Any]:
    """Loss and gradient on the device against float32 on the CPU, in one micro-batch of four rows and in four."""
    cpu = Place(root=place.root, is_dry=True)
    model, family = _model(cpu, "qwen2_5_vl", "sdpa", torch.float32)
    samples = make_samples(family)
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    loss, gradient = _loss_and_gradient(model, family, [packs])
    found: dict[str, Any] = {"loss_on_cpu": loss}
    for dtype in (torch.float32, torch.bfloat16):
        for name, batches in (("1x4", [packs]), ("4x1", [[pack] for pack in packs])):
            model, _ = _model(place, "qwen2_5_vl", "sdpa", torch.float32)
            with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                ours, theirs = _loss_and_gradient(model, family, batches)
            found[f"{str(dtype).removeprefix('torch.')} {name}"] = {
                "loss_distance": abs(ours - loss) / loss,
                "gradient_distance": float((theirs - gradient).norm() / gradient.norm()),
            }
    return found


def measure_kernels(place: Place) -> dict[str, Any]:
    """Distance of loss and gradient by `model.kernels: liger` from those of the model's own layers, in both dtypes."""
    device, config = place.gpu, ModelConfig.of({"path": str(place.root), "kernels": "liger"})
    try:
        require_kernels(config)
    except ConfigError as error:
        raise Skipped(str(error)) from error
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model, family = _model(place, "qwen2_5_vl", "sdpa", dtype)
        packs = [[make_samples(family)]]
        loss, gradient = _loss_and_gradient(model, family, packs)
        take_kernels(model, config, device)
        ours, theirs = _loss_and_gradient(model, family, packs)
        found[str(dtype).removeprefix("torch.")] = {
            "loss_distance": abs(ours - loss) / loss,
            "gradient_distance": float((theirs - gradient).norm() / gradient.norm()),
        }
    return found


def _loss_and_gradient(
    model: Any, family: Family, batches: Sequence[Sequence[Sequence[Sample]]]
) -> tuple[float, Tensor]:
    """Mean loss over the supervised tokens of all micro-batches, each of some packs, and its gradient."""
    head, device = LossHead(model), next(model.parameters()).device
    model.zero_grad()
    rows = [collate([encode_pack(pack, family) for pack in packs], family) for packs in batches]
    targets = [find_targets(batch.labels) for batch in rows]
    total = sum(target.num_supervised for target in targets)
    loss = 0.0
    for batch, target in zip(rows, targets, strict=True):
        inputs = dict(family.model_inputs(batch, device=device, dtype=model.dtype))
        inputs.pop("labels", None)
        part = head.loss_sum(model, inputs, target.to(device)) / total
        part.backward()
        loss += float(part.detach())
    grads = [torch.zeros(p.numel()) if p.grad is None else p.grad.detach().cpu().flatten() for p in model.parameters()]
    return loss, torch.cat(grads).double()
