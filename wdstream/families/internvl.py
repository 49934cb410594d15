"""InternVL (the Hugging Face form): squares of one size between a start and an end token.

    <img> <IMG_CONTEXT> x n </img>          n features for each square of the image

A tile is one square. An image that wdstream leaves whole is cut by its aspect ratio (families/shared/aspect_grid.py).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from wdstream.families.shared.aspect_grid import AspectGrid
from wdstream.families.shared.inputs import CLIP_MEAN, CLIP_STD
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.records import Ints


class InternVL(AspectGrid):
    """InternVL 2.5, 3 and 3.5 (`InternVLForConditionalGeneration`)."""

    name: ClassVar[str] = "internvl"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    processor_class: ClassVar[str] = "InternVLProcessor"
    image_prompt: ClassVar[str] = "<IMG_CONTEXT>"
    placeholder: ClassVar[str] = "<IMG_CONTEXT>"
    placeholder_key: ClassVar[str] = "image_token_id"
    default_side: ClassVar[int] = 384
    vision_defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "image_size": 448,
        "patch_size": 14,
    }
    default_mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    default_std: ClassVar[tuple[float, ...]] = CLIP_STD

    def count_placeholders(self, folder: ModelFolder) -> int:
        """Patches, shuffled together by `downsample_ratio` along each side."""
        return int(self.patches_per_image * folder.config.get("downsample_ratio", 0.5) ** 2)

    def crops(self, settings: Mapping[str, Any]) -> bool:
        """Always: the processor asks for crops whatever preprocessor_config.json says (its `images_kwargs`)."""
        return True

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor has to be told how many placeholders an image has."""
        return {"image_seq_length": self.tokens_per_image}

    def image_block(self) -> Ints:
        """Start, placeholders, end."""
        start, end = self.require_token("<img>"), self.require_token("</img>")
        return np.array([start, *[self.image_id] * self.tokens_per_image, end], dtype=np.int64)
