"""PaddleOCR-VL: Qwen-VL's tokens and positions by other names; patches row by row, one frame an image.

    <|IMAGE_START|> <|IMAGE_PLACEHOLDER|> x (columns * rows of merged patches) <|IMAGE_END|>

The projector merges 2 x 2 patches itself, so patches are not laid out in blocks: `pixel_values` is (N, 3, P, P).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from wdstream.families.base import Family
from wdstream.families.qwen_vl import QwenVL
from wdstream.families.shared.qwen_settings import CHANNELS, tower_parameters
from wdstream.families.shared.resize_rules import one_size, paddle_sizes
from wdstream.records import Ints, Size

if TYPE_CHECKING:
    import torch


class PaddleOcrVL(QwenVL):
    """PaddleOCR-VL (`PaddleOCRVLForConditionalGeneration`)."""

    name: ClassVar[str] = "paddleocr_vl"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>"),
        *("<s>", "</s>", "<unk>", "<|begin_of_sentence|>", "<|end_of_sentence|>"),
    )
    attention: ClassVar[tuple[str, ...]] = Family.attention
    attention_reason: ClassVar[str] = Family.attention_reason
    processor_class: ClassVar[str] = "PaddleOCRVLProcessor"
    image_prompt: ClassVar[str] = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
    block_tokens: ClassVar[Mapping[str, str]] = {
        "vision_start_token_id": "<|IMAGE_START|>",
        "image_token_id": "<|IMAGE_PLACEHOLDER|>",
        "vision_end_token_id": "<|IMAGE_END|>",
    }
    default_bounds: ClassVar[tuple[int, int]] = (384 * 384, 1536 * 1536)
    default_temporal: ClassVar[int] = 1

    def fit(self, width: int, height: int) -> Size | None:
        """The size in pixels to which an image is resized; None where it is refused."""
        return one_size(self.fit_all(np.array([width]), np.array([height])))

    def fit_all(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """`fit` of many images; -1 where it gives None."""
        return paddle_sizes(widths, heights, self._rule)

    @property
    def block_side(self) -> int:
        """1: patches follow each other row by row."""
        return 1

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`, each patch an image of its own."""
        inputs = super().model_inputs(batch, device=device, dtype=dtype)
        if "pixel_values" in inputs:
            side = self.patch_size
            inputs["pixel_values"] = inputs["pixel_values"].view(-1, CHANNELS, side, side)
        return inputs

    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`."""
        width, layers = vision.get("hidden_size", 1152), vision.get("num_hidden_layers", 27)
        filled = {"patch_size": 14, **vision, "depth": layers, "temporal_patch_size": 1}
        mlp = 2 * width * vision.get("intermediate_size", 4304)
        return {
            "vision_parameters": tower_parameters(filled, width=width, mlp=mlp, out=width),
            "vision_layers": layers,
            "vision_width": width,
        }

    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        width = 2 * vision["hidden_size"] // vision["num_attention_heads"]
        return {
            **vision,
            "num_hidden_layers": 2,
            "hidden_size": width,
            "num_attention_heads": 2,
            "intermediate_size": 2 * width,
        }
