"""Gemma 4: images of any shape within a budget of patches; in the larger models they see both ways in some layers.

    <|image> <|image|> x (blocks of 3 x 3 patches) <image|>

An image is resized by families/shared/resize_rules.py. `pixel_values` holds the patches of all images of a batch
below each
other, `image_grids` how many columns and rows of them each image has; only on the device are images padded to the
longest, with positions of -1.

Models with `use_bidirectional_attention: vision` get their masks from families/shared/masks4d.py: images see both
ways in
layers with a sliding window, while layers over the whole document are causal. The smaller models are causal throughout,
and positions are enough. Pixels go in as 0 to 1; the tower centres them itself.

Gemma 4's images: padded to one another on the device, and what the tower costs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Arrays, Family
from wdstream.families.shared.inputs import RESAMPLES, text_inputs
from wdstream.families.shared.language import language_shape, narrowed_text
from wdstream.families.shared.masks4d import MaskedFamily, visible
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.resize_rules import BudgetRule, budget_size, budget_sizes
from wdstream.plan.cost import training_flops
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch
CHANNELS = 3
NO_POSITION = -1

VISION_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "head_dim": 64,
    "patch_size": 16,
    "pooling_kernel_size": 3,
}
"""Of `Gemma4VisionConfig`."""


def padded_images(
    patches: "torch.Tensor", grids: "torch.Tensor", *, device: "torch.device | str", dtype: "torch.dtype"
) -> dict[str, "torch.Tensor"]:
    """Keyword arguments of the model, each image padded to the longest; the padding is made on the device.

    Args:
        patches: uint8 (N, P * P * 3) of K images below each other, on the host.
        grids: int64 (K, 2), columns and rows of patches of each image, on the host.
        device: to move to.
        dtype: of the pixels, 0 to 1.

    Returns:
        pixel_values `dtype` (K, longest, P * P * 3) and image_position_ids int64 (K, longest, 2): column and row of a
        patch, -1 where there is none.
    """
    import torch

    from wdstream.pixels.normalise import normalise_patches

    counts = grids.prod(dim=1)  # on the host: reading the longest from a device would wait for it
    longest = int(counts.max())
    places = torch.arange(longest)
    is_real = places < counts[:, None]
    columns = grids[:, :1]
    positions = torch.stack([places % columns, places // columns], dim=-1)
    positions = torch.where(is_real[..., None], positions, NO_POSITION)
    targets = torch.nonzero(is_real.flatten()).flatten()
    moved = patches.to(device, non_blocking=True)
    flat = normalise_patches(moved, mean=(0.0,), std=(1.0,), temporal_patch_size=1, dtype=dtype)
    pixels = torch.zeros((len(grids) * longest, patches.shape[1]), dtype=dtype, device=device)
    pixels.index_copy_(0, targets.to(device, non_blocking=True), flat)
    return {
        "pixel_values": pixels.view(len(grids), longest, -1),
        "image_position_ids": positions.to(device, non_blocking=True),
    }


def tower_shape(vision: Mapping[str, Any]) -> dict[str, int]:
    """The vision part of `plan.cost.training_flops`: grouped queries and gated MLPs, attention over the whole image."""
    width, layers = vision["hidden_size"], vision["num_hidden_layers"]
    heads, key_heads, head_size = (vision[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    block = 2 * width * head_size * (heads + key_heads) + 3 * width * vision["intermediate_size"]
    embed = CHANNELS * vision["patch_size"] ** 2 * width
    return {
        "vision_parameters": embed + layers * block,
        "vision_layers": layers,
        "vision_width": heads * head_size,
    }


class Gemma4(Family):
    """Gemma 4 (`Gemma4ForConditionalGeneration`), the causal models.

    Attributes:
        patch_size: pixels of a patch's side; a token stands for `pooling`**2 patches.
        image_id: id of a placeholder.
        mean, std: of the normalisation: none.
        resample: filter of the resize.
        sliding_window: tokens that a layer with a window sees.
    """

    name: ClassVar[str] = "gemma4"
    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<|image>", "<|image|>", "<image|>", "<|video|>", "<|audio>", "<|audio|>", "<audio|>"),
        *("<|turn>", "<turn|>", "<bos>", "<eos>", "<pad>"),
    )
    attention: ClassVar[tuple[str, ...]] = ("sdpa", "eager", "flex_attention")
    attention_reason: ClassVar[str] = (
        "the heads of its layers over the whole document are wider than the kernels of flash attention take"
    )
    processor_class: ClassVar[str] = "Gemma4Processor"
    image_prompt: ClassVar[str] = "<|image|>"
    text_defaults: ClassVar[Mapping[str, Any]] = {
        "vocab_size": 262144,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
    }

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        config, settings = folder.config, folder.image_settings
        vision = {**VISION_DEFAULTS, **folder.vision_config}
        self.image_id = self.require_token("<|image|>", config.get("image_token_id"))
        self._start_id = self.require_token("<|image>", config.get("boi_token_id"))
        self._end_id = self.require_token("<image|>", config.get("eoi_token_id"))
        self.patch_size = int(settings.get("patch_size", 16))
        self.pooling = int(settings.get("pooling_kernel_size", 3))
        if (vision["patch_size"], vision["pooling_kernel_size"]) != (self.patch_size, self.pooling):
            raise FamilyError(
                f"{self.model_dir}: patch_size and pooling_kernel_size are {vision['patch_size']} and "
                f"{vision['pooling_kernel_size']} in config.json (vision_config), {self.patch_size} and {self.pooling} "
                "in the image processor's settings; take the settings of one checkpoint"
            )
        if settings.get("do_normalize"):
            raise FamilyError(
                f"{self.model_dir}: the image processor's settings switch do_normalize on; remove the key"
            )
        self.size_multiple = self.patch_size * self.pooling
        self._rule = BudgetRule(factor=self.size_multiple, max_blocks=int(settings.get("max_soft_tokens", 280)))
        self.min_pixels, self.max_pixels = self.size_multiple**2, self._rule.max_pixels
        self.mean, self.std = (0.0,) * CHANNELS, (1.0,) * CHANNELS
        self.resample = RESAMPLES.get(settings.get("resample", 3), "bicubic")
        self.sliding_window = int(folder.text_config.get("sliding_window", 512))
        self.cost = training_flops(**language_shape(folder, self.text_defaults), **tower_shape(vision))

    @classmethod
    def load(cls, folder: ModelFolder) -> Self:
        """The family as this checkpoint attends.

        Raises:
            FamilyError: also for a model whose text sees both ways, which is no decoder.
        """
        kind = folder.text_config.get("use_bidirectional_attention")
        if kind not in (None, "vision"):
            raise FamilyError(
                f"{folder.path}: use_bidirectional_attention is '{kind}' in config.json: such a model sees the "
                "text that it should learn; wdstream trains models with 'vision' or null"
            )
        return cast(Self, (Gemma4Vision if kind == "vision" else cls)(folder))

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has."""
        return {"patch": self.patch_size, "pooling": self.pooling, "blocks": self._rule.max_blocks}

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels; -1 where a side is 0."""
        wide, high = budget_sizes(widths, heights, self._rule)
        blocks = (wide // self.size_multiple) * (high // self.size_multiple)
        is_fine = wide > 0
        return np.where(is_fine, blocks + 2, -1), np.where(is_fine, blocks * self.pooling**2, -1)

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image of this size is resized."""
        size = budget_size(width, height, self._rule)
        if size is None:
            raise FamilyError(f"{self.name} refuses an image of {width}x{height} pixels: it is empty")
        return size

    def image_ids(self, width: int, height: int) -> Ints:
        """The block of one image: start, one id a block of patches, end; int64."""
        wide, high = self.resized(width, height)
        ids = np.full(wide * high // self.size_multiple**2 + 2, self.image_id, dtype=np.int64)
        ids[0], ids[-1] = self._start_id, self._end_id
        return ids

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (N, 3 * patch_size**2); image_grids int64 (K, 2), columns and rows of patches."""
        from wdstream.pixels.patches import patchify
        from wdstream.pixels.render import resize

        side = self.patch_size
        sizes = [self.resized(tile.shape[1], tile.shape[0]) for tile in tiles]
        grids = np.array([(wide // side, high // side) for wide, high in sizes], dtype=np.int64).reshape(-1, 2)
        ends = np.cumsum([0, *grids.prod(axis=1).tolist()]).tolist()
        patches = np.empty((ends[-1], CHANNELS * side**2), dtype=np.uint8)
        for tile, size, start, end in zip(tiles, sizes, ends, ends[1:], strict=False):
            fitted = tile if (tile.shape[1], tile.shape[0]) == size else resize(tile, size, self.resample)
            patchify(fitted, patch_size=side, merge_size=1, out=patches[start:end])
        return {"pixel_values": patches, "image_grids": grids}

    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Patches and grids of all parts below each other; a single part is passed on without a copy."""
        if len(parts) == 1:
            return dict(parts[0])
        return {key: np.concatenate([part[key] for part in parts]) for key in ("pixel_values", "image_grids")}

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`; a batch without images has no pixel arguments."""
        inputs = text_inputs(batch, device)
        inputs.update(self.mask_inputs(batch, device=device, dtype=dtype))
        if len(batch["image_grids"]):
            inputs.update(padded_images(batch["pixel_values"], batch["image_grids"], device=device, dtype=dtype))
        return inputs

    def mask_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """None: positions are enough for a causal model."""
        return {}

    def prompt_arrays(self, input_ids: Ints, labels: Ints) -> dict[str, NDArray[Any]]:
        """`mm_token_type_ids` int64 (B, L): 1 for placeholders, from which the model makes masks."""
        return {"mm_token_type_ids": (input_ids == self.image_id).astype(np.int64)}

    def processor_settings(self) -> Mapping[str, Any]:
        """The processor's parts for sound and video, which stay out."""
        return {"feature_extractor": None, "video_processor": None}

    def processor_pixels(self, found: NDArray[Any], own: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Its images are padded, (K, longest, 3 * patch_size**2)."""
        counts = own["image_grids"].prod(axis=1).tolist()
        return np.concatenate([image[:count] for image, count in zip(found, counts, strict=True)])

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers in each tower, two heads in the language model, no sound."""
        text = narrowed_text(config["text_config"])
        vision = {**config["vision_config"], "num_hidden_layers": 2}
        return {**config, "text_config": text, "vision_config": vision, "audio_config": None}


class Gemma4Vision(MaskedFamily, Gemma4):
    """Gemma 4 models with `use_bidirectional_attention: vision`."""

    def mask_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """`attention_mask`: {"full_attention", "sliding_attention"}, each (B, 1, L, L), made on the device."""
        sliding = visible(batch, device, window=self.sliding_window)
        return self.layer_masks(visible(batch, device, has_blocks=False), sliding=sliding, dtype=dtype)
