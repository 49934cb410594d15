"""Settings of the Qwen-VL line and its kin: what must agree between config.json and the image processor, and costs."""

from collections.abc import Mapping
from typing import Any

from wdstream.errors import FamilyError
from wdstream.families.shared.model_folder import ModelFolder

CHANNELS = 3


def require_same_patches(folder: ModelFolder, found: Mapping[str, int]) -> None:
    """The image processor and the vision tower must mean the same patches, and none of the processor's steps be off.

    Args:
        folder: of the family.
        found: patch_size, spatial_merge_size and temporal_patch_size of the image processor.

    Raises:
        FamilyError: names the setting.
    """
    vision = folder.vision_config
    for key, size in found.items():
        if vision.get(key, size) != size:
            raise FamilyError(
                f"{folder.path}: {key} is {vision[key]} in config.json (vision_config) and {size} in the image "
                "processor's settings; take the preprocessor_config.json that belongs to the checkpoint"
            )
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if folder.image_settings.get(key, True) is not True:
            raise FamilyError(
                f"{folder.path}: the image processor's settings switch {key} off, which wdstream does not "
                "support; remove the key from preprocessor_config.json"
            )


def tower_parameters(vision: Mapping[str, Any], *, width: int, mlp: int, out: int) -> int:
    """Parameters that every patch passes: embedding, blocks, and its share of the merger.

    Args:
        vision: vision_config.
        width: of the tower.
        mlp: parameters of one block's MLP.
        out: width of the language model.
    """
    merged = width * vision.get("spatial_merge_size", 2) ** 2
    embed = CHANNELS * vision.get("temporal_patch_size", 2) * vision["patch_size"] ** 2 * width
    mergers = 1 + len(vision.get("deepstack_visual_indexes", ()))
    share = mergers * (merged * merged + merged * out) // vision.get("spatial_merge_size", 2) ** 2
    return int(embed + vision["depth"] * (4 * width * width + mlp) + share)


def narrowed_tower(vision: Mapping[str, Any], text: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """vision_config with two layers and two heads of the same size, for `Family.narrowed`.

    Args:
        vision: vision_config.
        text: the narrowed text_config, whose width the tower ends in.
        more: keys of one family.
    """
    width = 2 * vision["hidden_size"] // vision["num_heads"]
    return {
        **vision,
        "depth": 2,
        "hidden_size": width,
        "num_heads": 2,
        "intermediate_size": 2 * width,
        "out_hidden_size": text["hidden_size"],
        **more,
    }
