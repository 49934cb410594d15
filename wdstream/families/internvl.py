"""InternVL (the Hugging Face form): squares of one size between a start and an end token.

    <img> <IMG_CONTEXT> x n </img>          n features for each square of the image

A tile is one square. An image that wdstream leaves whole is cut by its aspect ratio (aspect_grid.py).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from wdstream.families.aspect_grid import AspectGrid
from wdstream.families.base import Ints
from wdstream.families.checkpoint import Checkpoint
from wdstream.families.square import square_side

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class InternVL(AspectGrid):
    """InternVL 2.5, 3 and 3.5 (`InternVLForConditionalGeneration`)."""

    name: ClassVar[str] = "internvl"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    processor_class: ClassVar[str] = "InternVLProcessor"
    image_prompt: ClassVar[str] = "<IMG_CONTEXT>"
    default_mean: ClassVar[tuple[float, ...]] = CLIP_MEAN
    default_std: ClassVar[tuple[float, ...]] = CLIP_STD

    def vision_settings(self, checkpoint: Checkpoint) -> Mapping[str, Any]:
        """vision_config over the defaults of its transformers class."""
        defaults = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        return {**defaults, "image_size": 448, "patch_size": 14, **checkpoint.vision_config}

    def canvas_side(self, checkpoint: Checkpoint) -> int:
        """`size`, which is that of one canvas."""
        return square_side(checkpoint.image_settings, 384)

    def placeholder_id(self, checkpoint: Checkpoint) -> int:
        """Id of `<IMG_CONTEXT>`."""
        return self.require_token("<IMG_CONTEXT>", checkpoint.config.get("image_token_id"))

    def count_placeholders(self, checkpoint: Checkpoint) -> int:
        """Patches, shuffled together by `downsample_ratio` along each side."""
        return int(self.patches_per_image * checkpoint.config.get("downsample_ratio", 0.5) ** 2)

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
