"""Gemma 4: images of any shape within a budget of patches; in the larger models they see both ways in some layers.

    <|image> <|image|> x (blocks of 3 x 3 patches) <image|>

An image is resized by `BudgetSize`. `pixel_values` holds the patches of all images of a batch below each other,
`image_grids` how many columns and rows of them each image has; only on the device are images padded to the longest,
with positions of -1. Pixels go in as 0 to 1; the tower centres them itself.

Models with `use_bidirectional_attention: vision` get `ImageMasks`: images see both ways in layers with a sliding
window, while layers over the whole document are causal. The smaller models are causal throughout, and positions are
enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.attention import MASKED_ATTENTION, MASKED_REASON, ImageMasks
from wdstream.families.shared.images import BatchMapping, Inputs, Layout, MarkedBlock, ProcessorSettings, join_arrays
from wdstream.families.shared.model_folder import Json, ModelFolder, language_shape, text_defaults
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.resize_rules import BudgetSize
from wdstream.families.shared.resized import ResizedImages, cut_patches
from wdstream.plan.deal import training_flops
from wdstream.records import CHANNELS, Pixels, Size

if TYPE_CHECKING:
    import torch

NO_POSITION = -1
_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "patch_size": 16,
    "pooling_kernel_size": 3,
}
_TEXT = text_defaults(vocab_size=262144, width=2304, mlp=9216, layers=30, heads=8, key_heads=4, head_size=256)
"""What config.json may leave to the defaults of the transformers classes."""


class Gemma4(Family):
    """The family of Gemma 4: `Gemma4ForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|image>", "<|image|>", "<image|>", "<|video|>", "<|audio>", "<|audio|>", "<audio|>"),
        *("<|turn>", "<turn|>", "<bos>", "<eos>", "<pad>"),
    )
    image_prompt: ClassVar[str] = "<|image|>"
    image_types: ClassVar[str | None] = "mm_token_type_ids"
    processor_class = "Gemma4Processor"
    attention = MASKED_ATTENTION
    attention_reason = (
        "the heads of its layers over the whole document are wider than the kernels of flash attention take"
    )

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        config, vision = folder.config, {**_VISION, **folder.vision_config}
        self.image_id = self.require_token("<|image|>", config.get("image_token_id"))
        start = self.require_token("<|image>", config.get("boi_token_id"))
        end = self.require_token("<image|>", config.get("eoi_token_id"))
        self.images = read_images(folder, vision, MarkedBlock(before=(start,), image_id=self.image_id, after=(end,)))
        self.cost = training_flops(**language_shape(folder, _TEXT), **_tower_shape(vision))
        kind = folder.text_config.get("use_bidirectional_attention")
        if kind == "vision":
            window = int(folder.text_config.get("sliding_window", 512))
            self.masks = ImageMasks(image_id=self.image_id, window=window, is_full_causal=True)
            self.attention_reason = MASKED_REASON
        elif kind is not None:
            raise FamilyError(
                f"{folder.path}: use_bidirectional_attention is '{kind}' in config.json: such a model sees the "
                "text that it should learn; wdstream trains models with 'vision' or null"
            )

    def processor_rules(self) -> ProcessorRules:
        """Without its parts for sound and video; its images are padded, (K, longest, 3 * P**2)."""
        return ProcessorRules(settings={"feature_extractor": None, "video_processor": None}, pixels=_without_padding)

    def narrowed(self, config: Json) -> dict[str, Any]:
        """Two layers in each tower, two heads in the language model, no sound."""
        return {**super().narrowed(config), "audio_config": None}


def read_images(folder: ModelFolder, vision: Json, block: MarkedBlock) -> ResizedImages:
    """The images as the image processor's settings say.

    Raises:
        FamilyError: the vision tower means other patches, or the settings have what the family's models never have.
    """
    settings = folder.image_settings
    patch, pooling = int(settings.get("patch_size", 16)), int(settings.get("pooling_kernel_size", 3))
    if (vision["patch_size"], vision["pooling_kernel_size"]) != (patch, pooling):
        raise FamilyError(
            f"{folder.path}: patch_size and pooling_kernel_size are {vision['patch_size']} and "
            f"{vision['pooling_kernel_size']} in config.json (vision_config), {patch} and {pooling} "
            "in the image processor's settings; take the settings of one model"
        )
    most = int(settings.get("max_soft_tokens", 280))
    pixels = ProcessorSettings.read(folder, normalises=False)
    return ResizedImages(
        family="gemma4",
        rule=BudgetSize(factor=patch * pooling, max_blocks=most),
        patch_size=patch,
        size_multiple=patch * pooling,
        block=block,
        layouts=PaddedPatches(settings=pixels, patch_size=patch),
        rules={"patch": patch, "pooling": pooling, "blocks": most},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedPatches:
    """One flat list of patches on the host, a row of the longest image's patches for each image on the device.

    Attributes:
        settings: of the resize; pixels are 0 to 1, not normalised.
        patch_size: P.
    """

    settings: ProcessorSettings
    patch_size: int

    def layout(self, tiles: Sequence[Pixels], sizes: Sequence[Size]) -> Layout:
        """pixel_values uint8 (N, 3 * P**2); image_grids int64 (K, 2), columns and rows of patches."""
        side = self.patch_size
        patches = cut_patches(tiles, sizes, patch_size=side, block_side=1, resample=self.settings.resample)
        grids = np.array([(wide // side, high // side) for wide, high in sizes], dtype=np.int64).reshape(-1, 2)
        return {"pixel_values": patches, "image_grids": grids}

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Patches and grids of all parts below each other."""
        return join_arrays(parts)

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """pixel_values `dtype` (K, longest, 3 * P**2) and image_position_ids int64 (K, longest, 2): column and row of a
        patch, -1 where there is none. Each image is padded to the longest on the device."""
        import torch

        grids = batch["image_grids"]
        counts = grids.prod(dim=1)  # on the host: reading the longest from a device would wait for it
        longest = int(counts.max())
        numbers = torch.arange(longest)
        is_real = numbers < counts[:, None]
        columns = grids[:, :1]
        positions = torch.stack([numbers % columns, numbers // columns], dim=-1)
        positions = torch.where(is_real[..., None], positions, NO_POSITION)
        targets = torch.nonzero(is_real.flatten()).flatten()
        flat = self.settings.normalised(batch["pixel_values"], device=device, dtype=dtype)
        pixels = torch.zeros((len(grids) * longest, flat.shape[1]), dtype=dtype, device=device)
        pixels.index_copy_(0, targets.to(device, non_blocking=True), flat)
        return {
            "pixel_values": pixels.view(len(grids), longest, -1),
            "image_position_ids": positions.to(device, non_blocking=True),
        }


def _without_padding(found: NDArray[Any], own: Layout) -> NDArray[Any]:
    """The processor's pixel values in the shape of ours."""
    counts = own["image_grids"].prod(axis=1).tolist()
    return np.concatenate([image[:count] for image, count in zip(found, counts, strict=True)])


def _tower_shape(vision: Json) -> dict[str, int]:
    """Grouped queries and gated MLPs, attention over the whole image."""
    width, layers = vision["hidden_size"], vision["num_hidden_layers"]
    heads, key_heads, head_size = (vision[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    block = 2 * width * head_size * (heads + key_heads) + 3 * width * vision["intermediate_size"]
    embed = CHANNELS * vision["patch_size"] ** 2 * width
    return {
        "vision_parameters": embed + layers * block,
        "vision_layers": layers,
        "vision_width": heads * head_size,
    }
