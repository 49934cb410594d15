"""What Qwen2-VL, Qwen2.5-VL and Qwen3-VL share: dynamic resolution in merged patches, M-RoPE, one flat list of patches.

    <|vision_start|> <|image_pad|> x (columns * rows of merged patches) <|vision_end|>

An image of (w, h) is resized by `qwen_sizes.smart_size` and cut into patches of patch_size; merge_size**2 patches make
one token. `pixel_values` holds the patches of all images of a batch below each other, `image_grid_thw` their grids.
Packing: positions (4, B, L) restart per document, no mask, no cache; `cu_seq_lens` for flash attention beside them.

Qwen2-VL: patches of 14, full attention over an image, plain MLPs in the vision tower.

Qwen2.5-VL: patches of 14, attention in windows but for a few layers, gated MLPs in the vision tower.

Qwen3-VL: patches of 16, full attention over an image, features of several depths joined (deepstack).
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Arrays, Family
from wdstream.families.shared.inputs import CLIP_MEAN, CLIP_STD, RESAMPLES, text_inputs
from wdstream.families.shared.language import language_shape, narrowed_text
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.mrope import mrope_positions
from wdstream.families.shared.qwen_settings import CHANNELS, require_same_patches
from wdstream.families.shared.resize_rules import SizeRule, smart_size, smart_sizes
from wdstream.plan.cost import training_flops
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch


from wdstream.families.shared.qwen_settings import narrowed_tower, tower_parameters

DEFAULT_MIN_PIXELS = 56 * 56
DEFAULT_MAX_PIXELS = 28 * 28 * 1280


class QwenVL(Family):
    """Base of the Qwen-VL families.

    Attributes:
        patch_size, merge_size, temporal_patch_size: of the image processor; a token stands for merge_size**2 patches.
        mean, std: of the normalisation, per channel, for pixels in [0, 1].
        resample: filter of the resize.
        image_id: id of `<|image_pad|>`.
    """

    structural_tokens: ClassVar[tuple[str, ...]] = (
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    num_position_rows: ClassVar[int] = 4
    attention: ClassVar[tuple[str, ...]] = ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
    attention_reason: ClassVar[str] = "its class in transformers knows no other"
    image_prompt: ClassVar[str] = "<|vision_start|><|image_pad|><|vision_end|>"
    block_tokens: ClassVar[Mapping[str, str]] = {
        "vision_start_token_id": "<|vision_start|>",
        "image_token_id": "<|image_pad|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    """Tokens before, in and behind an image, by their keys in config.json."""
    default_bounds: ClassVar[tuple[int, int]] = (DEFAULT_MIN_PIXELS, DEFAULT_MAX_PIXELS)
    default_temporal: ClassVar[int] = 2

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        config, settings = folder.config, folder.image_settings
        self._start_id, self.image_id, self._end_id = (
            self.require_token(token, config.get(key)) for key, token in self.block_tokens.items()
        )
        self.patch_size = int(settings.get("patch_size", 14))
        self.merge_size = int(settings.get("merge_size", 2))
        self.temporal_patch_size = int(settings.get("temporal_patch_size", self.default_temporal))
        self.size_multiple = self.patch_size * self.merge_size
        least, most = self.bounds(settings)
        self.min_pixels, self.max_pixels = math.ceil(least), int(most)
        self.mean = tuple(float(value) for value in settings.get("image_mean", CLIP_MEAN))
        self.std = tuple(float(value) for value in settings.get("image_std", CLIP_STD))
        self.resample = RESAMPLES.get(settings.get("resample", 3), "bicubic")
        self._rule = SizeRule(factor=self.size_multiple, min_pixels=least, max_pixels=most)
        patches = {"patch_size": self.patch_size, "spatial_merge_size": self.merge_size}
        require_same_patches(folder, {**patches, "temporal_patch_size": self.temporal_patch_size})
        self.cost = training_flops(**language_shape(folder), **self.vision_shape(folder.vision_config))

    @abstractmethod
    def vision_shape(self, vision: Mapping[str, Any]) -> dict[str, int]:
        """The vision part of `plan.cost.training_flops`, from vision_config."""

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers in each tower, two heads; head sizes, M-RoPE sections and patches as they are."""
        text = narrowed_text(config["text_config"])
        return {**config, "text_config": text, "vision_config": self.narrowed_vision(config["vision_config"], text)}

    @abstractmethod
    def narrowed_vision(self, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
        """vision_config for `narrowed`; `text` is the narrowed text_config."""

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has."""
        return {"patch": self.patch_size, "merge": self.merge_size, "min": self.min_pixels, "max": self.max_pixels}

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels; -1 where the aspect ratio is above 200."""
        new_widths, new_heights = self.fit_all(widths, heights)
        is_fine = new_widths > 0
        patches = (new_widths // self.patch_size) * (new_heights // self.patch_size)
        tokens = patches // self.merge_size**2 + 2
        return np.where(is_fine, tokens, -1), np.where(is_fine, patches, -1)

    def bounds(self, settings: Mapping[str, Any]) -> tuple[float, float]:
        """Least and most pixels of an image as the processor reads them: `min_pixels`, `max_pixels` win over `size`."""
        size, (least, most) = settings.get("size") or {}, self.default_bounds
        return (
            settings.get("min_pixels") or size.get("shortest_edge") or least,
            settings.get("max_pixels") or size.get("longest_edge") or most,
        )

    def fit(self, width: int, height: int) -> Size | None:
        """The size in pixels to which an image is resized; None where it is refused."""
        return smart_size(width, height, self._rule)

    def fit_all(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """`fit` of many images; -1 where it gives None."""
        return smart_sizes(widths, heights, self._rule)

    @property
    def block_side(self) -> int:
        """Patches along a side of the blocks in which patches follow each other."""
        return self.merge_size

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image of this size is resized."""
        size = self.fit(width, height)
        if size is None:
            raise FamilyError(f"{self.name} refuses an image of {width}x{height} pixels: an aspect ratio above 200")
        return size

    def image_ids(self, width: int, height: int) -> Ints:
        """The block of one image: start, one id a merged patch, end; int64."""
        columns, rows = self._grid(width, height)
        ids = np.full(columns * rows + 2, self.image_id, dtype=np.int64)
        ids[0], ids[-1] = self._start_id, self._end_id
        return ids

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Position ids of ONE document, int64 (4, L): text, time, height, width."""
        grids = [self._grid(width, height) for width, height in image_sizes]
        return mrope_positions(input_ids == self.image_id, grids)

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> dict[str, NDArray[Any]]:
        """`mm_token_type_ids` int64 (B, L): 1 for placeholders, from which the model makes M-RoPE positions."""
        return {"mm_token_type_ids": (input_ids == self.image_id).astype(np.int64)}

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (N, 3 * patch_size**2), each patch (row, column, channel); image_grid_thw int64 (K, 3)."""
        from wdstream.pixels.patches import patchify
        from wdstream.pixels.render import resize

        sizes = [self.resized(tile.shape[1], tile.shape[0]) for tile in tiles]
        grids = [(1, height // self.patch_size, width // self.patch_size) for width, height in sizes]
        ends = np.cumsum([0, *(rows * columns for _, rows, columns in grids)]).tolist()
        patches = np.empty((ends[-1], CHANNELS * self.patch_size**2), dtype=np.uint8)
        for tile, size, start, end in zip(tiles, sizes, ends, ends[1:], strict=False):
            fitted = tile if (tile.shape[1], tile.shape[0]) == size else resize(tile, size, self.resample)
            patchify(fitted, patch_size=self.patch_size, merge_size=self.block_side, out=patches[start:end])
        return {"pixel_values": patches, "image_grid_thw": np.array(grids, dtype=np.int64).reshape(-1, 3)}

    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Patches and grids of all parts below each other; a single part is passed on without a copy."""
        if len(parts) == 1:
            return dict(parts[0])
        return {key: np.concatenate([part[key] for part in parts]) for key in ("pixel_values", "image_grid_thw")}

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`; a batch without images has no pixel arguments."""
        from wdstream.pixels.normalise import normalise_patches

        inputs = text_inputs(batch, device)
        if len(batch["image_grid_thw"]):
            patches = batch["pixel_values"].to(device, non_blocking=True)
            inputs["image_grid_thw"] = batch["image_grid_thw"].to(device, non_blocking=True)
            inputs["pixel_values"] = normalise_patches(
                patches,
                mean=self.mean,
                std=self.std,
                temporal_patch_size=self.temporal_patch_size,
                dtype=dtype,
                is_interleaved=True,
            )
        return inputs

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """(columns, rows) of merged patches of an image of this size."""
        new_width, new_height = self.resized(width, height)
        return new_width // self.size_multiple, new_height // self.size_multiple


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
