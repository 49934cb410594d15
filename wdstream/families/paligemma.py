"""PaliGemma and PaliGemma 2: images and a prompt that see each other whole, then an answer that is read left to right.

    <image> x n ... <image> x n  <bos> prompt "\\n" | text <eos>
    `------------- block, both ways -------------'   `- causal -'

The block ends before the first token that is supervised (families/shared/masks4d.py): for a page its images and tile
labels are
the block and its text the answer. BOS stands behind the images, as in the model's own processor. In a row that begins
with supervised text the block is BOS and newline alone, and images that come later are seen causally: were they in the
block, the text before them would see its own words. Positions count from 1.

PaliGemma 2 has layers with a sliding window but takes one mask for all layers, so a document must fit into the window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from wdstream.families.base import Piece
from wdstream.families.shared.inputs import text_of
from wdstream.families.shared.masks4d import NO_BLOCK, MaskedFamily, mask_arrays, prompt_blocks, visible
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.square import SquareTiles
from wdstream.records import IGNORED, ImageSegment, Ints, LabelledPage, Size, TextSegment

if TYPE_CHECKING:
    import torch


class PaliGemma(MaskedFamily, SquareTiles):
    """PaliGemma (`PaliGemmaForConditionalGeneration`)."""

    name: ClassVar[str] = "paligemma"
    structural_tokens: ClassVar[tuple[str, ...]] = ("<image>", "<bos>", "<eos>", "<pad>")
    processor_class: ClassVar[str] = "PaliGemmaProcessor"
    image_prompt: ClassVar[str] = "<image>"
    placeholder: ClassVar[str] = "<image>"
    placeholder_key: ClassVar[str] = "image_token_index"
    default_side: ClassVar[int] = 224
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1152,
        "intermediate_size": 4096,
        "num_hidden_layers": 27,
        "image_size": 224,
        "patch_size": 14,
    }
    processor_ends: ClassVar[bool] = True
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 257216,
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        self.bos_id = self.require_token("<bos>")
        self._opening = _ids([self.bos_id]), _ids(self.encoder.encode("\n"))

    @classmethod
    def load(cls, folder: ModelFolder) -> Self:
        """The family of the language model inside: both generations share one `model_type`."""
        is_second = folder.text_config.get("model_type") == "gemma2"
        return cast(Self, (PaliGemma2 if is_second else cls)(folder))

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Every patch is one."""
        return self.patches_per_image

    def image_block(self) -> Ints:
        """Placeholders only."""
        return _ids([self.image_id] * self.tokens_per_image)

    @property
    def prefix_tokens(self) -> int:
        """BOS, and the newline that ends a prompt."""
        return sum(len(ids) for ids in self._opening)

    def opened(self, pieces: Sequence[Piece]) -> list[Piece]:
        """BOS behind the last image before anything is supervised, a newline before the first piece that is
        supervised."""
        supervised = next((place for place, (_, is_supervised) in enumerate(pieces) if is_supervised), len(pieces))
        images = [place for place, (ids, _) in enumerate(pieces[:supervised]) if self.image_id in ids]
        behind = images[-1] + 1 if images else 0
        bos, newline = ((ids, False) for ids in self._opening)
        return [*pieces[:behind], bos, *pieces[behind:supervised], newline, *pieces[supervised:]]

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """1, 2, 3 ...: int64 (1, L)."""
        return super().positions(input_ids, image_sizes) + 1

    def attention_arrays(
        self, input_ids: Ints, labels: Ints, lengths: Sequence[Sequence[int]]
    ) -> dict[str, NDArray[Any]]:
        """Numbers of documents and of blocks (families/shared/masks4d.py)."""
        return mask_arrays(prompt_blocks(labels, lengths, ignored=IGNORED), lengths)

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> dict[str, NDArray[Any]]:
        """`token_type_ids` int64 (B, L): 0 for the tokens that see each other, 1 for those behind them."""
        blocks = prompt_blocks(labels, [[row.size] for row in labels], ignored=IGNORED)
        return {"token_type_ids": (blocks == NO_BLOCK).astype(np.int64)}

    def mask_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """`attention_mask` (B, 1, L, L), made on the device."""
        return {"attention_mask": self.mask(visible(batch, device), dtype)}

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The projector leads into the narrow language model."""
        tree = super().narrowed(config)
        width = tree["text_config"]["hidden_size"]
        return {**tree, "hidden_size": width, "projection_dim": width}

    def comparable(self, page: LabelledPage) -> LabelledPage:
        """The processor takes images and prompt first, and one text to learn."""
        first = [part for part in page.segments if isinstance(part, ImageSegment) or not part.is_supervised]
        text = "".join(part.text for part in page.segments if isinstance(part, TextSegment) and part.is_supervised)
        return replace(page, segments=(*first, TextSegment(text=text)))

    def processor_texts(self, page: LabelledPage) -> dict[str, list[str]]:
        """Prompt and suffix; without images, which the processor insists on, the pair that it would make of them."""
        is_text = [isinstance(part, TextSegment) and part.is_supervised for part in page.segments]
        parts = [text_of(part, self.image_prompt) for part in page.segments]
        prompt = "".join(part for part, is_last in zip(parts, is_text, strict=True) if not is_last)
        suffix = "".join(part for part, is_last in zip(parts, is_text, strict=True) if is_last)
        if page.tiles:
            return {"text": [prompt], "suffix": [suffix]}
        return {"text": [f"<bos>{prompt}\n"], "text_pair": [f"{suffix}<eos>"]}


class PaliGemma2(PaliGemma):
    """PaliGemma 2: the same around Gemma 2.

    Gemma 2 caps its attention scores, so transformers runs it with eager attention alone.
    """

    name: ClassVar[str] = "paligemma2"
    attention: ClassVar[tuple[str, ...]] = ("eager", "flex_attention")
    attention_reason: ClassVar[str] = (
        "sdpa cannot cap attention scores, and the kernels of flash attention see causal rows only and would drop the "
        "attention of images and prompts in both directions"
    )
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 257216,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        window = folder.text_config.get("sliding_window", 4096)
        self.max_document_tokens = None if window is None else int(window)

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has, and which documents are taken."""
        return {**super().length_rules(), "longest": self.max_document_tokens}


def _ids(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
