"""What keeps packed documents apart: position ids that restart with each, and masks where positions are not enough.

Positions are a plain count, or M-RoPE: `get_rope_index` of the Qwen-VL models in transformers. There text tokens take
the running position in all three rows; an image of (rows, columns) merged patches takes time 0, its row and its column,
each on top of the running position, which then advances by max(rows, columns). Row 0 of the result is the plain token
count: the model reads packing from it, and it restarts with every document.

Masks are for the families whose images or prompts see both ways: Gemma 3, Gemma 4, PaliGemma.

    document_ids  int32 (B, L)   the number of a token's document in its row
    block_ids     int32 (B, L)   the number of its block, in which tokens see each other whichever comes first; -1: none

From these two `visible` says for all pairs, on the device, that a query q sees a key k when

    same document, and (k <= q, or both in one block), and k > q - window for a layer with a sliding window

Positions alone cannot say it. transformers reads packing from them, but looks blocks up at positions counted from
the start of a document: documents 2 to n of a row get the blocks of document 1. PaliGemma takes the prompts of all
documents of a row for one block. Hence the model gets the mask itself, which it uses as it is. The kernels of flash
attention know causal rows only and drop the blocks without a word, so they are refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.shared.images import BatchMapping, Layout
from wdstream.records import IGNORED, Ints, Size

if TYPE_CHECKING:
    import torch

DOCUMENTS, BLOCKS = "document_ids", "block_ids"
NO_BLOCK = -1
MASKED_ATTENTION = ("sdpa", "eager", "flex_attention")
"""Attention implementations that read a mask."""
MASKED_REASON = (
    "the kernels of flash attention see causal rows only and would drop the attention of images and prompts in both "
    "directions"
)
"""Why no others."""


class PositionRule(Protocol):
    """How the tokens of a document are numbered."""

    @property
    def num_rows(self) -> int:
        """R, rows of the position ids."""

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Position ids of ONE document, int64 (R, L); row 0 counts its tokens.

        Args:
            input_ids: int64 (L,).
            image_sizes: (width, height) of its images before resizing, in order.
        """


@dataclass(frozen=True, slots=True)
class PlainPositions:
    """One row: `first`, `first` + 1, ..."""

    first: int = 0
    num_rows: ClassVar[int] = 1

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Text positions from `first` on; int64 (1, L)."""
        return np.arange(self.first, self.first + len(input_ids), dtype=np.int64)[None, :]


@dataclass(frozen=True, slots=True)
class MropePositions:
    """Four rows: text, time, height, width.

    Attributes:
        image_id: of a merged patch.
        grid: (columns, rows) of merged patches of an image of (width, height).
    """

    image_id: int
    grid: Callable[[int, int], tuple[int, int]]
    num_rows: ClassVar[int] = 4

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """int64 (4, L). Images never touch.

        Raises:
            FamilyError: the runs of image tokens are not those of the images.
        """
        is_image, grids = input_ids == self.image_id, [self.grid(*size) for size in image_sizes]
        length = len(is_image)
        out = np.empty((4, length), dtype=np.int64)
        out[0] = np.arange(length)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], is_image, [False])).astype(np.int8)))
        starts, ends = edges[::2].tolist(), edges[1::2].tolist()
        sizes = [columns * rows for columns, rows in grids]
        if [end - start for start, end in zip(starts, ends, strict=True)] != sizes:
            raise FamilyError(
                f"positions: the ids hold image runs of {[e - s for s, e in zip(starts, ends, strict=True)]} tokens, "
                f"the images need {sizes}; this is a bug of the caller: ids and images belong to different pages"
            )
        cursor = position = 0
        for start, (columns, rows) in zip(starts, grids, strict=True):
            out[1:, cursor:start] = out[0, : start - cursor] + position
            position += start - cursor
            cursor = start + columns * rows
            time, height, width = out[1:, start:cursor].reshape(3, rows, columns)
            time[:] = position
            height[:] = np.arange(position, position + rows)[:, None]
            width[:] = np.arange(position, position + columns)
            position += max(columns, rows)
        out[1:, cursor:] = out[0, : length - cursor] + position
        return out


class Masks(Protocol):
    """The masks that a family hands to its model."""

    def arrays(self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]) -> Layout:
        """Numbers of documents and of blocks, from which `inputs` makes masks on the device.

        Args:
            input_ids: int64 (B, L).
            labels: int64 (B, L), IGNORED where nothing is supervised.
            lengths: tokens of each document of each row, the padding "document" included; each row sums to L.
        """

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> dict[str, object]:
        """`attention_mask` of the model, made on the device."""

    def for_attention(self, name: str) -> Self:
        """Masks in the form that this attention implementation reads fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMasks:
    """The placeholders of an image see each other, in a model with sliding and with full attention layers.

    Attributes:
        image_id: of a placeholder.
        window: tokens that a layer with a sliding window sees.
        is_full_causal: whether layers over the whole document are causal for images too.
        takes_bool: masks are made as bool, which sdpa reads at a quarter of the memory; otherwise as numbers to add,
            which eager, sdpa and flex attention read. Under eager a bool would be added too, as 0 and 1.
    """

    image_id: int
    window: int
    is_full_causal: bool = False
    takes_bool: bool = False

    def arrays(self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]) -> Layout:
        """Numbers of documents and of images."""
        return mask_arrays(image_blocks(input_ids, self.image_id), lengths)

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> dict[str, object]:
        """`attention_mask`: {"full_attention", "sliding_attention"}, each (B, 1, L, L)."""
        seen = {
            "full_attention": visible(batch, device, has_blocks=not self.is_full_causal),
            "sliding_attention": visible(batch, device, window=self.window),
        }
        masks = {kind: as_mask(allowed, dtype, takes_bool=self.takes_bool) for kind, allowed in seen.items()}
        return {"attention_mask": masks}

    def for_attention(self, name: str) -> Self:
        """bool for sdpa, else numbers."""
        return replace(self, takes_bool=name == "sdpa")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMasks:
    """All before the first supervised token of a document sees each other, the rest is causal; one mask for all layers.

    `takes_bool` is that of `ImageMasks`.
    """

    takes_bool: bool = False

    def arrays(self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]) -> Layout:
        """Numbers of documents and of prompts."""
        return mask_arrays(prompt_blocks(labels, lengths), lengths)

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> dict[str, object]:
        """`attention_mask` (B, 1, L, L)."""
        return {"attention_mask": as_mask(visible(batch, device), dtype, takes_bool=self.takes_bool)}

    def for_attention(self, name: str) -> Self:
        """bool for sdpa, else numbers."""
        return replace(self, takes_bool=name == "sdpa")


def mask_arrays(block_ids: NDArray[np.int32], lengths: Sequence[Sequence[int]]) -> Layout:
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


def prompt_blocks(labels: Ints, lengths: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """int32 (B, L): the tokens of a document before the first one that is supervised are one block.

    Nothing supervised is in the block, so no token sees its own answer. A document of which nothing is supervised,
    such as the padding of a row, is one block.

    Args:
        labels: int64 (B, L).
        lengths: tokens of each document of each row, padding included.
    """
    blocks = np.full(labels.shape, NO_BLOCK, dtype=np.int32)
    for row, row_lengths in enumerate(lengths):
        start = 0
        for number, num_tokens in enumerate(row_lengths):
            supervised = np.flatnonzero(labels[row, start : start + num_tokens] != IGNORED)
            end = start + (int(supervised[0]) if len(supervised) else num_tokens)
            blocks[row, start:end] = number
            start += num_tokens
    return blocks


def visible(
    batch: BatchMapping,
    device: "torch.device | str",
    *,
    window: int | None = None,
    has_blocks: bool = True,
) -> "torch.Tensor":
    """Which key each query sees: bool (B, L, L), made on the device.

    Args:
        batch: collated, with `mask_arrays`.
        device: to make the mask on; L numbers per row travel there, not L squared.
        window: a key further back than this is not seen; None: no window.
        has_blocks: whether tokens of a block see each other.
    """
    import torch

    documents = batch[DOCUMENTS].to(device, non_blocking=True)
    columns = torch.arange(documents.shape[1], device=device)
    distance = columns[:, None] - columns[None, :]  # query minus key
    allowed: torch.Tensor = (distance >= 0).expand(len(documents), -1, -1)
    if has_blocks:
        blocks = batch[BLOCKS].to(device, non_blocking=True)
        allowed = allowed | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks != NO_BLOCK)[:, :, None])
    allowed = allowed & (documents[:, :, None] == documents[:, None, :])
    if window is not None:
        allowed = allowed & (distance < window)
    return allowed


def as_mask(allowed: "torch.Tensor", dtype: "torch.dtype", *, takes_bool: bool) -> "torch.Tensor":
    """`allowed` bool (B, L, L) as an attention mask (B, 1, L, L): bool, or `dtype` to add to scores."""
    return allowed.unsqueeze(1) if takes_bool else additive(allowed, dtype)


def additive(allowed: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """A mask to add to attention scores: 0 where `allowed` (B, L, L), else the lowest number; `dtype` (B, 1, L, L)."""
    import torch

    mask: torch.Tensor = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    mask.masked_fill_(~allowed, torch.finfo(dtype).min)
    return mask.unsqueeze(1)
