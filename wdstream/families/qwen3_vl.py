"""Qwen3-VL: patches of 16, full attention over an image, features of several depths joined (deepstack)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from wdstream.families.qwen_settings import narrowed_tower, tower_parameters
from wdstream.families.qwen_vl import QwenVL


class Qwen3VL(QwenVL):
    """Qwen3-VL (`Qwen3VLForConditionalGeneration`)."""

    name: ClassVar[str] = "qwen3_vl"
    processor_class: ClassVar[str] = "Qwen3VLProcessor"

    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`, a merger a deepstack layer included."""
        width = vision.get("hidden_size", 1152)
        filled = {"patch_size": 16, "depth": 27, "deepstack_visual_indexes": (8, 16, 24), **vision}
        mlp = 2 * width * vision.get("intermediate_size", 4304)
        out = vision.get("out_hidden_size", 3584)
        return {
            "vision_parameters": tower_parameters(filled, width=width, mlp=mlp, out=out),
            "vision_layers": filled["depth"],
            "vision_width": width,
        }

    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        return narrowed_tower(vision, text, deepstack_visual_indexes=[0, 1])
