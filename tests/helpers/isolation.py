"""What the proofs of isolation share: models whose attention matters, documents of every kind, losses and gradients."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoConfig

from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.proofs.isolation import random_model
from wdstream.records import LabelledPage, Sample, TextSegment
from wdstream.testing import make_document, make_samples

Inputs = dict[str, Any]
Fault = Callable[[Inputs], Inputs]
FLAGGED = r"see each other|something else in a pack"
"""What the kit says of a fault."""


def load(family: Family, attention: str) -> torch.nn.Module:
    """The tiny model with weights scaled by 3, so that attention matters in its logits."""
    config = AutoConfig.from_pretrained(family.model_dir)
    model: torch.nn.Module = random_model(config, seed=0, attn=family.attention_setting(attention))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3)
    return model.eval()


def documents(family: Family) -> list[Sample]:
    """Documents of every kind; for families with masks of their own, some that their blocks and windows matter in."""
    if family.masks is not None:
        return masked_documents(family)
    samples = make_samples(family)
    if family.is_splitting:
        return [sample for sample in samples if sample.key in ("image-first", "text-only", "image-last")]
    return samples


def masked_documents(family: Family) -> list[Sample]:
    """No image; tiles with labels; a text longer than the tiny models' windows around an image; an image."""
    parts: dict[str, list[str | tuple[int, int]]] = {
        "text": ["Plain words, no image at all, and a few more of them."],
        "tiled": [(90, 60), "\n<row0_col0>", (60, 60), "The text of tiles."],
        "long": ["Before an image, " * 5, (70, 50), "a text that is long. " * 9],
        "image": [(60, 90)],
    }
    return [build_sample(unsupervised_labels(make_document(key, part)), family) for key, part in parts.items()]


def unsupervised_labels(page: LabelledPage) -> LabelledPage:
    """Tile labels (texts that begin with a newline) as the plan has them: not supervised."""
    segments = tuple(
        replace(part, is_supervised=not part.text.startswith("\n")) if isinstance(part, TextSegment) else part
        for part in page.segments
    )
    return replace(page, segments=segments)


def inputs_of(family: Family, rows: list[list[Sample]], pad_to: int | None = None) -> Inputs:
    """Keyword arguments of the model for rows of packed samples."""
    batch = collate([encode_pack(row, family) for row in rows], family, pad_to=pad_to)
    return family.model_inputs(batch, device="cpu", dtype=torch.float32)


def gradients(model: torch.nn.Module, batches: list[Inputs]) -> tuple[float, dict[str, torch.Tensor]]:
    """Summed token loss over batches, and its gradient per parameter."""
    model.zero_grad(set_to_none=True)
    total = 0.0
    for inputs in batches:
        loss = model(**inputs, num_items_in_batch=torch.tensor(1)).loss
        loss.backward()
        total += float(loss.detach())
    return total, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def ones_mask(inputs: Inputs) -> Inputs:
    """The 2-D mask that many collators send: it turns the isolation of packed documents off."""
    return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
