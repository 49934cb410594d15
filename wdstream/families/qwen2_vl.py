"""Qwen2-VL: patches of 14, full attention over an image, plain MLPs in the vision tower."""

from collections.abc import Mapping
from typing import Any, ClassVar

from wdstream.families.qwen_settings import tower_parameters
from wdstream.families.qwen_vl import QwenVL


class Qwen2VL(QwenVL):
    """Qwen2-VL (`Qwen2VLForConditionalGeneration`)."""

    name: ClassVar[str] = "qwen2_vl"
    processor_class: ClassVar[str] = "Qwen2VLProcessor"

    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`; `hidden_size` is the language model's width here."""
        width = vision.get("embed_dim", 1280)
        filled = {"patch_size": 14, "depth": 32, **vision}
        mlp = 2 * width * int(width * vision.get("mlp_ratio", 4))
        return {
            "vision_parameters": tower_parameters(filled, width=width, mlp=mlp, out=vision.get("hidden_size", 3584)),
            "vision_layers": filled["depth"],
            "vision_width": width,
        }

    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        width = 2 * vision["embed_dim"] // vision["num_heads"]
        return {**vision, "depth": 2, "embed_dim": width, "num_heads": 2, "hidden_size": text["hidden_size"]}
