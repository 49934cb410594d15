"""GLM-4V: the patches and positions of Qwen-VL with other tokens, thin images enlarged first, two ids before a text.

    [gMASK] <sop> ... <|begin_of_image|> <|image|> x (columns * rows of merged patches) <|end_of_image|>

Its image processor counts an image as `temporal_patch_size` equal frames, so the bounds of an image's area are so many
times smaller than the settings say.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from wdstream.families.qwen_vl import QwenVL
from wdstream.families.shared.qwen_settings import narrowed_tower, tower_parameters
from wdstream.families.shared.resize_rules import glm_sizes, one_size
from wdstream.records import Ints, Size


class Glm4v(QwenVL):
    """GLM-4.1V and GLM-4V (`Glm4vForConditionalGeneration`)."""

    name: ClassVar[str] = "glm4v"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|endoftext|>"),
        *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        *("<|begin_of_image|>", "<|image|>", "<|end_of_image|>"),
        *("<|begin_of_video|>", "<|video|>", "<|end_of_video|>"),
    )
    processor_class: ClassVar[str] = "Glm4vProcessor"
    image_prompt: ClassVar[str] = "<|begin_of_image|><|image|><|end_of_image|>"
    block_tokens: ClassVar[Mapping[str, str]] = {
        "image_start_token_id": "<|begin_of_image|>",
        "image_token_id": "<|image|>",
        "image_end_token_id": "<|end_of_image|>",
    }
    default_bounds: ClassVar[tuple[int, int]] = (112 * 112, 28 * 28 * 15000)

    def bounds(self, settings: Mapping[str, Any]) -> tuple[float, float]:
        """`size` alone is read."""
        size, (least, most) = settings.get("size") or {}, self.default_bounds
        frames = self.temporal_patch_size
        return (size.get("shortest_edge") or least) / frames, (size.get("longest_edge") or most) / frames

    @property
    def opening_ids(self) -> tuple[int, ...]:
        """[gMASK] and <sop>, where the tokenizer's own template has them."""
        return self.encoder.template_ids

    def fit(self, width: int, height: int) -> Size | None:
        """The size in pixels to which an image is resized; None where it is refused."""
        return one_size(self.fit_all(np.array([width]), np.array([height])))

    def fit_all(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """`fit` of many images; -1 where it gives None."""
        return glm_sizes(widths, heights, self._rule)

    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`; its blocks' MLPs are as wide as the language model."""
        width, out = vision.get("hidden_size", 1536), vision.get("out_hidden_size", 4096)
        filled = {"patch_size": 14, "depth": 24, **vision}
        return {
            "vision_parameters": tower_parameters(filled, width=width, mlp=3 * width * out, out=out),
            "vision_layers": filled["depth"],
            "vision_width": width,
        }

    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        return narrowed_tower(vision, text)
