"""Qwen2.5-VL: patches of 14, attention in windows but for a few layers, gated MLPs in the vision tower."""

from collections.abc import Mapping
from typing import Any, ClassVar

from wdstream.families.qwen_settings import narrowed_tower, tower_parameters
from wdstream.families.qwen_vl import QwenVL


class Qwen25VL(QwenVL):
    """Qwen2.5-VL (`Qwen2_5_VLForConditionalGeneration`)."""

    name: ClassVar[str] = "qwen2_5_vl"
    processor_class: ClassVar[str] = "Qwen2_5_VLProcessor"

    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`; only layers of full attention grow with an image's square."""
        width = vision.get("hidden_size", 1280)
        filled = {"patch_size": 14, "depth": 32, **vision}
        mlp = 3 * width * vision.get("intermediate_size", 3420)
        out = vision.get("out_hidden_size", 3584)
        return {
            "vision_parameters": tower_parameters(filled, width=width, mlp=mlp, out=out),
            "vision_layers": len(vision.get("fullatt_block_indexes", (7, 15, 23, 31))),
            "vision_width": width,
        }

    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        return narrowed_tower(vision, text, fullatt_block_indexes=[1])
