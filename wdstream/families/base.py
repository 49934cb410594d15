"""Family: what wdstream must know of a line of models, and nothing more.

A family answers, for one local folder:

    plan     image_cost, text_cost, prefix_tokens, size_multiple, cost, fingerprints    (a plan.lengths.LengthModel)
    ids      encoder, image_ids, bos_id, eos_id, pad_id, structural_ids
    model    positions, layout, collate_pixels, attention_arrays, model_inputs, prompt_arrays

Letters: L tokens, B rows of a batch, R position rows (`num_position_rows`), N patches, K images. Nothing here imports
torch or transformers before pixels are laid out or a batch is moved.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.plan.cost import CostModel
from wdstream.records import Ints, Pixels, Size
from wdstream.text.chat_template import ChatTemplate
from wdstream.text.encoder import TextEncoder

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, NDArray[Any]]
Piece = tuple[Ints, bool]
"""Ids of a run of a document (a text, an image block), and whether they are supervised."""


class Family(ProcessorRules, ABC):
    """One model family, bound to a local folder.

    Attributes:
        name: the registry's name.
        model_dir: the checkpoint directory.
        encoder: page text to ids.
        eos_id, pad_id: ids of the end of a document and of row padding.
        bos_id: id put before each document, or None.
        image_id: id of the placeholder that stands for one feature of an image.
        structural_ids: ids that page text never forms: those around and inside images, and the turns of a chat.
        size_multiple: pixels; the sides of an image are resized to multiples of this.
        max_tile_side: pixels; a longer side of a tile is shrunk to it, so larger tiles lose detail. None: no limit.
        max_document_tokens: a longer document is refused, for a reason of the model's attention. None: no such limit.
        min_pixels, max_pixels: an image is enlarged or shrunk to lie between these areas.
        resample: filter by which images are resized: bilinear, bicubic or lanczos.
        cost: what a token and a patch cost to train on.
        num_position_rows: R, rows of `position_ids`: 1, or 4 with M-RoPE (text, time, height, width).
    """

    name: ClassVar[str]
    rules_version: ClassVar[int] = 1
    """Part of the fingerprint; raised whenever the code counts or lays out the same image in another way."""
    structural_tokens: ClassVar[tuple[str, ...]]
    """Tokens that page text must not form, whatever their flags; those a tokenizer lacks are left out."""
    num_position_rows: ClassVar[int] = 1
    attention: ClassVar[tuple[str, ...]] = (
        *("sdpa", "eager", "flex_attention"),
        *("flash_attention_2", "flash_attention_3"),
    )
    """Attention implementations that are right for packed rows of this family."""
    attention_reason: ClassVar[str] = "it is not proven to keep packed documents apart"
    """Why others are refused."""
    text_defaults: ClassVar[Mapping[str, Any]] = {}
    """Sizes of the language model that a published config.json may leave to the defaults of its class."""
    has_own_labels: bool = False
    """Whether the family has tokens that say which tile of a page an image is; see `labelled_ids`."""
    is_splitting: bool = False
    """Whether the image processor's own splitting of images is on; see `for_whole_images`."""

    model_dir: Path
    encoder: TextEncoder
    eos_id: int
    pad_id: int
    bos_id: int | None = None
    image_id: int
    structural_ids: frozenset[int]
    size_multiple: int
    max_tile_side: int | None = None
    max_document_tokens: int | None = None
    min_pixels: int
    max_pixels: int
    resample: str
    cost: CostModel

    def __init__(self, folder: ModelFolder) -> None:
        self.model_dir = folder.path
        self.encoder = TextEncoder.open(folder.path, structural=self.structural_tokens)
        self.eos_id = self.encoder.eos_id
        self.pad_id = self.encoder.pad_id
        self.bos_id = self.encoder.bos_id
        self.structural_ids = self.encoder.structural_ids

    @classmethod
    def load(cls, folder: ModelFolder) -> Self:
        """Bind the family to a folder.

        Raises:
            FamilyError: the checkpoint lacks a token or has settings that the family does not support.
        """
        return cls(folder)

    @property
    def opening_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer's own template, and so most chat templates, put before all else: a BOS or none."""
        return () if self.bos_id is None else (self.bos_id,)

    @property
    def prefix_tokens(self) -> int:
        """Ids that `opened` adds to every document."""
        return len(self.opening_ids)

    def opened(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of a document with the ids that open it put in, none of them supervised: before all others."""
        if not self.opening_ids:
            return list(pieces)
        return [(np.array(self.opening_ids, dtype=np.int64), False), *pieces]

    @property
    def text_fingerprint(self) -> str:
        """Hex; the text encoder's: names the token column of a data set."""
        return self.encoder.fingerprint

    @property
    def fingerprint(self) -> str:
        """32 hex digits; changes with anything that changes a length."""
        rules = {
            "family": self.name,
            "version": self.rules_version,
            "text": self.text_fingerprint,
            "prefix": self.prefix_tokens,
            **self.length_rules(),
        }
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:32]

    def text_cost(self, text: str) -> int:
        """Tokens of one piece of text, tokenised by itself."""
        return len(self.encoder.encode(text))

    def require_token(self, token: str, expected: int | None = None) -> int:
        """The id of a token that the family cannot do without.

        Args:
            token: the token's text.
            expected: the id config.json gives it, if it does.

        Raises:
            FamilyError: the tokenizer lacks it, or gives it another id than config.json.
        """
        found = self.encoder.find_id(token)
        if found is None:
            raise FamilyError(
                f"{self.model_dir}: family {self.name} needs the token {token}, which tokenizer.json lacks; "
                "take the tokenizer that belongs to the checkpoint"
            )
        if expected is not None and found != expected:
            raise FamilyError(
                f"{self.model_dir}: {token} is {expected} in config.json and {found} in tokenizer.json; "
                "take the tokenizer that belongs to the checkpoint"
            )
        return found

    @cached_property
    def chat(self) -> ChatTemplate:
        """What chat rows are written out with; raises FamilyError where the checkpoint has no chat template."""
        return ChatTemplate(self.model_dir, self.encoder)

    def for_whole_images(self) -> Self:
        """The family for images that wdstream does not cut (tiling kind `none`): split by its own processor's rules.

        A loaded family takes each image as one tile, because wdstream cuts pages itself. With images left whole, the
        processor's splitting holds as the checkpoint's settings say; lengths, ids, pixels and fingerprint follow.
        Families whose processor never splits return themselves.
        """
        return self

    def for_attention(self, name: str) -> Self:
        """The family for a model that runs with this attention implementation.

        Raises:
            FamilyError: packed documents would not be computed right; says why, and names those that do.
        """
        if name not in self.attention:
            raise FamilyError(
                f"family {self.name} cannot be packed with attention '{name}': {self.attention_reason}; "
                f"use {' or '.join(self.attention)}"
            )
        return self

    def attention_setting(self, name: str) -> str | dict[str, str]:
        """`attn_implementation` for transformers, for one of `attention`: per part where the parts differ."""
        return name

    @abstractmethod
    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration of the same architecture that runs in a moment: two layers, few heads; for random weights.

        Args:
            config: `to_dict()` of the checkpoint's transformers configuration.
        """

    @abstractmethod
    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has; JSON-serialisable."""

    @abstractmethod
    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels, int64 of the same shape; -1 where a size is refused.

        Tokens count the ids around the image too: they are `len(image_ids(w, h))`.
        """

    @abstractmethod
    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image of this size is resized.

        Raises:
            FamilyError: the family refuses the size; the plan never lets such an image through.
        """

    @abstractmethod
    def image_ids(self, width: int, height: int) -> Ints:
        """int64 ids of the block that stands for an image of this size, the ids around it included."""

    def labelled_ids(self, size: Size, label: str) -> Ints:
        """As `image_ids` and as long, for the tile of a page that `label` (<global_img> or <row0_col1>) names.

        Raises:
            FamilyError: the family has no tokens for tiles of its own.
        """
        raise FamilyError(f"family {self.name} has no tokens of its own for tiles of a page; set tiling.labels to text")

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Position ids of ONE document, int64 (R, L); row 0 counts its tokens from 0.

        Args:
            input_ids: int64 (L,).
            image_sizes: (width, height) of its images before resizing, in order.
        """
        return np.arange(len(input_ids), dtype=np.int64)[None, :]

    @abstractmethod
    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """Resize images and lay them out as the model wants them, still uint8; for no images, arrays of length 0."""

    @abstractmethod
    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Join the arrays of several `layout` calls, images in order."""

    def attention_arrays(
        self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]
    ) -> dict[str, NDArray[Any]]:
        """What a family's attention needs beside positions and cu_seq_lens; {} for causal families.

        Args:
            input_ids: int64 (B, L).
            labels: int64 (B, L), -100 where nothing is supervised.
            lengths: tokens of each document of each row, the padding "document" included; each row sums to L.
        """
        return {}

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> dict[str, NDArray[Any]]:
        """What `model.generate` needs beside ids and pixels to read a prompt as training reads it; mostly nothing.

        It makes positions and masks itself, and has to be told which tokens are images or see each other.

        Args:
            input_ids: int64 (B, L), one document a row and no padding.
            labels: int64 (B, L), -100 where nothing is supervised.
        """
        return {}

    @abstractmethod
    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward` for a collated batch: moved, pixels normalised, metadata dropped."""
