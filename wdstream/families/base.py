"""Family: what wdstream must know of a line of models, and nothing more.

A family is one class in one file: constants that name its tokens and its processor, and an `__init__` that reads a
model folder and puts parts together (families/shared). What a family does is what its parts do:

    images          ImageRules     size rule, block of tokens, layout of pixels, splitting       images.py
    position_rule   PositionRule   plain or M-RoPE                                               attention.py
    masks           Masks          None: positions are enough                                    attention.py
    cost            CostModel      sizes of the language model and of the tower                  model_folder.py
    processor_rules ProcessorRules how the proofs run its Hugging Face processor                 processor_rules.py

The few things that no part can say, such as where BOS goes, are methods that a family overrides. docs/add-a-family.md
makes one step by step.

Letters: L tokens, B rows of a batch, R position rows (`position_rule.num_rows`), N patches, K images. Nothing here
imports torch or transformers before pixels are laid out or a batch is moved.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.shared.attention import Masks, PlainPositions, PositionRule
from wdstream.families.shared.images import BatchMapping, ImageRules, Inputs, Layout
from wdstream.families.shared.model_folder import Json, ModelFolder, narrowed_text
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.plan.deal import CostModel
from wdstream.records import Ints, Pixels, Size
from wdstream.text.chat_template import ChatTemplate
from wdstream.text.encoder import TextEncoder

if TYPE_CHECKING:
    import torch

Piece = tuple[Ints, bool]
"""Ids of a span of a document (a text, an image block), and whether they are supervised."""
TENSORS = ("input_ids", "labels", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k")


class Family:
    """A model family, bound to a local model folder.

    A family sets `image_id`, `images` and `cost` in its `__init__`, and other attributes where the defaults are not
    its own.

    Attributes:
        name: under which the family was found: `model_type` of config.json.
        model_dir: the model folder.
        encoder: page text to ids.
        eos_id, pad_id: ids of the end of a document and of row padding.
        bos_id: id put before each document, or None.
        opening_ids: ids that the tokenizer's own template, and so most chat templates, put before all else.
        image_id: id of the placeholder of one feature of an image.
        structural_ids: ids that page text never forms: those around and inside images, and the turns of a chat.
        images: what an image is made into.
        position_rule: how the tokens of a document are numbered.
        masks: what the model gets besides positions; None: nothing, for causal families.
        padding_side: patches along a block of an image of padding, whose features no token reads (batches/form.py).
            None: batches of this family have no such images.
        max_document_tokens: a longer document is refused, for a reason of the model's attention. None: no such limit.
        cost: what a token and a patch cost to train on.
        has_own_labels: whether the family has tokens that say which tile of a page an image is; see `labelled_ids`.
        attention: attention implementations that are right for packed rows of this family.
        attention_reason: why others are refused.
    """

    structural_tokens: ClassVar[tuple[str, ...]]
    """Tokens that page text must not form, whatever their flags; those a tokenizer lacks are left out."""
    image_prompt: ClassVar[str]
    """What a chat template, and the family's processor, has in the text for an image."""
    processor_class: str
    """Name of the processor in transformers: the reference of the tests and of `wdstream doctor`."""
    image_types: ClassVar[str | None] = None
    """Argument of `generate` that is 1 for placeholders, from which the model makes positions or masks."""
    rules_version: ClassVar[int] = 1
    """Part of the fingerprint; raised whenever the code counts or lays out the same image in another way."""

    attention: tuple[str, ...] = ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3")
    attention_reason: str = "it is not proven to keep packed documents apart"
    has_own_labels: bool = False
    max_document_tokens: int | None = None
    position_rule: PositionRule = PlainPositions()
    masks: Masks | None = None
    padding_side: int | None = None
    image_id: int
    images: ImageRules
    cost: CostModel

    def __init__(self, folder: ModelFolder, name: str) -> None:
        """Bind the family to a model folder.

        Raises:
            FamilyError: the folder lacks a token or has settings that the family does not support.
        """
        self.name = name
        self.model_dir: Path = folder.path
        self.encoder = TextEncoder.open(folder.path, self.structural_tokens, folder.allow_tokens)
        self.eos_id = self.encoder.eos_id
        self.pad_id = self.encoder.pad_id
        self.bos_id: int | None = self.encoder.bos_id
        self.opening_ids: tuple[int, ...] = () if self.bos_id is None else (self.bos_id,)
        self.structural_ids: frozenset[int] = self.encoder.structural_ids

    def __repr__(self) -> str:
        """What it is: name, model folder and key sizes."""
        images = self.images
        sizes = f"sides in multiples of {images.size_multiple} px, {images.min_pixels:,} to {images.max_pixels:,} px"
        return (
            f"<{type(self).__name__} family '{self.name}' of {self.model_dir}: {self.encoder.vocab_size:,} tokens, "
            f"images with {sizes}{', split as its processor does' if self.is_splitting else ''}>"
        )

    # What the plan asks: lengths, costs, fingerprints (plan.protocols.LengthModel).

    @property
    def size_multiple(self) -> int:
        """Pixels; the sides of an image are resized to multiples of this."""
        return self.images.size_multiple

    @property
    def min_pixels(self) -> int:
        """Smallest area to which an image is resized."""
        return self.images.min_pixels

    @property
    def max_pixels(self) -> int:
        """Largest area to which an image is resized."""
        return self.images.max_pixels

    @property
    def max_tile_side(self) -> int | None:
        """Pixels; a longer side of a tile is shrunk to it, so larger tiles lose detail. None: no limit."""
        return self.images.max_tile_side

    @property
    def is_splitting(self) -> bool:
        """Whether the image processor's own splitting of images is on; see `for_whole_images`."""
        return self.images.is_splitting

    @property
    def text_fingerprint(self) -> str:
        """Hex; the text encoder's: names the token column of a dataset."""
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

    def length_rules(self) -> Mapping[str, object]:
        """All settings that decide how many tokens and patches an image has; JSON-serialisable."""
        return self.images.length_rules()

    def text_cost(self, text: str) -> int:
        """Tokens of one piece of text, tokenised by itself."""
        return len(self.encoder.encode(text))

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels, int64 of the same shape; -1 where a size is refused.

        Tokens count the ids around the image too: they are `len(image_ids(w, h))`.
        """
        return self.images.cost(widths, heights)

    # Ids of a document.

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
                "take the tokenizer that belongs to the model"
            )
        if expected is not None and found != expected:
            raise FamilyError(
                f"{self.model_dir}: {token} is {expected} in config.json and {found} in tokenizer.json; "
                "take the tokenizer that belongs to the model"
            )
        return found

    @property
    def prefix_tokens(self) -> int:
        """Ids that `opened` adds to every document."""
        return len(self.opening_ids)

    def opened(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of a document with the ids that open it put in, none of them supervised: before all others."""
        if not self.opening_ids:
            return list(pieces)
        return [(np.array(self.opening_ids, dtype=np.int64), False), *pieces]

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image of this size is resized.

        Raises:
            FamilyError: the family refuses the size; the plan never lets such an image through.
        """
        return self.images.resized(width, height)

    def image_ids(self, width: int, height: int) -> Ints:
        """int64 ids of the block of an image of this size, the ids around it included."""
        return self.images.ids(width, height)

    def labelled_ids(self, size: Size, label: str) -> Ints:
        """As `image_ids` and as long, for the tile of a page that `label` (<global_img> or <row0_col1>) names.

        Raises:
            FamilyError: the family has no tokens for tiles of its own.
        """
        raise FamilyError(f"family {self.name} has no tokens of its own for tiles of a page; set tiling.labels to text")

    @cached_property
    def chat(self) -> ChatTemplate:
        """What chat rows are written out with; raises FamilyError where the model folder has no chat template."""
        return ChatTemplate(self.model_dir, self.encoder)

    # What the model gets.

    def layout(self, tiles: Sequence[Pixels]) -> Layout:
        """Resize images and lay them out as the model wants them, still uint8; for no images, arrays of length 0."""
        return self.images.layout(tiles)

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> Layout:
        """What `model.generate` needs besides ids and pixels to read a prompt as training reads it; mostly nothing.

        It makes positions and masks itself, and needs to know which tokens are images or see each other.

        Args:
            input_ids: int64 (B, L), one document per row and no padding.
            labels: int64 (B, L), IGNORED where nothing is supervised.
        """
        return {} if self.image_types is None else {self.image_types: (input_ids == self.image_id).astype(np.int64)}

    def model_inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Keyword arguments of `model.forward` for a collated batch: moved, pixels normalised, metadata dropped.

        There is no 2-D attention mask and no cache: with either, transformers stops reading packing from the positions
        (masking_utils, `_preprocess_mask_arguments`), and documents see each other without an error. Positions serve
        eager and sdpa attention, `cu_seq_lens` and `max_length` flash attention; together they serve all.
        """
        inputs: Inputs = {key: batch[key].to(device, non_blocking=True) for key in TENSORS}
        # Python ints: flash attention's kernels want no tensor here, and a tensor would force a wait on the device.
        inputs |= {"max_length_q": batch["max_length_q"], "max_length_k": batch["max_length_k"], "use_cache": False}
        if self.masks is not None:
            inputs |= self.masks.inputs(batch, device=device, dtype=dtype)
        if len(batch["pixel_values"]):  # a batch without images has no pixel arguments
            inputs |= self.images.inputs(batch, device=device, dtype=dtype)
        return inputs

    # Variations of a loaded family.

    def for_whole_images(self) -> Self:
        """The family for images that wdstream does not cut (tiling kind `none`): split by its own processor's rules.

        A loaded family takes each image as one tile, because wdstream cuts pages itself. With images left whole, the
        processor's splitting is on as the model folder's settings say; lengths, ids, pixels and fingerprint follow.
        Families whose processor never splits return themselves.
        """
        images = self.images.whole()
        if images is self.images:
            return self
        family = copy.copy(self)
        family.images = images
        return family

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
        if self.masks is None:
            return self
        family = copy.copy(self)
        family.masks = self.masks.for_attention(name)
        return family

    def attention_setting(self, name: str) -> str | dict[str, str]:
        """`attn_implementation` for transformers, for one of `attention`: by submodel where they differ."""
        return name

    # What the proofs ask.

    @property
    def processor_version(self) -> str:
        """The class of the family's own processor, and the version it comes from."""
        return f"{self.processor_class} of transformers {version('transformers')}"

    def processor_rules(self) -> ProcessorRules:
        """How the family's own Hugging Face processor is made and fed."""
        return ProcessorRules()

    def narrowed(self, config: Json) -> dict[str, Any]:
        """A configuration of the same architecture that runs in a moment: two layers, few heads; for random weights.

        Args:
            config: `to_dict()` of the model folder's transformers configuration.
        """
        text = narrowed_text(config["text_config"])
        return {**config, "text_config": text, "vision_config": self.narrowed_vision(config["vision_config"], text)}

    def narrowed_vision(self, vision: Json, text: Json) -> dict[str, Any]:
        """vision_config for `narrowed`: two layers, the rest as it is; `text` is the narrowed text_config."""
        return {**vision, "num_hidden_layers": 2}
