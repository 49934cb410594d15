"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images of any shape in merged patches, M-RoPE, one flat list of patches.

    <|vision_start|> <|image_pad|> x (columns * rows of merged patches) <|vision_end|>

An image of (w, h) is resized by `SmartSize` and cut into patches of patch_size; merge_size**2 patches make one token.
`pixel_values` holds the patches of all images of a batch below each other, `image_grid_thw` their grids. Packing:
positions (4, B, L) restart per document, no mask, no cache; `cu_seq_lens` for flash attention.

The generations differ in their vision towers alone (`TOWERS`):

    Qwen2-VL     patches of 14, full attention over an image, plain MLPs
    Qwen2.5-VL   patches of 14, attention in windows but for a few layers, gated MLPs
    Qwen3-VL     patches of 16, full attention over an image, features of several depths joined (deepstack)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.attention import MropePositions
from wdstream.families.shared.images import MarkedBlock
from wdstream.families.shared.model_folder import Json, ModelFolder, language_shape, merging_tower_shape, narrowed_tower
from wdstream.families.shared.resized import area_bounds, read_merged_patches
from wdstream.plan.deal import training_flops

_BOUNDS = (56 * 56, 28 * 28 * 1280)
"""Least and most pixels of an image where the image processor's settings say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """What a generation has of its own.

    Attributes:
        processor: its processor's class.
        shape: vision_config -> the vision part of `plan.deal.training_flops`.
        narrowed: (vision_config, narrowed text_config) -> vision_config with two layers and two heads.
    """

    processor: str
    shape: Callable[[Json], dict[str, int]]
    narrowed: Callable[[Json, Json], dict[str, Any]]


def _shape_2(vision: Json) -> dict[str, int]:
    """`hidden_size` is the language model's width here."""
    width = vision.get("embed_dim", 1280)
    mlp = 2 * width * int(width * vision.get("mlp_ratio", 4))
    filled = {"patch_size": 14, "depth": 32, **vision}
    return merging_tower_shape(filled, width=width, mlp=mlp, out=vision.get("hidden_size", 3584))


def _shape_2_5(vision: Json) -> dict[str, int]:
    """Only layers of full attention grow with the square of an image."""
    width = vision.get("hidden_size", 1280)
    return merging_tower_shape(
        {"patch_size": 14, "depth": 32, **vision},
        width=width,
        mlp=3 * width * vision.get("intermediate_size", 3420),
        out=vision.get("out_hidden_size", 3584),
        whole_layers=len(vision.get("fullatt_block_indexes", (7, 15, 23, 31))),
    )


def _shape_3(vision: Json) -> dict[str, int]:
    """With a merger for each deepstack layer."""
    width = vision.get("hidden_size", 1152)
    return merging_tower_shape(
        {"patch_size": 16, "depth": 27, "deepstack_visual_indexes": (8, 16, 24), **vision},
        width=width,
        mlp=2 * width * vision.get("intermediate_size", 4304),
        out=vision.get("out_hidden_size", 3584),
    )


def _narrowed_2(vision: Json, text: Json) -> dict[str, Any]:
    """The tower's width is `embed_dim`."""
    width = 2 * vision["embed_dim"] // vision["num_heads"]
    return {**vision, "depth": 2, "embed_dim": width, "num_heads": 2, "hidden_size": text["hidden_size"]}


def _narrowed_2_5(vision: Json, text: Json) -> dict[str, Any]:
    """One layer with windows, one without."""
    return narrowed_tower(vision, depth=2, out_hidden_size=text["hidden_size"], fullatt_block_indexes=[1])


def _narrowed_3(vision: Json, text: Json) -> dict[str, Any]:
    """Both layers are deepstack ones."""
    return narrowed_tower(vision, depth=2, out_hidden_size=text["hidden_size"], deepstack_visual_indexes=[0, 1])


TOWERS = {
    "qwen2_vl": Tower(processor="Qwen2VLProcessor", shape=_shape_2, narrowed=_narrowed_2),
    "qwen2_5_vl": Tower(processor="Qwen2_5_VLProcessor", shape=_shape_2_5, narrowed=_narrowed_2_5),
    "qwen3_vl": Tower(processor="Qwen3VLProcessor", shape=_shape_3, narrowed=_narrowed_3),
}


class QwenVL(Family):
    """The Qwen-VL families (`Qwen2VLForConditionalGeneration`, `Qwen2_5_VL...`, `Qwen3VL...`)."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    )
    image_prompt: ClassVar[str] = "<|vision_start|><|image_pad|><|vision_end|>"
    image_types: ClassVar[str | None] = "mm_token_type_ids"
    attention = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
    attention_reason = "its class in transformers knows no other"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        if name not in TOWERS:
            raise FamilyError(f"{folder.path}: no Qwen-VL family '{name}'; known: {', '.join(TOWERS)}")
        self.tower = TOWERS[name]
        self.processor_class = self.tower.processor
        config = folder.config
        self.image_id = self.require_token("<|image_pad|>", config.get("image_token_id"))
        start = self.require_token("<|vision_start|>", config.get("vision_start_token_id"))
        end = self.require_token("<|vision_end|>", config.get("vision_end_token_id"))
        images = read_merged_patches(
            folder,
            family=name,
            block=MarkedBlock(before=(start,), image_id=self.image_id, after=(end,)),
            bounds=area_bounds(folder.image_settings, _BOUNDS),
        )
        self.images, self.padding_side = images, images.size_multiple // images.patch_size
        self.position_rule = MropePositions(self.image_id, self.images.grid)
        self.cost = training_flops(**language_shape(folder), **self.tower.shape(folder.vision_config))

    def narrowed_vision(self, vision: Json, text: Json) -> dict[str, Any]:
        """Two layers, two heads of the same size; M-RoPE sections and patches as they are."""
        return self.tower.narrowed(vision, text)
