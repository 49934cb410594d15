"""Images that keep their shape: resized by a rule, cut into patches, a token for each block of merged patches.

ResizedImages = size rule (resize_rules.py) + block of tokens (images.py) + layout of pixels (here)

PatchRows       pixel_values uint8 (N, 3 * P**2), the patches of all images below each other, and their grids
PaddedImages    pixel_values uint8 (K, 3, H, W), padded at the right and bottom to the largest, and their sizes
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.families.shared.images import BatchMapping, Inputs, Layout, ProcessorSettings, TokenBlock, join_arrays
from wdstream.families.shared.model_folder import Json, ModelFolder
from wdstream.families.shared.resize_rules import EnlargeThin, ShrunkSize, SmartSize
from wdstream.records import CHANNELS, Ints, Pixels, Size

if TYPE_CHECKING:
    import torch


class SizeRule(Protocol):
    """The size to which an image is resized, in pixels; frozen and hashable, since sizes repeat and are remembered."""

    @property
    def min_pixels(self) -> float:
        """Smallest area to which an image is resized."""

    @property
    def max_pixels(self) -> float:
        """Largest area to which an image is resized."""

    @property
    def refuses(self) -> str:
        """Why an image is refused, for messages."""

    def __hash__(self) -> int:
        """By its settings."""

    def sizes(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(widths, heights) after resizing, int64 of the same shape; -1 where an image is refused."""


class PixelLayout(Protocol):
    """How resized images go into arrays, and from there to the model."""

    @property
    def settings(self) -> ProcessorSettings:
        """How pixels are resized and normalised."""

    def layout(self, tiles: Sequence[Pixels], sizes: Sequence[Size]) -> Layout:
        """The arrays of images that are resized to these (width, height)."""

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Join the arrays of several `layout` calls."""

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Keyword arguments of the model for a batch with images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedImages:
    """The `ImageRules` of families whose images keep their shape.

    Attributes:
        family: its name, for messages.
        rule: the size of an image.
        patch_size: P, pixels of a patch's side.
        size_multiple: pixels along a side of the block of patches that one token stands for.
        block: the ids of an image.
        layouts: how pixels go into arrays.
        rules: `length_rules`.
        max_tile_side: pixels, see `ImageRules`.
    """

    family: str
    rule: SizeRule
    patch_size: int
    size_multiple: int
    block: TokenBlock
    layouts: PixelLayout
    rules: Mapping[str, object]
    max_tile_side: int | None = None

    @property
    def is_splitting(self) -> bool:
        """False: such images are never split."""
        return False

    @property
    def min_pixels(self) -> int:
        """Whole pixels of the smallest area."""
        return math.ceil(self.rule.min_pixels)

    @property
    def max_pixels(self) -> int:
        """Whole pixels of the largest area."""
        return int(self.rule.max_pixels)

    @property
    def pixels(self) -> ProcessorSettings:
        """How pixels are resized and normalised."""
        return self.layouts.settings

    def whole(self) -> Self:
        """The same rules: these processors never split an image."""
        return self

    def length_rules(self) -> Mapping[str, object]:
        """All settings that decide how many tokens and patches an image has."""
        return self.rules

    def cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes in pixels; -1 where the rule refuses them."""
        wide, high = self.rule.sizes(widths, heights)
        is_fine = wide > 0
        tokens = self.block.count(wide // self.size_multiple, high // self.size_multiple)
        patches = (wide // self.patch_size) * (high // self.patch_size)
        return np.where(is_fine, tokens, -1), np.where(is_fine, patches, -1)

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels to which an image is resized.

        Raises:
            FamilyError: the rule refuses it.
        """
        size = one_size(self.rule, width, height)
        if size is None:
            raise FamilyError(f"{self.family} refuses an image of {width}x{height} pixels: {self.rule.refuses}")
        return size

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """(columns, rows) of the merged patches of an image."""
        wide, high = self.resized(width, height)
        return wide // self.size_multiple, high // self.size_multiple

    def ids(self, width: int, height: int) -> Ints:
        """The block of one image; int64."""
        return self.block.ids(*self.grid(width, height))

    def layout(self, tiles: Sequence[Pixels]) -> Layout:
        """Resize images and lay them out, uint8."""
        return self.layouts.layout(tiles, [self.resized(tile.shape[1], tile.shape[0]) for tile in tiles])

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Join the arrays of several `layout` calls."""
        return self.layouts.collate(parts)

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Keyword arguments of the model for a batch with images."""
        return self.layouts.inputs(batch, device=device, dtype=dtype)


@lru_cache(maxsize=1 << 14)
def one_size(rule: SizeRule, width: int, height: int) -> Size | None:
    """The (width, height) to which a rule resizes one image; None where it refuses it."""
    wide, high = rule.sizes(np.array([width], dtype=np.int64), np.array([height], dtype=np.int64))
    return None if wide[0] < 0 else (int(wide[0]), int(high[0]))


def cut_patches(
    tiles: Sequence[Pixels], sizes: Sequence[Size], *, patch_size: int, block_side: int, resample: str
) -> NDArray[np.uint8]:
    """Images resized to these (width, height) and cut, uint8 (N, 3 * P**2), each patch (row, column, channel).

    Patches follow each other block by block of `block_side` x `block_side`, blocks row by row.
    """
    from wdstream.pixels.patches import patchify
    from wdstream.pixels.render import resize

    ends = np.cumsum([0, *((wide // patch_size) * (high // patch_size) for wide, high in sizes)]).tolist()
    patches = np.empty((ends[-1], CHANNELS * patch_size**2), dtype=np.uint8)
    for tile, size, start, end in zip(tiles, sizes, ends, ends[1:], strict=False):
        fitted = resize(tile, size, resample)
        patchify(fitted, patch_size=patch_size, merge_size=block_side, out=patches[start:end])
    return patches


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRows:
    """One flat list of patches and `image_grid_thw`, as the Qwen-VL line takes them.

    Attributes:
        settings: resize and normalisation.
        patch_size: P.
        block_side: patches along a side of the blocks in which patches follow each other; 1: row by row.
        temporal_patch_size: frames of a patch; a still image is repeated on the device.
        are_images: whether the model takes each patch as an image of its own, (N, 3, P, P).
    """

    settings: ProcessorSettings
    patch_size: int
    block_side: int
    temporal_patch_size: int
    are_images: bool = False

    def layout(self, tiles: Sequence[Pixels], sizes: Sequence[Size]) -> Layout:
        """pixel_values uint8 (N, 3 * P**2); image_grid_thw int64 (K, 3), (1, rows, columns) of patches."""
        side = self.patch_size
        patches = cut_patches(
            tiles, sizes, patch_size=side, block_side=self.block_side, resample=self.settings.resample
        )
        grids = np.array([(1, high // side, wide // side) for wide, high in sizes], dtype=np.int64).reshape(-1, 3)
        return {"pixel_values": patches, "image_grid_thw": grids}

    collate = staticmethod(join_arrays)
    """Patches and grids of all parts below each other."""

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Normalised patches with their temporal copies, and their grids."""
        patches = self.settings.normalised(
            batch["pixel_values"], device=device, dtype=dtype, copies=self.temporal_patch_size, is_interleaved=True
        )
        if self.are_images:
            patches = patches.view(-1, CHANNELS, self.patch_size, self.patch_size)
        return {"pixel_values": patches, "image_grid_thw": batch["image_grid_thw"].to(device, non_blocking=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedImages:
    """Images on canvases of one size, and `image_sizes`, which say how much of each canvas is image."""

    settings: ProcessorSettings

    def layout(self, tiles: Sequence[Pixels], sizes: Sequence[Size]) -> Layout:
        """pixel_values uint8 (K, 3, H, W), H and W the largest of all; image_sizes int64 (K, 2), (height, width)."""
        from wdstream.pixels.render import resize

        widest, highest = (max((size[axis] for size in sizes), default=0) for axis in (0, 1))
        pixels = np.zeros((len(tiles), CHANNELS, highest, widest), dtype=np.uint8)
        for canvas, tile, (width, height) in zip(pixels, tiles, sizes, strict=True):
            canvas[:, :height, :width] = resize(tile, (width, height), self.settings.resample).transpose(2, 0, 1)
        image_sizes = np.array([(height, width) for width, height in sizes], dtype=np.int64).reshape(-1, 2)
        return {"pixel_values": pixels, "image_sizes": image_sizes}

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Images of all parts below each other, padded to the largest."""
        if len(parts) == 1:
            return dict(parts[0])
        images = [part["pixel_values"] for part in parts]
        highest, widest = (max(part.shape[axis] for part in images) for axis in (2, 3))
        # uint8, or floats of the model's own processor (families/reference/pixels.py)
        pixels = np.zeros((sum(map(len, images)), CHANNELS, highest, widest), dtype=images[0].dtype)
        start = 0
        for part in images:
            pixels[start : start + len(part), :, : part.shape[2], : part.shape[3]] = part
            start += len(part)
        return {"pixel_values": pixels, "image_sizes": np.concatenate([part["image_sizes"] for part in parts])}

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Normalised canvases, and the sizes of the images on them."""
        pixels = self.settings.normalised(batch["pixel_values"], device=device, dtype=dtype)
        return {
            "pixel_values": pixels.view(batch["pixel_values"].shape),
            "image_sizes": batch["image_sizes"].to(device, non_blocking=True),
        }


def read_merged_patches(
    folder: ModelFolder,
    *,
    family: str,
    block: TokenBlock,
    bounds: tuple[float, float],
    temporal_patch_size: int = 2,
    enlarge_thin: EnlargeThin | None = None,
    is_row_by_row: bool = False,
) -> ResizedImages:
    """The images of the Qwen-VL line: `SmartSize`, merged patches, `PatchRows`, as the image processor's settings say.

    Args:
        folder: whose settings are read.
        family: its name, for messages.
        block: the ids of an image.
        bounds: least and most pixels of an image.
        temporal_patch_size: frames of a patch where the settings say nothing.
        enlarge_thin: what is done to thin images first.
        is_row_by_row: whether patches follow each other row by row, each an image of its own to the model, not in the
            blocks that are merged.

    Raises:
        FamilyError: image processor and vision tower mean other patches, or a step of the processor is off.
    """
    settings = folder.image_settings
    patch, merge = int(settings.get("patch_size", 14)), int(settings.get("merge_size", 2))
    temporal = int(settings.get("temporal_patch_size", temporal_patch_size))
    require_same_patches(folder, {"patch_size": patch, "spatial_merge_size": merge, "temporal_patch_size": temporal})
    rule = SmartSize(factor=patch * merge, min_pixels=bounds[0], max_pixels=bounds[1], enlarge_thin=enlarge_thin)
    layout = PatchRows(
        settings=ProcessorSettings.read(folder),
        patch_size=patch,
        block_side=1 if is_row_by_row else merge,
        temporal_patch_size=temporal,
        are_images=is_row_by_row,
    )
    rules = {"patch": patch, "merge": merge, "min": math.ceil(rule.min_pixels), "max": int(rule.max_pixels)}
    return ResizedImages(
        family=family,
        rule=rule,
        patch_size=patch,
        size_multiple=patch * merge,
        block=block,
        layouts=layout,
        rules=rules,
    )


def padded_images(
    folder: ModelFolder, *, family: str, block: TokenBlock, patch_size: int, merge_size: int, multiple: int
) -> ResizedImages:
    """The images of a Pixtral tower: `ShrunkSize` and `PaddedImages`.

    Args:
        folder: whose image processor's settings are read.
        family: its name, for messages.
        block: the ids of an image.
        patch_size, merge_size: of the tower.
        multiple: pixels to whose multiples the image processor rounds sides up.

    Raises:
        FamilyError: the settings bound images otherwise than by their longer side.
    """
    size = folder.image_settings.get("size") or {"longest_edge": 1024}
    if not size.get("longest_edge"):
        raise FamilyError(
            f"{folder.path}: the image processor's settings have size {size}; wdstream knows {family} with "
            "size.longest_edge; take the preprocessor_config.json that belongs to the model"
        )
    longest = int(size["longest_edge"])
    return ResizedImages(
        family=family,
        rule=ShrunkSize(longest_edge=longest, multiple=multiple, least=patch_size * merge_size),
        patch_size=patch_size,
        size_multiple=patch_size * merge_size,
        block=block,
        layouts=PaddedImages(settings=ProcessorSettings.read(folder)),
        rules={"multiples": [patch_size, merge_size, multiple], "longest_edge": longest},
        max_tile_side=longest,
    )


_BOUNDS = {"min_pixels", "max_pixels"}


def area_bounds(settings: Json, default: tuple[int, int]) -> tuple[float, float]:
    """Least and most pixels of an image, as Qwen's processors read them: `min_pixels`, `max_pixels` before `size`.

    Raises:
        FamilyError: the settings bound images otherwise, or leave no size that is possible.
    """
    size = settings.get("size") or {}
    if size.keys() == _BOUNDS and all(settings.get(key) for key in _BOUNDS):
        size = {}  # what transformers before 4.49 saved: the same bounds once more, which do not count
    if size and not (size.get("shortest_edge") or size.get("longest_edge")):
        raise FamilyError(
            f"the image processor's settings have size {size}; wdstream knows shortest_edge and longest_edge there, "
            "the least and the most pixels of an image; take the preprocessor_config.json that belongs to the model"
        )
    least = settings.get("min_pixels") or size.get("shortest_edge") or default[0]
    most = settings.get("max_pixels") or size.get("longest_edge") or default[1]
    if least > most:
        raise FamilyError(
            f"the image processor's settings want images of at least {least} pixels, and at most {most}; take the "
            "preprocessor_config.json that belongs to the model"
        )
    return least, most


def require_same_patches(folder: ModelFolder, found: Mapping[str, int]) -> None:
    """The image processor and the vision tower must mean the same patches.

    Args:
        folder: of the family.
        found: sizes of the image processor, by their keys in vision_config.

    Raises:
        FamilyError: names the setting.
    """
    vision = folder.vision_config
    for key, size in found.items():
        if vision.get(key, size) != size:
            raise FamilyError(
                f"{folder.path}: {key} is {vision[key]} in config.json (vision_config) and {size} in the image "
                "processor's settings; take the preprocessor_config.json that belongs to the model"
            )
