"""PaliGemma and PaliGemma 2: images and a prompt that see each other whole, then an answer that is read left to right.

    <image> x n ... <image> x n  <bos> prompt "\\n" | text <eos>
    `------------- block, both ways -------------'   `- causal -'

The block ends before the first token that is supervised (`PromptMasks`): for a page its images and tile labels are the
block and its text the answer. BOS is after the images, as in the model's own processor. In a row that begins with
supervised text the block is BOS and newline alone, and images that come later are seen causally: were they in the
block, the text before them would see its own words. Positions count from 1.

PaliGemma 2 is the same around Gemma 2. It has layers with a sliding window but takes one mask for all layers, so a
document must fit into the window; and it caps its attention scores, so transformers runs it with eager attention alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from wdstream.families.base import Family, Piece
from wdstream.families.shared.attention import (
    MASKED_ATTENTION,
    MASKED_REASON,
    NO_BLOCK,
    PlainPositions,
    PromptMasks,
    prompt_blocks,
)
from wdstream.families.shared.images import HALF, Layout, MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import (
    Json,
    ModelFolder,
    language_shape,
    text_defaults,
    tower_defaults,
    tower_shape,
)
from wdstream.families.shared.processor_rules import ProcessorRules, Texts, text_of
from wdstream.families.shared.squares import Squares, SquareTower, square_side
from wdstream.plan.deal import training_flops
from wdstream.records import ImageSegment, Ints, LabelledPage, TextSegment

_VISION = tower_defaults(width=1152, mlp=4096, layers=27, image_size=224, patch_size=14)
_TEXT = text_defaults(vocab_size=257216, width=2048, mlp=16384, layers=18, heads=8, key_heads=1, head_size=256)
_TEXT_2 = {
    **_TEXT,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
}
"""What config.json may leave to the defaults of the transformers classes; the last of PaliGemma 2."""


class PaliGemma(Family):
    """PaliGemma and PaliGemma 2 (`PaliGemmaForConditionalGeneration`)."""

    structural_tokens: ClassVar[tuple[str, ...]] = ("<image>", "<bos>", "<eos>", "<pad>")
    image_prompt: ClassVar[str] = "<image>"
    processor_class = "PaliGemmaProcessor"
    attention: tuple[str, ...] = MASKED_ATTENTION
    attention_reason = MASKED_REASON
    position_rule = PlainPositions(first=1)
    masks = PromptMasks()

    def __init__(self, folder: ModelFolder, name: str) -> None:
        # Both generations have one `model_type`: the language model inside says which it is.
        is_second = name == "paligemma2" or folder.text_config.get("model_type") == "gemma2"
        super().__init__(folder, "paligemma2" if is_second else name)
        self.bos_id = self.require_token("<bos>")
        self.opening_ids = (self.bos_id,)
        self.newline_ids = self.encoder.encode("\n")
        self.image_id = self.require_token("<image>", folder.config.get("image_token_index"))
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 224))
        block = MarkedBlock(image_id=self.image_id).ids(tower.num_patches)
        self.images = Squares(tower, block, ProcessorSettings.read(folder, mean=HALF, std=HALF))
        text = _TEXT_2 if is_second else _TEXT
        self.cost = training_flops(**language_shape(folder, text), **tower_shape(tower.vision))
        self.is_second = is_second
        if is_second:
            window = folder.text_config.get("sliding_window", 4096)
            self.max_document_tokens = None if window is None else int(window)
            self.attention = ("eager", "flex_attention")
            self.attention_reason = f"sdpa cannot cap attention scores, and {MASKED_REASON}"

    def length_rules(self) -> Mapping[str, object]:
        """All settings that decide how many tokens and patches an image has, and which documents are taken."""
        rules = self.images.length_rules()
        return {**rules, "longest": self.max_document_tokens} if self.is_second else rules

    @property
    def prefix_tokens(self) -> int:
        """BOS, and the newline that ends a prompt."""
        return 1 + len(self.newline_ids)

    def opened(self, pieces: Sequence[Piece]) -> list[Piece]:
        """BOS after the last image before anything is supervised, a newline before the first supervised piece."""
        answer = next((number for number, (_, is_supervised) in enumerate(pieces) if is_supervised), len(pieces))
        images = [number for number, (ids, _) in enumerate(pieces[:answer]) if self.image_id in ids]
        prompt = images[-1] + 1 if images else 0
        bos, newline = ((np.array(ids, dtype=np.int64), False) for ids in ([self.bos_id], self.newline_ids))
        return [*pieces[:prompt], bos, *pieces[prompt:answer], newline, *pieces[answer:]]

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> Layout:
        """`token_type_ids` int64 (B, L): 0 for the tokens that see each other, 1 for those after them."""
        blocks = prompt_blocks(labels, [[row.size] for row in labels])
        return {"token_type_ids": (blocks == NO_BLOCK).astype(np.int64)}

    def processor_rules(self) -> ProcessorRules:
        """The processor takes images and prompt first, and one text to learn, which it ends with EOS."""
        return ProcessorRules(ends=True, texts=_prompt_and_suffix, comparable=_images_first)

    def narrowed(self, config: Json) -> dict[str, Any]:
        """The projector leads into the narrow language model."""
        tree = super().narrowed(config)
        width = tree["text_config"]["hidden_size"]
        return {**tree, "hidden_size": width, "projection_dim": width}


def _images_first(page: LabelledPage) -> LabelledPage:
    """Images and prompt, then all supervised text as one."""
    first = [part for part in page.segments if isinstance(part, ImageSegment) or not part.is_supervised]
    text = "".join(part.text for part in page.segments if isinstance(part, TextSegment) and part.is_supervised)
    return replace(page, segments=(*first, TextSegment(text=text)))


def _prompt_and_suffix(page: LabelledPage, image_prompt: str) -> Texts:
    """Prompt and suffix; without images, which the processor insists on, the pair that it would make of them."""
    prompt, suffix = "", ""
    for segment in page.segments:
        if isinstance(segment, TextSegment) and segment.is_supervised:
            suffix += segment.text
        else:
            prompt += text_of(segment, image_prompt)
    if page.tiles:
        return {"text": [prompt], "suffix": [suffix]}
    return {"text": [f"<bos>{prompt}\n"], "text_pair": [f"{suffix}<eos>"]}
