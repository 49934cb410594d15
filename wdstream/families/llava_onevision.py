"""LLaVA-OneVision: a tile is one square, as the model takes each of several images; a whole image is split "anyres".

    a tile         <image> x (g * g + 1)                                g x g patches, and a learned newline
    a whole image  <image> x (g * g + columns * rows + rows)            one square of all, then the features of the grid

A tile is padded to a square in the mean colour and resized. The model splits an image that is alone in its sample and
leaves those of a sample with several whole; wdstream decides by the tiling policy instead (`for_whole_images`), because
the length of an image must not depend on what else its page holds.

A whole image is resized to fit the best of `image_grid_pinpoints` and padded in black on both sides. The model drops
the features of the padding again, ends each row of features with the newline, and shrinks what is more than
`anyres_max_N` squares of them. The rules are `select_best_resolution` and `get_patch_output_size` of
transformers/image_processing_utils.py and `_get_unpadded_features` of its processing_llava_onevision.py, vectorised;
float64 operations are theirs, one by one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.shared.images import BatchMapping, Inputs, Layout, MarkedBlock, ProcessorSettings
from wdstream.families.shared.model_folder import ModelFolder, language_shape, tower_defaults, tower_shape
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.families.shared.squares import (
    Grid,
    Squares,
    SquareTower,
    cost_by_square,
    cut,
    square_side,
    stretched,
)
from wdstream.plan.deal import training_flops
from wdstream.records import CHANNELS, Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

LEAST_IMAGES = 2
"""Images of a sample that the model leaves whole; one that is alone it splits."""
_SIDES = range(384, 2305, 384)
SHRINK_ABOVE = 1.1
"""Features are shrunk when their sides would be longer than wanted by more than this factor."""
_VISION = tower_defaults(width=1152, mlp=4304, layers=26, image_size=384, patch_size=14)
"""What config.json may leave to the defaults of its transformers class."""


class LlavaOnevision(Family):
    """The family of LLaVA-OneVision: `LlavaOnevisionForConditionalGeneration` of transformers."""

    structural_tokens: ClassVar[tuple[str, ...]] = (
        *("<image>", "<video>"),
        *("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    )
    image_prompt: ClassVar[str] = "<image>"
    processor_class = "LlavaOnevisionProcessor"

    def __init__(self, folder: ModelFolder, name: str) -> None:
        super().__init__(folder, name)
        strategy = folder.config.get("vision_feature_select_strategy", "full")
        if strategy != "full":  # the model would drop the first feature of each square, which leaves no grid
            raise FamilyError(
                f"{folder.path}: config.json has vision_feature_select_strategy '{strategy}', wdstream knows "
                f"{name} with 'full'; use another model of the family"
            )
        self.image_id = self.require_token("<image>", folder.config.get("image_token_index"))
        block = MarkedBlock(image_id=self.image_id)
        tower = SquareTower.read(folder, _VISION, side=square_side(folder.image_settings, 384))
        pixels = ProcessorSettings.read(folder)
        self.splitting = AnyresGrid.read(folder, tower, block=block, resample=pixels.resample)
        self.images = OnevisionSquares(tower, block.ids(tower.num_patches + 1), pixels, self.splitting)
        cost = training_flops(**language_shape(folder), **tower_shape(tower.vision))
        self.cost = cost_by_square(cost, tower.num_patches)

    def processor_rules(self) -> ProcessorRules:
        """The processor needs the number of features that the tower gives, and how many of the grid are kept.

        A nested list is of images of one sample, a flat one of images that are each alone in their sample.
        """
        return ProcessorRules(
            settings={
                "num_image_tokens": self.splitting.across**2,
                "vision_feature_select_strategy": "full",
                "vision_aspect_ratio": f"anyres_max_{self.splitting.max_squares}",
            },
            least_images=1 if self.is_splitting else LEAST_IMAGES,
            nests_images=not self.is_splitting,
        )


class OnevisionSquares(Squares):
    """Squares of which the model has to know which images they are of."""

    def fitted(self, tile: Pixels) -> Pixels:
        """Padded to a square in the mean colour, tile in the middle, and resized; uint8 (S, S, 3)."""
        height, width = tile.shape[:2]
        if height != width:
            long = max(height, width)
            square = np.empty((long, long, CHANNELS), dtype=np.uint8)
            square[:] = [int(value * 255) for value in self.pixels.mean]
            top, left = (long - height) // 2, (long - width) // 2
            square[top : top + height, left : left + width] = tile
            tile = square
        return super().fitted(tile)

    def layout(self, tiles: Sequence[Pixels]) -> Layout:
        """pixel_values uint8 (N, 3, S, S); for whole images also image_sizes int64 (K, 2), (height, width)."""
        arrays = super().layout(tiles)
        if not self.is_splitting:
            return arrays
        return {**arrays, "image_sizes": np.array([tile.shape[:2] for tile in tiles], dtype=np.int64).reshape(-1, 2)}

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """Whole images as each alone in its sample; all tiles as those of one sample with at least two images, which
        the model leaves whole."""
        import torch

        inputs = super().inputs(batch, device=device, dtype=dtype)
        if self.is_splitting:
            return {**inputs, "image_sizes": batch["image_sizes"].to(device, non_blocking=True)}
        count = len(inputs["pixel_values"])
        sizes = torch.full((count, 2), self.side, dtype=torch.long, device=inputs["pixel_values"].device)
        return {**inputs, "image_sizes": sizes, "batch_num_images": torch.tensor([max(count, LEAST_IMAGES)])}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyresGrid:
    """The `Splitting` of LLaVA-OneVision.

    Attributes:
        side: S, pixels of a square.
        across: patches along a side of a square.
        resample: filter of the resize.
        block: placeholders alone.
        pinpoints: (columns, rows) of squares that a whole image may be split into, in the processor's order.
        max_squares: N of `anyres_max_N`.
    """

    side: int
    across: int
    resample: str
    block: MarkedBlock
    pinpoints: tuple[Grid, ...]
    max_squares: int

    @classmethod
    def read(cls, folder: ModelFolder, tower: SquareTower, *, block: MarkedBlock, resample: str) -> Self:
        """The grids and the limit of features.

        Raises:
            FamilyError: image processor and model split in different ways, or not into squares of the tower's size.
        """
        default = [[high, wide] for high in _SIDES for wide in _SIDES]
        resolutions = folder.image_settings.get("image_grid_pinpoints") or default
        if resolutions != (folder.config.get("image_grid_pinpoints") or default):
            raise FamilyError(
                f"{folder.path}: image_grid_pinpoints differ between config.json and the image processor's "
                "settings; take the preprocessor_config.json that belongs to the model"
            )
        if any(side % tower.side for resolution in resolutions for side in resolution):
            raise FamilyError(
                f"{folder.path}: image_grid_pinpoints {resolutions} are not all multiples of {tower.side}, the side "
                "of a square; take the settings of one model"
            )
        return cls(
            side=tower.side,
            across=tower.side // tower.patch_size,
            resample=resample,
            block=block,
            pinpoints=tuple((wide // tower.side, high // tower.side) for high, wide in resolutions),
            max_squares=int(str(folder.config.get("vision_aspect_ratio", "anyres_max_9")).rpartition("_")[2]),
        )

    @property
    def is_on(self) -> bool:
        """Always: this processor splits every image that is alone."""
        return True

    def rules(self) -> Mapping[str, object]:
        """The grids and the limit: what the lengths depend on."""
        return {"pinpoints": self.pinpoints, "max": self.max_squares}

    def grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """The grid that keeps most pixels of an image, and of those the one that wastes least; earlier ones first."""
        return best_grids(widths, heights, self.pinpoints, self.side)

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """The grid's, and one of the whole image before them, also for a grid of 1 x 1."""
        return columns * rows + 1

    def count_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Features of the base square, of the grid without its padding, and a newline for each row of these."""
        limit = self.max_squares * self.across**2
        wide, high = kept_features(widths, heights, columns * self.across, rows * self.across, limit)
        return self.across**2 + high * wide + high

    def ids(self, size: Size, grid: Grid) -> Ints:
        """The placeholders of an image alone; int64."""
        (width, height), (columns, rows) = np.array([size, grid], dtype=np.int64)[..., None]
        return self.block.ids(int(self.count_tokens(width, height, columns, rows)[0]))

    def views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The whole image in one square, then the squares of the image fitted on the grid, padded in black."""
        from wdstream.pixels.render import resize

        yield stretched(image, (1, 1), self.side, self.resample)
        wide, high = grid[0] * self.side, grid[1] * self.side
        size = fitted_size((image.shape[1], image.shape[0]), (wide, high))
        canvas = np.zeros((high, wide, CHANNELS), dtype=np.uint8)
        left, top = (wide - size[0]) // 2, (high - size[1]) // 2
        canvas[top : top + size[1], left : left + size[0]] = resize(image, size, self.resample)
        yield from cut(canvas, self.side)


def best_grids(widths: Ints, heights: Ints, grids: Sequence[tuple[int, int]], side: int) -> tuple[Ints, Ints]:
    """The (columns, rows) that keep most pixels of each image, and of those the ones that waste least; earlier first.

    Args:
        widths, heights: of the images in pixels, at least 1.
        grids: (columns, rows) to choose from.
        side: pixels of a square.
    """
    most = np.zeros_like(widths)
    least = np.full(widths.shape, np.iinfo(np.int64).max)
    best_columns, best_rows = np.ones_like(widths), np.ones_like(heights)
    for columns, rows in grids:
        wide, high = columns * side, rows * side
        scale = np.minimum(wide / widths, high / heights)
        kept = (widths * scale).astype(np.int64) * (heights * scale).astype(np.int64)
        kept = np.minimum(kept, widths * heights)
        wasted = wide * high - kept
        is_better = (kept > most) | ((kept == most) & (wasted < least))
        most, least = np.where(is_better, kept, most), np.where(is_better, wasted, least)
        best_columns = np.where(is_better, columns, best_columns)
        best_rows = np.where(is_better, rows, best_rows)
    return best_columns, best_rows


def kept_features(widths: Ints, heights: Ints, across: Ints, down: Ints, limit: int) -> tuple[Ints, Ints]:
    """(across, down): features of images on grids of that many, without those of the padding and shrunk to the limit.

    The side that the image does not fill is cut back by whole pairs of features. In whole numbers here: transformers
    rounds a float product to seven digits before it cuts, which gives the same for every image below 10**7 pixels a
    side, because a fraction of such numbers is an integer or at least 10**-7 away from one.

    Args:
        widths, heights: of the images in pixels, at least 1.
        across, down: features of the grids before the padding is dropped.
        limit: features wanted at most.
    """
    is_wide = widths / heights > across / down
    filled_down, filled_across = heights * across // widths, widths * down // heights
    down, across = (
        np.where(is_wide, down - (down - filled_down) // 2 * 2, down),
        np.where(is_wide, across, across - (across - filled_across) // 2 * 2),
    )
    ratio = np.sqrt(down * across / limit)
    ratio = np.where(ratio > SHRINK_ABOVE, ratio, 1.0)
    return (across // ratio).astype(np.int64), (down // ratio).astype(np.int64)


def fitted_size(image: Size, canvas: Size) -> Size:
    """The size in pixels at which an image fits a canvas, its aspect ratio kept; the free side is rounded up."""
    scale_across, scale_down = canvas[0] / image[0], canvas[1] / image[1]
    if scale_across < scale_down:
        return canvas[0], min(math.ceil(image[1] * scale_across), canvas[1])
    return min(math.ceil(image[0] * scale_down), canvas[0]), canvas[1]
