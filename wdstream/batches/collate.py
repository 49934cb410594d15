"""Samples to packs, and packs to a batch of tensors, one pack per row.

There is no 2-D attention mask: a mask, even one of ones, silently turns off the isolation of packed documents. What a
row lacks in length is one more document, with labels of -100.
"""

from collections.abc import Sequence

import numpy as np
import torch

from wdstream.batches.batch import Batch
from wdstream.errors import PlanError
from wdstream.families.base import Family
from wdstream.records import IGNORED, EncodedPack, Failure, Ints, Sample, StepPlan


def encode_pack(
    samples: Sequence[Sample],
    family: Family,
    *,
    number: int = 0,
    step: StepPlan | int | None = None,
    failures: Sequence[Failure] = (),
    unfit: Sequence[Failure] = (),
) -> EncodedPack:
    """Lay samples end to end: ids, labels, positions that restart per document, and all pixels in one buffer.

    Args:
        samples: the documents, in order; none gives an empty pack.
        family: lays out pixels and positions.
        number: the pack's number in the run.
        step: the plan of its step, or the step's number where there is no plan.
        failures: pages that failed and keep their slot.
        unfit: pages that were passed over on the way to it.
    """
    empty = np.empty(0, dtype=np.int64)
    positions = [
        family.position_rule.positions(sample.input_ids, [(tile.shape[1], tile.shape[0]) for tile in sample.tiles])
        for sample in samples
    ]
    return EncodedPack(
        number=number,
        input_ids=np.concatenate([empty, *(sample.input_ids for sample in samples)]),
        labels=np.concatenate([empty, *(sample.labels for sample in samples)]),
        position_ids=np.concatenate([empty.reshape(1, 0).repeat(family.position_rule.num_rows, 0), *positions], axis=1),
        lengths=tuple(len(sample.input_ids) for sample in samples),
        pixels=family.layout([tile for sample in samples for tile in sample.tiles]),
        keys=tuple(sample.key for sample in samples),
        num_patches=sum(sample.num_patches for sample in samples),
        step=step,
        failures=tuple(failures),
        unfit=tuple(unfit),
        without_image=sum(not sample.tiles for sample in samples),
    )


def collate(packs: Sequence[EncodedPack], family: Family, *, pad_to: int | None = None) -> Batch:
    """Join packs of one step into a batch.

    Args:
        packs: one per row; at least one.
        family: joins the pixel arrays.
        pad_to: tokens per row; None takes the longest pack's.

    Raises:
        PlanError: no pack, or a pack longer than `pad_to`.
    """
    if not packs:
        raise PlanError("collate: a batch needs at least one pack, found none; check micro_batch_size")
    longest = max(len(pack.input_ids) for pack in packs)
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise PlanError(f"collate: a pack has {longest} tokens, more than the {length} of a row (pad_to)")
    padding = [length - len(pack.input_ids) for pack in packs]
    rows = [[*pack.lengths, rest] if rest else list(pack.lengths) for pack, rest in zip(packs, padding, strict=True)]
    limits = torch.from_numpy(np.cumsum([0, *(tokens for row in rows for tokens in row)], dtype=np.int32))
    max_length = max((tokens for row in rows for tokens in row), default=0)
    input_ids = _padded([pack.input_ids for pack in packs], length, family.pad_id)
    labels = _padded([pack.labels for pack in packs], length, IGNORED)
    arrays = {
        **family.images.collate([pack.pixels for pack in packs]),
        **({} if family.masks is None else family.masks.arrays(input_ids, labels, rows)),
    }
    step = packs[0].step
    step_plan = step if isinstance(step, StepPlan) else None
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        labels=torch.from_numpy(labels),
        position_ids=torch.from_numpy(_positions(packs, length)),
        **{key: torch.from_numpy(array) for key, array in arrays.items()},
        cu_seq_lens_q=limits,
        cu_seq_lens_k=limits,
        max_length_q=max_length,
        max_length_k=max_length,
        keys=[list(pack.keys) for pack in packs],
        packs=[pack.number for pack in packs],
        lengths=[list(pack.lengths) for pack in packs],
        failures=[failure for pack in packs for failure in pack.failures],
        step=step.step if isinstance(step, StepPlan) else step,
        step_plan=step_plan,
        num_supervised=None if step_plan is None else step_plan.num_supervised,
        num_patches=sum(pack.num_patches for pack in packs),
        pixel_shapes=[{name: array.shape for name, array in pack.pixels.items()} for pack in packs],
        unfit=[page for pack in packs for page in pack.unfit],
        without_image=sum(pack.without_image for pack in packs),
    )


def _padded(rows: Sequence[Ints], length: int, fill: int) -> Ints:
    """(B, L): each row with `fill` after it."""
    out = np.full((len(rows), length), fill, dtype=np.int64)
    for row, values in enumerate(rows):
        out[row, : len(values)] = values
    return out


def _positions(packs: Sequence[EncodedPack], length: int) -> Ints:
    """(R, B, L) for R > 1, else (B, L); the padding counts from 0 in every row, like a document of text."""
    num_rows = len(packs[0].position_ids)
    out = np.empty((num_rows, len(packs), length), dtype=np.int64)
    for row, pack in enumerate(packs):
        num_tokens = len(pack.input_ids)
        out[:, row, :num_tokens] = pack.position_ids
        out[:, row, num_tokens:] = np.arange(length - num_tokens)
    return out if num_rows > 1 else out[0]
