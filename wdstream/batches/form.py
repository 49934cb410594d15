"""How a loader hands out its batches: rows as long as the longest pack or of one length, in pinned memory or not.

Rows of one length are for models that are compiled, or run as CUDA graphs: both are made for one shape, and made again
for every other. Of a batch of B rows of L tokens then

    input_ids, labels, position_ids    (B, L)
    max_length_q, max_length_k         L, a bound: kernels of flash attention take any that is large enough
    cu_seq_lens_q, cu_seq_lens_k       as many as a row can have documents, for each row, and one: the last limit comes
                                       again and again, which makes documents of no tokens; without a bound for a row
                                       (`row_documents`) a multiple of 64, and one
    pixel_values, image_grid_thw       in families that take images of padding: always as many patches, and a multiple
                                       of 16 images; those of padding are blank and have more than one frame

In other families images are as many as there are: a blank one would need tokens that stand for it.
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
IMAGES_TOGETHER = 16
"""Images of padding make the number of images a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForm:
    """What batches are like, besides what they hold.

    Attributes:
        row_length: tokens of every row; None: those of the longest pack of the batch.
        row_documents: of rows of one length, documents for every row, those of no tokens included; None: a multiple of
            64 for the batch.
        row_patches: patches for every row, those of padding included; None: as many as there are.
        is_pinned: in pinned memory, from which a GPU copies while the host continues.
    """

    row_length: int | None = None
    row_documents: int | None = None
    row_patches: int | None = None
    is_pinned: bool = False

    def batch(self, packs: Sequence[EncodedPack], family: Family) -> Batch:
        """The packs of a micro-batch as tensors; see `collate`."""
        batch = collate(packs, family, pad_to=self.row_length)
        if self.row_length is not None:
            batch = with_fixed_limits(batch, self.row_length, (self.row_documents or 0) * len(packs))
        if self.row_patches is not None:
            batch = with_fixed_patches(batch, family, self.row_patches * len(packs))
        return with_pinned_memory(batch) if self.is_pinned else batch


def with_fixed_limits(batch: Batch, row_length: int, num_documents: int) -> Batch:
    """The batch with limits of this many documents, or with more of them of a multiple of 64; and one bound for their
    lengths."""
    limits: Tensor = batch.cu_seq_lens_q
    missing = num_documents - (len(limits) - 1)
    missing = missing if missing >= 0 else -(len(limits) - 1) % DOCUMENTS_TOGETHER
    limits = torch.cat([limits, limits[-1:].expand(missing)])
    lengths = {"max_length_q": row_length, "max_length_k": row_length}
    return Batch(batch, cu_seq_lens_q=limits, cu_seq_lens_k=limits, **lengths)


def with_fixed_patches(batch: Batch, family: Family, num_patches: int) -> Batch:
    """The batch with images of padding after its own, so that it has this many patches."""
    pixels: Tensor = batch["pixel_values"]
    grids: Tensor = batch["image_grid_thw"]
    side = family.padding_side
    assert side is not None, "only families that take images of padding have a number of patches"
    padding = padding_grids(num_patches - len(pixels), len(grids), side)
    blank = pixels.new_zeros(num_patches - len(pixels), *pixels.shape[1:])
    joined = torch.cat([grids, torch.tensor(padding, dtype=grids.dtype).view(-1, 3)])
    return Batch(batch, pixel_values=torch.cat([pixels, blank]), image_grid_thw=joined)


def padding_grids(missing: int, num_images: int, side: int) -> list[tuple[int, int, int]]:
    """Grids (frames, rows, columns) of images of padding.

    They are alike, since attention grows with the square of an image. A frame is `side` rows high and a multiple of
    that wide; two frames are an even number of blocks, and one image of three makes an odd number even.

    Args:
        missing: patches that they have together; `row_patches` leaves room for them.
        num_images: images that are there.
        side: patches along a block that one token stands for.
    """
    blocks = missing // side**2
    count = -num_images % IMAGES_TOGETHER
    count += 0 if count > 1 else IMAGES_TOGETHER
    odd = [(3, side, side)] if blocks % 2 else []
    pairs, rest = divmod((blocks - 3 * len(odd)) // 2, count - len(odd))
    widths = [pairs + (number < rest) for number in range(count - len(odd))]
    return [*((2, side, side * width) for width in widths), *odd]


def padded_patches(max_patches: int, side: int) -> int:
    """`row_patches` of packs of this many patches: with room for the images of padding."""
    block = side**2
    return (-(-max_patches // block) + 2 * IMAGES_TOGETHER + 2) * block


def with_pinned_memory(batch: Batch) -> Batch:
    """The batch with its tensors in pinned memory, of which PyTorch needs a GPU."""
    pinned = {name: value.pin_memory() for name, value in batch.items() if isinstance(value, Tensor)}
    return Batch(batch, **pinned)
