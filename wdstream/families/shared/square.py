"""Families whose vision tower takes images of one square size: every tile is one canvas and one constant block of ids.

    layout: pixel_values uint8 (K, 3, S, S)        cost: the same tokens and patches for an image of any size

Their processors cut large images themselves (image splitting, crops to patches, pan and scan). wdstream cuts pages by
its own policy, where a tile keeps its place and its label, so the processor's own cutting is off: a tile is one canvas.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.base import Arrays, Family
from wdstream.families.shared.inputs import RESAMPLES, text_inputs
from wdstream.families.shared.language import language_shape, narrowed_text
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.plan.cost import training_flops
from wdstream.records import Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

CHANNELS = 3
HALF = (0.5, 0.5, 0.5)


class SquareTiles(Family):
    """Base of these families.

    Attributes:
        side: S, pixels of the canvas.
        patch_size: pixels of a patch's side.
        tokens_per_image: placeholders of one image.
        image_id: id of a placeholder.
        mean, std: of the normalisation, per channel, for pixels in [0, 1].
        resample: filter of the resize.
    """

    placeholder: ClassVar[str]
    """The token that stands for one feature of an image."""
    placeholder_key: ClassVar[str]
    """Key of config.json with its id."""
    default_side: ClassVar[int]
    """Side of the canvas where the image processor's settings give none."""
    vision_defaults: ClassVar[Mapping[str, Any]]
    """Sizes of the tower that config.json may leave to the defaults of its transformers class."""
    default_mean: ClassVar[tuple[float, ...]] = HALF
    default_std: ClassVar[tuple[float, ...]] = HALF
    default_resample: ClassVar[int] = 3

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        vision, settings = self.vision_settings(folder), folder.image_settings
        self.side = self.canvas_side(folder)
        self.patch_size = first(vision["patch_size"])
        if first(vision["image_size"]) != self.side:  # no multiple of the patches in every model: the rest is not seen
            raise FamilyError(
                f"{self.model_dir}: the image processor makes images of {self.side} pixels, the vision tower wants "
                f"{first(vision['image_size'])}; take the settings of one checkpoint"
            )
        self.image_id = self.require_token(self.placeholder, folder.config.get(self.placeholder_key))
        self.tokens_per_image = self.count_placeholders(folder)
        self.size_multiple = self.max_tile_side = self.side
        self.min_pixels = self.max_pixels = self.side**2  # so the adaptive policy cuts tiles of one square each
        self.mean = tuple(float(value) for value in settings.get("image_mean") or self.default_mean)
        self.std = tuple(float(value) for value in settings.get("image_std") or self.default_std)
        self.resample = RESAMPLES.get(settings.get("resample", self.default_resample), "bicubic")
        self._block = self.image_block()
        self.cost = training_flops(**language_shape(folder, self.text_defaults), **tower_shape(vision, side=self.side))

    def vision_settings(self, folder: ModelFolder) -> Mapping[str, Any]:
        """vision_config over the defaults of its transformers class."""
        return {**self.vision_defaults, **folder.vision_config}

    def canvas_side(self, folder: ModelFolder) -> int:
        """Pixels of the canvas, as the image processor's settings give it: `size`."""
        return square_side(folder.image_settings, self.default_side)

    @abstractmethod
    def count_placeholders(self, folder: ModelFolder) -> int:
        """Placeholders of one image."""

    @abstractmethod
    def image_block(self) -> Ints:
        """Ids of one image, those around it included; int64."""

    @property
    def patches_per_image(self) -> int:
        """Vision patches of one image."""
        return (self.side // self.patch_size) ** 2

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has."""
        return {"side": self.side, "patch": self.patch_size, "block": self._block.tolist()}

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches), the same for all sizes of at least one pixel."""
        is_fine = (widths > 0) & (heights > 0)
        tokens = np.where(is_fine, len(self._block), -1).astype(np.int64)
        return tokens, np.where(is_fine, self.patches_per_image, -1).astype(np.int64)

    def resized(self, width: int, height: int) -> Size:
        """(side, side)."""
        return self.side, self.side

    def image_ids(self, width: int, height: int) -> Ints:
        """The block of one image; int64."""
        return self._block

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (K, 3, S, S)."""
        pixels = np.empty((len(tiles), CHANNELS, self.side, self.side), dtype=np.uint8)
        for place, tile in enumerate(tiles):
            pixels[place] = self.fitted(tile).transpose(2, 0, 1)
        return {"pixel_values": pixels}

    def fitted(self, tile: Pixels) -> Pixels:
        """A tile on the canvas, uint8 (S, S, 3): stretched, as these processors do."""
        from wdstream.pixels.render import resize

        return resize(tile, (self.side, self.side), self.resample)

    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Images of all parts below each other; a single part is passed on without a copy."""
        if len(parts) == 1:
            return dict(parts[0])
        return {"pixel_values": np.concatenate([part["pixel_values"] for part in parts])}

    def model_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments of `model.forward`; a batch without images has no pixel arguments."""
        from wdstream.pixels.normalise import normalise_patches

        inputs = text_inputs(batch, device)
        inputs.update(self.mask_inputs(batch, device=device, dtype=dtype))
        pixels = batch["pixel_values"].to(device, non_blocking=True)
        if len(pixels):
            flat = normalise_patches(
                pixels.flatten(1), mean=self.mean, std=self.std, temporal_patch_size=1, dtype=dtype
            )
            inputs.update(self.pixel_inputs(flat.view(pixels.shape)))
        return inputs

    def pixel_inputs(self, pixels: "torch.Tensor") -> dict[str, Any]:
        """Keyword arguments that carry the normalised images (K, 3, S, S)."""
        return {"pixel_values": pixels}

    def mask_inputs(
        self, batch: Mapping[str, Any], *, device: "torch.device | str", dtype: "torch.dtype"
    ) -> dict[str, Any]:
        """Keyword arguments made of `attention_arrays`; none for causal families."""
        return {}

    def narrowed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Two layers in each tower, two heads in the language model; canvas and patches as they are."""
        vision = {**config["vision_config"], "num_hidden_layers": 2}
        return {**config, "text_config": narrowed_text(config["text_config"]), "vision_config": vision}


def first(value: Any) -> int:
    """A size that settings give as a number or as a pair of equal numbers."""
    return int(value[0] if isinstance(value, list | tuple) else value)


def square_side(settings: Mapping[str, Any], default: int) -> int:
    """The side of `size` in an image processor's settings: {height, width}, or {shortest_edge} or {longest_edge}."""
    size = settings.get("size") or {}
    sides = {int(size[key]) for key in ("height", "width", "shortest_edge", "longest_edge") if size.get(key)}
    if len(sides) > 1:
        raise FamilyError(f"the image processor's size {size} is not square; wdstream knows square canvases here")
    return sides.pop() if sides else default


def tower_shape(vision: Mapping[str, Any], *, side: int) -> dict[str, int]:
    """The vision part of `plan.cost.training_flops` of a plain vision transformer: two linear layers in each MLP."""
    width, layers, patch = vision["hidden_size"], vision["num_hidden_layers"], first(vision["patch_size"])
    block = 4 * width * width + 2 * width * vision["intermediate_size"]
    return {
        "vision_parameters": CHANNELS * patch * patch * width + layers * block,
        "vision_layers": layers,
        "vision_width": width,
    }
