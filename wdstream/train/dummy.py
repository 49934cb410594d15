"""A document that teaches nothing: it keeps a micro-batch without images from breaking training on many devices.

DDP waits for the gradient of every trained parameter and FSDP for every rank to enter every module, so each micro-batch
must run the vision tower. One without images gets a small blank image as one more document of each row, labels
-100: its gradient is exactly 0, on all ranks alike. A row without any tokens (padding of the last step) gets one too.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.families.base import Family
from wdstream.records import IGNORED, EncodedPack, Sample

NO_PACK = -1


def needs_dummy(batch: Batch, family: Family, *, needs_images: bool) -> bool:
    """Whether `batch` has no tokens, or no images where images are needed."""
    is_empty = batch.input_ids.shape[1] == 0
    return is_empty or (needs_images and all(len(batch.arrays[key]) == 0 for key in family.layout([])))


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
    input_ids = torch.cat([batch.input_ids, extra.input_ids], dim=-1)
    labels = torch.cat([batch.labels, extra.labels], dim=-1)
    lengths = [[*_row_documents(batch.cu_seq_lens_q, row, length), added] for row in range(num_rows)]
    limits = torch.from_numpy(np.cumsum([0, *(tokens for row in lengths for tokens in row)], dtype=np.int32))
    longest = max(batch.max_length_q, added)
    attention = family.attention_arrays(input_ids.numpy(), labels.numpy(), lengths)
    return replace(
        batch,
        input_ids=input_ids,
        labels=labels,
        position_ids=torch.cat([batch.position_ids, extra.position_ids], dim=-1),
        arrays={
            **batch.arrays,
            **{key: extra.arrays[key] for key in family.layout([])},
            **{key: torch.from_numpy(array) for key, array in attention.items()},
        },
        cu_seq_lens_q=limits,
        cu_seq_lens_k=limits,
        max_length_q=longest,
        max_length_k=longest,
    )


def _row_documents(limits: Tensor, row: int, length: int) -> list[int]:
    """Tokens of the documents of one row, padding included, from the limits over all rows of `length` tokens."""
    inside = [limit for limit in limits.tolist() if row * length <= limit <= (row + 1) * length]
    return [end - start for start, end in pairwise(inside)]
