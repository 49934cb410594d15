"""The blank document: a small blank image and EOS, of which nothing is supervised; its gradient is exactly 0.

Training on many devices breaks where a micro-batch does not run the vision tower (`complete` in step.py), and there
it is added: after the rows, or in place of padding where rows have one length.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.form import BatchForm, padded_patches, with_fixed_limits, with_fixed_patches
from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.records import IGNORED, NO_PACK, EncodedPack, Sample

LENGTH_MULTIPLE = 64
"""Of rows of one length: kernels take whole blocks of tokens."""


def needs_dummy(batch: Batch, family: Family, *, needs_images: bool) -> bool:
    """Whether `batch` has no tokens, or no images where images are needed."""
    is_empty = batch.input_ids.shape[1] == 0
    has_none = all(
        shape[0] == 0 for shapes in batch.pixel_shapes for shape in shapes.values()
    )  # padding does not count
    return is_empty or (needs_images and has_none)


def dummy_pack(family: Family) -> EncodedPack:
    """One blank image of twice the family's size multiple, EOS after it, nothing supervised."""
    side = 2 * family.size_multiple
    input_ids = np.concatenate([family.image_ids(side, side), np.array([family.eos_id], dtype=np.int64)])
    sample = Sample(
        key="",
        input_ids=input_ids,
        labels=np.full_like(input_ids, IGNORED),
        tiles=(np.zeros((side, side, 3), dtype=np.uint8),),
        num_patches=0,
    )
    return encode_pack([sample], family, number=NO_PACK)


def with_dummy(batch: Batch, family: Family) -> Batch:
    """`batch`, which has no images, with the blank document at the end of every row; its metadata is unchanged."""
    num_rows, length = batch.input_ids.shape
    extra = collate([dummy_pack(family)] * num_rows, family)
    added = extra.input_ids.shape[1]
    lengths = [[*_row_documents(batch.cu_seq_lens_q, row, length), added] for row in range(num_rows)]
    joined = {name: torch.cat([batch[name], extra[name]], dim=-1) for name in ("input_ids", "labels", "position_ids")}
    return _with_documents(Batch(batch, **joined), extra, family, lengths)


def with_dummy_inside(batch: Batch, family: Family) -> Batch:
    """`with_dummy` for rows of one length, which `row_length` made long enough: it takes the place of padding."""
    num_rows, length = batch.input_ids.shape
    extra = collate([dummy_pack(family)] * num_rows, family)
    added = extra.input_ids.shape[1]
    input_ids, positions = batch.input_ids.clone(), batch.position_ids.clone()
    lengths = []
    for row, documents in enumerate(batch.lengths):
        start = sum(documents)
        end = start + added
        input_ids[row, start:end] = extra.input_ids[row]
        positions[..., row, start:end] = extra.position_ids[..., row, :]
        positions[..., row, end:] = torch.arange(length - end)
        lengths.append([*documents, added, *([length - end] if end < length else [])])
    joined = _with_documents(Batch(batch, input_ids=input_ids, position_ids=positions), extra, family, lengths)
    joined = with_fixed_limits(joined, length, len(batch.cu_seq_lens_q) - 1)
    has_padding = family.padding_side is not None and len(batch["pixel_values"]) > 0
    return with_fixed_patches(joined, family, len(batch["pixel_values"])) if has_padding else joined


def row_length(family: Family, sequence_length: int) -> int:
    """Tokens of rows of one length: a full pack, the blank document, and what makes it a multiple of 64."""
    longest = sequence_length + len(dummy_pack(family).input_ids)
    return -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def row_patches(family: Family, max_patches: int) -> int | None:
    """Patches for each row of one length; None where the family takes no images of padding."""
    return None if family.padding_side is None else padded_patches(max_patches, family.padding_side)


def row_documents(config: Config) -> int | None:
    """Documents for each row of one length: a pack is made of a full pool, and next to it there are the blank document
    and padding. None with flash attention, whose kernels take time for documents of no tokens too."""
    return None if config.model.attn.startswith("flash") else config.data.pool + 2


def batch_form(config: Config, family: Family) -> BatchForm:
    """What the batches of a run are like: by `data.pad_to`, and pinned where there is a GPU."""
    is_full = config.data.pad_to == "full"
    length = row_length(family, config.data.sequence_length) if is_full else None
    patches = row_patches(family, config.data.max_patches) if is_full else None
    documents = row_documents(config) if is_full else None
    is_pinned = torch.cuda.is_available()
    return BatchForm(row_length=length, row_documents=documents, row_patches=patches, is_pinned=is_pinned)


def _with_documents(batch: Batch, extra: Batch, family: Family, lengths: Sequence[Sequence[int]]) -> Batch:
    """`batch`, whose rows hold documents of these lengths, with the images of `extra` and new limits and masks."""
    limits = torch.from_numpy(np.cumsum([0, *(tokens for row in lengths for tokens in row)], dtype=np.int32))
    longest = max(tokens for row in lengths for tokens in row)
    masks = {} if family.masks is None else family.masks.arrays(batch.input_ids.numpy(), batch.labels.numpy(), lengths)
    return Batch(
        batch,
        **{key: extra[key] for key in family.layout([])},
        **{key: torch.from_numpy(array) for key, array in masks.items()},
        cu_seq_lens_q=limits,
        cu_seq_lens_k=limits,
        max_length_q=longest,
        max_length_k=longest,
    )


def _row_documents(limits: Tensor, row: int, length: int) -> list[int]:
    """Tokens of the documents of one row, padding included, from the limits over all rows of `length` tokens."""
    inside = [limit for limit in limits.tolist() if row * length <= limit <= (row + 1) * length]
    return [end - start for start, end in pairwise(inside)]
