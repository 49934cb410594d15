"""PaddleOCR-VL: Qwen-VL's tokens and positions by other names; patches row by row, one frame per image.

    <|IMAGE_START|> <|IMAGE_PLACEHOLDER|> x (columns * rows of merged patches) <|IMAGE_END|>

The projector merges 2 x 2 patches itself, so patches are not laid out in blocks: the model gets (N, 3, P, P).
"""

from typing import Any, ClassVar

from wdstream.families.base import Family
from wdstream.families.shared.attention import MropePositions
from wdstream.families.shared.images import MarkedBlock
from wdstream.families.shared.model_folder import Json, ModelFolder, language_shape, merging_tower_shape, narrowed_tower
from wdstream.families.shared.resize_rules import enlarge_in_turn
from wdstream.families.shared.resized import area_bounds, read_merged_patches
from wdstream.plan.deal import training_flops

_BOUNDS = (384 * 384, 1536 * 1536)


class PaddleOcrVL(Family):
    """The family of PaddleOCR-VL: `PaddleOCRVLForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|IMAGE_START|>", "<|IMAGE_PLACEHOLDER|>", "<|IMAGE_END|>"),
        *("<s>", "</s>", "<unk>", "<|begin_of_sentence|>", "<|end_of_sentence|>"),
    )
    image_prompt: ClassVar[str] = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
    image_types: ClassVar[str | None] = "mm_token_type_ids"
    processor_class = "PaddleOCRVLProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        config = folder.config
        self.image_id = self.require_token("<|IMAGE_PLACEHOLDER|>", config.get("image_token_id"))
        start = self.require_token("<|IMAGE_START|>", config.get("vision_start_token_id"))
        end = self.require_token("<|IMAGE_END|>", config.get("vision_end_token_id"))
        self.images = read_merged_patches(
            folder,
            family=name,
            block=MarkedBlock(before=(start,), image_id=self.image_id, after=(end,)),
            bounds=area_bounds(folder.image_settings, _BOUNDS),
            temporal_patch_size=1,
            enlarge_thin=enlarge_in_turn,
            is_row_by_row=True,
        )
        self.position_rule = MropePositions(self.image_id, self.images.grid)
        self.cost = training_flops(**language_shape(folder), **_tower_shape(folder.vision_config))

    def narrowed_vision(self, vision: Json, text: Json) -> dict[str, Any]:
        """Two layers, two heads of the same size."""
        return narrowed_tower(vision, heads="num_attention_heads", num_hidden_layers=2)


def _tower_shape(vision: Json) -> dict[str, int]:
    """A plain tower of one frame, and the projector's share."""
    width, layers = vision.get("hidden_size", 1152), vision.get("num_hidden_layers", 27)
    filled = {"patch_size": 14, **vision, "depth": layers, "temporal_patch_size": 1}
    return merging_tower_shape(filled, width=width, mlp=2 * width * vision.get("intermediate_size", 4304), out=width)
