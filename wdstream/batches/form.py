"""How a loader hands out its batches: rows as long as the longest pack or of one length, in pinned memory or not.

Rows of one length are for models that are compiled, or run as CUDA graphs: both are made for one shape, and made again
for every other. Of a batch of B rows of L tokens then

    input_ids, labels, position_ids    (B, L)
    max_length_q, max_length_k         L, a bound: kernels of flash attention take any that is large enough
    cu_seq_lens_q, cu_seq_lens_k       a multiple of 64 entries and one: the last limit comes again and again, which
                                       makes documents of no tokens

Images are as many as there are: a blank one would need tokens that stand for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate
from wdstream.families.base import Family
from wdstream.records import EncodedPack

DOCUMENTS_TOGETHER = 64
"""`cu_seq_lens` grow by this many documents at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForm:
    """What batches are like, besides what they hold.

    Attributes:
        row_length: tokens of every row; None: those of the longest pack of the batch.
        is_pinned: in pinned memory, from which a GPU copies while the host continues.
    """

    row_length: int | None = None
    is_pinned: bool = False

    def batch(self, packs: Sequence[EncodedPack], family: Family) -> Batch:
        """The packs of a micro-batch as tensors; see `collate`."""
        batch = collate(packs, family, pad_to=self.row_length)
        if self.row_length is not None:
            batch = with_fixed_limits(batch, self.row_length)
        return with_pinned_memory(batch) if self.is_pinned else batch


def with_fixed_limits(batch: Batch, row_length: int) -> Batch:
    """The batch with as many document limits as others of its kind have, and one bound for their lengths."""
    limits: Tensor = batch.cu_seq_lens_q
    missing = -(len(limits) - 1) % DOCUMENTS_TOGETHER
    limits = torch.cat([limits, limits[-1:].expand(missing)])
    lengths = {"max_length_q": row_length, "max_length_k": row_length}
    return Batch(batch, cu_seq_lens_q=limits, cu_seq_lens_k=limits, **lengths)


def with_pinned_memory(batch: Batch) -> Batch:
    """The batch with its tensors in pinned memory, of which PyTorch needs a GPU."""
    pinned = {name: value.pin_memory() for name, value in batch.items() if isinstance(value, Tensor)}
    return Batch(batch, **pinned)
