"""Attention masks of the families whose images or prompts see both ways: Gemma 3, Gemma 4, PaliGemma.

    document_ids  int32 (B, L)   the number of a token's document in its row
    block_ids     int32 (B, L)   the number of its block, in which tokens see each other whichever comes first; -1: none

With those two a query q sees a key k in these cases, and `visible` says so for all pairs, on the device:

    same document, and (k <= q, or both in one block), and k > q - window for a layer with a sliding window

Positions alone cannot say it. transformers reads packing from them, but looks blocks up at places counted from the
start of a document: documents 2 to n of a row get the blocks of document 1. PaliGemma takes the prompts of all
documents of a row for one block. Hence the model gets the mask itself, which it uses as it is. The kernels of flash
attention know causal rows only and drop the blocks without a word, so they are refused.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.families.base import Family
from wdstream.records import Ints

if TYPE_CHECKING:
    import torch

DOCUMENTS, BLOCKS = "document_ids", "block_ids"
NO_BLOCK = -1


class MaskedFamily(Family):
    """A family that hands its masks to the model.

    Attributes:
        takes_bool: masks are made as bool, which sdpa reads at a quarter of the memory; otherwise as numbers to add,
            which eager, sdpa and flex attention read. Under eager a bool would be added too, as 0 and 1.
    """

    attention: ClassVar[tuple[str, ...]] = ("sdpa", "eager", "flex_attention")
    attention_reason: ClassVar[str] = (
        "the kernels of flash attention see causal rows only and would drop the attention of images and prompts in "
        "both directions"
    )
    takes_bool: bool = False

    def attention_arrays(
        self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]
    ) -> dict[str, NDArray[Any]]:
        """Numbers of documents and of images, from which `mask_inputs` makes masks on the device."""
        return mask_arrays(image_blocks(input_ids, self.image_id), lengths)

    def for_attention(self, name: str) -> Self:
        """The family with masks in the form that this attention implementation reads fastest.

        Raises:
            FamilyError: `name` is not one of `attention`.
        """
        bound = copy.copy(super().for_attention(name))
        bound.takes_bool = name == "sdpa"
        return bound

    def mask(self, allowed: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
        """`allowed` bool (B, L, L) as the model's attention mask (B, 1, L, L): bool, or `dtype` to add to scores."""
        return allowed.unsqueeze(1) if self.takes_bool else additive(allowed, dtype)

    def layer_masks(
        self, full: "torch.Tensor", *, sliding: "torch.Tensor", dtype: "torch.dtype"
    ) -> dict[str, dict[str, "torch.Tensor"]]:
        """`attention_mask` of a model with both kinds of layers, of what each sees, bool (B, L, L)."""
        kinds = {"full_attention": full, "sliding_attention": sliding}
        return {"attention_mask": {kind: self.mask(allowed, dtype) for kind, allowed in kinds.items()}}


def mask_arrays(block_ids: NDArray[np.int32], lengths: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    """The arrays of a batch that `visible` needs.

    Args:
        block_ids: int32 (B, L).
        lengths: tokens of each document of each row, padding included; each row sums to L.
    """
    rows = [np.repeat(np.arange(len(row), dtype=np.int32), row) for row in lengths]
    return {DOCUMENTS: np.stack(rows).reshape(block_ids.shape), BLOCKS: block_ids}


def image_blocks(input_ids: Ints, image_id: int) -> NDArray[np.int32]:
    """int32 (B, L): every run of `image_id` in `input_ids` (B, L) is a block of its own. Images never touch."""
    is_image = input_ids == image_id
    starts = is_image & ~np.pad(is_image, ((0, 0), (1, 0)))[:, :-1]
    return np.where(is_image, np.cumsum(starts, axis=1) - 1, NO_BLOCK).astype(np.int32)


def prompt_blocks(labels: Ints, lengths: Sequence[Sequence[int]], *, ignored: int) -> NDArray[np.int32]:
    """int32 (B, L): the tokens of a document before the first one that is supervised are one block.

    Nothing supervised lies in the block, so no token sees its own answer. A document of which nothing is supervised,
    such as the padding of a row, is one block.

    Args:
        labels: int64 (B, L).
        lengths: tokens of each document of each row, padding included.
        ignored: label of a token that is not supervised.
    """
    blocks = np.full(labels.shape, NO_BLOCK, dtype=np.int32)
    for row, row_lengths in enumerate(lengths):
        start = 0
        for number, num_tokens in enumerate(row_lengths):
            supervised = np.flatnonzero(labels[row, start : start + num_tokens] != ignored)
            end = start + (int(supervised[0]) if len(supervised) else num_tokens)
            blocks[row, start:end] = number
            start += num_tokens
    return blocks


def visible(
    batch: Mapping[str, Any],
    device: "torch.device | str",
    *,
    window: int | None = None,
    has_blocks: bool = True,
) -> "torch.Tensor":
    """Which key each query sees: bool (B, L, L), made on the device.

    Args:
        batch: collated, with `mask_arrays`.
        device: to make the mask on; L numbers a row travel there, not L squared.
        window: a key further back than this is not seen; None: no window.
        has_blocks: whether tokens of a block see each other.
    """
    import torch

    documents = batch[DOCUMENTS].to(device, non_blocking=True)
    places = torch.arange(documents.shape[1], device=device)
    distance = places[:, None] - places[None, :]  # query minus key
    allowed: torch.Tensor = (distance >= 0).expand(len(documents), -1, -1)
    if has_blocks:
        blocks = batch[BLOCKS].to(device, non_blocking=True)
        allowed = allowed | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks != NO_BLOCK)[:, :, None])
    allowed = allowed & (documents[:, :, None] == documents[:, None, :])
    if window is not None:
        allowed = allowed & (distance < window)
    return allowed


def additive(allowed: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """A mask to add to attention scores: 0 where `allowed` (B, L, L), else the lowest number; `dtype` (B, 1, L, L)."""
    import torch

    mask: torch.Tensor = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    mask.masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask.unsqueeze(1)
