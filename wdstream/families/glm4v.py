"""GLM-4V: the patches and positions of Qwen-VL with other tokens, thin images enlarged first, two ids before a text.

    [gMASK] <sop> ... <|begin_of_image|> <|image|> x (columns * rows of merged patches) <|end_of_image|>

Its image processor counts an image as `temporal_patch_size` equal frames, so the bounds of an image's area are the
settings' divided by that.
"""

from typing import Any, ClassVar

from wdstream.families.base import Family
from wdstream.families.shared.attention import MropePositions
from wdstream.families.shared.images import MarkedBlock
from wdstream.families.shared.model_folder import Json, ModelFolder, language_shape, merging_tower_shape, narrowed_tower
from wdstream.families.shared.resize_rules import enlarge_both
from wdstream.families.shared.resized import area_bounds, read_merged_patches
from wdstream.plan.deal import training_flops

_BOUNDS = (112 * 112, 28 * 28 * 15000)


class Glm4v(Family):
    """GLM-4.1V and GLM-4V (`Glm4vForConditionalGeneration`)."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|endoftext|>"),
        *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        *("<|begin_of_image|>", "<|image|>", "<|end_of_image|>"),
        *("<|begin_of_video|>", "<|video|>", "<|end_of_video|>"),
    )
    image_prompt: ClassVar[str] = "<|begin_of_image|><|image|><|end_of_image|>"
    image_types: ClassVar[str | None] = "mm_token_type_ids"
    processor_class = "Glm4vProcessor"
    attention = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
    attention_reason = "its class in transformers knows no other"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        self.opening_ids = self.encoder.template_ids  # [gMASK] and <sop>, where the tokenizer's own template has them
        config, settings = folder.config, folder.image_settings
        self.image_id = self.require_token("<|image|>", config.get("image_token_id"))
        start = self.require_token("<|begin_of_image|>", config.get("image_start_token_id"))
        end = self.require_token("<|end_of_image|>", config.get("image_end_token_id"))
        frames = int(settings.get("temporal_patch_size", 2))
        least, most = area_bounds({"size": settings.get("size")}, _BOUNDS)  # this processor reads nothing else
        self.images = read_merged_patches(
            folder,
            family=name,
            block=MarkedBlock(before=(start,), image_id=self.image_id, after=(end,)),
            bounds=(least / frames, most / frames),
            enlarge_thin=enlarge_both,
        )
        self.position_rule = MropePositions(self.image_id, self.images.grid)
        self.cost = training_flops(**language_shape(folder), **_tower_shape(folder.vision_config))

    def narrowed_vision(self, vision: Json, text: Json) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        return narrowed_tower(vision, depth=2, out_hidden_size=text["hidden_size"])


def _tower_shape(vision: Json) -> dict[str, int]:
    """The MLPs of the tower's blocks are as wide as the language model."""
    width, out = vision.get("hidden_size", 1536), vision.get("out_hidden_size", 4096)
    filled = {"patch_size": 14, "depth": 24, **vision}
    return merging_tower_shape(filled, width=width, mlp=3 * width * out, out=out)
