"""GOT-OCR2: one large square an image, 16 times fewer features than patches.

    <img> <imgpad> x 256 </img>          256 features for each square of the image

A tile is one square, and so is an image that wdstream leaves whole, unless preprocessor_config.json has crop_to_patches
on: then it is cut by its aspect ratio (families/shared/aspect_grid.py). (The processor itself reads that setting from
its call alone.)
Its SAM tower knows eager attention only; the language model takes sdpa too, so the implementations are set apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from wdstream.families.shared.aspect_grid import AspectGrid
from wdstream.families.shared.inputs import CLIP_MEAN, CLIP_STD
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.records import Ints

FEATURE_STRIDE = 4
"""Patches along a side that two strided convolutions make one feature of."""


class GotOcr2(AspectGrid):
    """GOT-OCR2 (`GotOcr2ForConditionalGeneration`)."""

    name: ClassVar[str] = "got_ocr2"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<img>", "</img>", "<imgpad>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    attention: ClassVar[tuple[str, ...]] = ("sdpa", "eager", "flex_attention", "flash_attention_2")
    processor_class: ClassVar[str] = "GotOcr2Processor"
    image_prompt: ClassVar[str] = "<img><imgpad></img>"
    placeholder: ClassVar[str] = "<imgpad>"
    placeholder_key: ClassVar[str] = "image_token_index"
    default_side: ClassVar[int] = 384
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 768,
        "mlp_dim": 3072,
        "num_hidden_layers": 12,
        "image_size": 1024,
        "patch_size": 16,
    }
    default_mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    default_std: ClassVar[tuple[float, ...]] = CLIP_STD
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 151860,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    }

    def vision_settings(self, folder: ModelFolder) -> Mapping[str, Any]:
        """vision_config over the defaults of its transformers class; `mlp_dim` under the name other towers use."""
        vision = super().vision_settings(folder)
        return {"intermediate_size": vision["mlp_dim"], **vision}

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Features after the strided convolutions."""
        return self.patches_per_image // FEATURE_STRIDE**2

    def processor_images(self, images: Sequence[Any]) -> Sequence[Any]:
        """A flat list: a nested one means pages of one reading to this processor."""
        return list(images)

    def processor_attributes(self) -> Mapping[str, Any]:
        """The processor counts 256 placeholders unless told otherwise."""
        return {**super().processor_attributes(), "num_image_tokens": self.tokens_per_image}

    def attention_setting(self, attn: str) -> str | dict[str, str]:
        """The language model's implementation; the tower has eager only."""
        return {"": "eager", "text_config": attn, "vision_config": "eager"}

    def image_block(self) -> Ints:
        """Start, placeholders, end."""
        start, end = self.require_token("<img>"), self.require_token("</img>")
        return np.array([start, *[self.image_id] * self.tokens_per_image, end], dtype=np.int64)

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers in each tower, attention in windows alone: over 4,096 patches it would take a minute an image."""
        tree = super().narrowed(config)
        return {**tree, "vision_config": {**tree["vision_config"], "global_attn_indexes": []}}
