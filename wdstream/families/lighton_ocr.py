"""LightOnOCR: an image keeps its shape, in blocks of merged patches, and no token stands around it.

    <|image_pad|> x (columns * rows of merged patches)

`pixel_values` holds the images of a batch padded at the right and bottom to the largest; `image_sizes` says how much of
each is image. The tower never reads the padding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Arrays, Family
from wdstream.families.shared.inputs import CLIP_MEAN, CLIP_STD, RESAMPLES, text_inputs
from wdstream.families.shared.language import language_shape, narrowed_text
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.square import CHANNELS, first, tower_shape
from wdstream.plan.cost import training_flops
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

VISION_DEFAULTS = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 1540,
    "patch_size": 14,
}


class LightOnOcr(Family):
    """LightOnOCR (`LightOnOcrForConditionalGeneration`).

    Attributes:
        longest_edge: pixels; larger images are shrunk so that neither side is above it.
        resize_multiple: pixels; the image processor rounds sides up to multiples of this.
    """

    name: ClassVar[str] = "lighton_ocr"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|image_pad|>", "<|vision_pad|>", "<|vision_end|>", "<|vision_start|>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    processor_class: ClassVar[str] = "LightOnOcrProcessor"
    image_prompt: ClassVar[str] = "<|image_pad|>"
    image_key: ClassVar[str] = "image_token_id"
    """Key of config.json with the id of `image_prompt`."""
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        config, settings = folder.config, folder.image_settings
        vision = {**VISION_DEFAULTS, **folder.vision_config}
        self.image_id = self.require_token(self.image_prompt, config.get(self.image_key))
        self.patch_size = first(vision["patch_size"])
        self.merge_size = self.read_merge(config)
        self.resize_multiple = self.read_rounding(settings)
        if self.resize_multiple % self.patch_size:
            raise FamilyError(
                f"{self.model_dir}: the image processor rounds to {self.resize_multiple} pixels, no multiple of the "
                f"vision tower's patches of {self.patch_size}; take the settings of one checkpoint"
            )
        self.longest_edge = int((settings.get("size") or {}).get("longest_edge", 1024))
        self.size_multiple = self.patch_size * self.merge_size
        self.max_tile_side = self.longest_edge
        self.min_pixels, self.max_pixels = self.size_multiple**2, self.longest_edge**2
        self.mean = tuple(float(value) for value in settings.get("image_mean") or CLIP_MEAN)
        self.std = tuple(float(value) for value in settings.get("image_std") or CLIP_STD)
        self.resample = RESAMPLES.get(settings.get("resample", 3), "bicubic")
        self.cost = training_flops(
            **language_shape(folder, self.text_defaults), **tower_shape(vision, side=self.longest_edge)
        )

    def read_merge(self, config: Mapping[str, Any]) -> int:
        """Patches along a side of what makes one token."""
        return int(config.get("spatial_merge_size", 2))

    def read_rounding(self, settings: Mapping[str, Any]) -> int:
        """Pixels to whose multiples the image processor rounds sides up."""
        patch = settings.get("patch_size") or {"height": 16, "width": 16}
        return int(patch["height"]) if isinstance(patch, Mapping) else first(patch)

    def count_tokens(self, columns: Ints, rows: Ints) -> Ints:
        """Tokens of images of so many columns and rows of merged patches, those around them included."""
        return columns * rows

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor's own idea of patches."""
        return {"patch_size": self.patch_size, "spatial_merge_size": self.merge_size}

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has."""
        multiples = [self.patch_size, self.merge_size, self.resize_multiple]
        return {"multiples": multiples, "longest_edge": self.longest_edge}

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes; -1 for a size of which no merged patch is left."""
        is_fine = (widths > 0) & (heights > 0)
        wide, high = np.maximum(widths, 1), np.maximum(heights, 1)
        # Floats as in `resized`: the same operations in the same order on float64.
        ratio = np.maximum(high / self.longest_edge, wide / self.longest_edge)
        wide = np.where(ratio > 1, np.floor(wide / ratio), wide).astype(np.int64)
        high = np.where(ratio > 1, np.floor(high / ratio), high).astype(np.int64)
        unit = self.resize_multiple
        wide, high = ((wide - 1) // unit + 1) * unit, ((high - 1) // unit + 1) * unit
        columns, rows = wide // self.size_multiple, high // self.size_multiple
        tokens = self.count_tokens(columns, rows)
        is_fine &= (columns > 0) & (rows > 0)
        patches = (wide // self.patch_size) * (high // self.patch_size)
        return np.where(is_fine, tokens, -1), np.where(is_fine, patches, -1)

    def resized(self, width: int, height: int) -> Size:
        """Shrunk to `longest_edge` where larger, then rounded up to whole patches of the image processor."""
        ratio = max(height / self.longest_edge, width / self.longest_edge)
        if ratio > 1:
            width, height = math.floor(width / ratio), math.floor(height / ratio)
        unit = self.resize_multiple
        size = ((width - 1) // unit + 1) * unit, ((height - 1) // unit + 1) * unit
        if min(size) < self.size_multiple:
            raise FamilyError(f"{self.name} refuses an image of {width}x{height} pixels: no merged patch is left of it")
        return size

    def image_ids(self, width: int, height: int) -> Ints:
        """Placeholders alone; int64."""
        new_width, new_height = self.resized(width, height)
        count = (new_width // self.size_multiple) * (new_height // self.size_multiple)
        return np.full(count, self.image_id, dtype=np.int64)

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (K, 3, H, W), H and W the largest of all; image_sizes int64 (K, 2), (height, width)."""
        from wdstream.pixels.render import resize

        sizes = [self.resized(tile.shape[1], tile.shape[0]) for tile in tiles]
        widest = max((width for width, _ in sizes), default=0)
        highest = max((height for _, height in sizes), default=0)
        pixels = np.zeros((len(tiles), CHANNELS, highest, widest), dtype=np.uint8)
        for place, (tile, (width, height)) in enumerate(zip(tiles, sizes, strict=True)):
            pixels[place, :, :height, :width] = resize(tile, (width, height), self.resample).transpose(2, 0, 1)
        image_sizes = np.array([(height, width) for width, height in sizes], dtype=np.int64).reshape(-1, 2)
        return {"pixel_values": pixels, "image_sizes": image_sizes}

    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Images of all parts below each other, padded to the largest."""
        if len(parts) == 1:
            return dict(parts[0])
        counts = [len(part["pixel_values"]) for part in parts]
        highest, widest = (max(part["pixel_values"].shape[axis] for part in parts) for axis in (2, 3))
        kind = parts[0][
            "pixel_values"
        ].dtype  # uint8, or floats of the model's own processor (families/reference/pixels.py)
        pixels = np.zeros((sum(counts), CHANNELS, highest, widest), dtype=kind)
        start = 0
        for part, count in zip(parts, counts, strict=True):
            images = part["pixel_values"]
            pixels[start : start + count, :, : images.shape[2], : images.shape[3]] = images
            start += count
        return {"pixel_values": pixels, "image_sizes": np.concatenate([part["image_sizes"] for part in parts])}

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`; a batch without images has no pixel arguments."""
        from wdstream.pixels.normalise import normalise_patches

        inputs = text_inputs(batch, device)
        pixels = batch["pixel_values"].to(device, non_blocking=True)
        if len(pixels):
            flat = normalise_patches(
                pixels.flatten(1), mean=self.mean, std=self.std, temporal_patch_size=1, dtype=dtype
            )
            inputs["pixel_values"] = flat.view(pixels.shape)
            inputs["image_sizes"] = batch["image_sizes"].to(device, non_blocking=True)
        return inputs

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers in each tower, two heads in the language model; patches as they are."""
        vision = {**config["vision_config"], "num_hidden_layers": 2}
        return {**config, "text_config": narrowed_text(config["text_config"]), "vision_config": vision}
