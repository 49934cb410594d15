"""Images for vision towers that take one square size: an image is one square, or several where it is split.

    layout: pixel_values uint8 (N, 3, S, S)        cost: the same tokens and patches for a tile of any size

Processors of such families split a large image into squares of their own accord ("image splitting", "crop to patches",
"anyres"). wdstream cuts pages by its own policy, where a tile keeps its place and its label, so a tile is one square
and never split again. Images that wdstream leaves whole (`whole`) are split by the family's own rules, a `Splitting`,
square by square, and counted exactly.

A tower's attention stays inside a square, so an image of k squares of p patches costs k * p * p pairs: `cost_by_square`
counts p pairs for each patch, and nothing for the square of an image's patches.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from wdstream.errors import FamilyError
from wdstream.families.shared.images import BatchMapping, Inputs, Layout, MarkedBlock, ProcessorSettings, join_arrays
from wdstream.families.shared.model_folder import Json, ModelFolder, first_number
from wdstream.families.shared.processor_rules import ProcessorRules
from wdstream.plan.deal import CostModel
from wdstream.records import CHANNELS, Ints, Pixels, Size

if TYPE_CHECKING:
    import torch

Grid = tuple[int, int]


class Splitting(Protocol):
    """How a family's processor splits a whole image into squares, and which ids stand for them."""

    @property
    def is_on(self) -> bool:
        """Whether the processor of this model folder splits images at all."""

    def rules(self) -> Mapping[str, object]:
        """The settings by which images are split; JSON-serialisable."""

    def grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(columns, rows) into which images of these sizes, at least 1 x 1 pixel, are split."""

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """Squares of images in these grids, overviews included."""

    def count_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Tokens of images of these sizes in these grids: the lengths of `ids`."""

    def ids(self, size: Size, grid: Grid) -> Ints:
        """Ids of an image of `size` in `grid`, int64."""

    def views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of an image in `grid`, uint8 (S, S, 3), in the order of their features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareTower:
    """A vision tower of one square size.

    Attributes:
        vision: vision_config over the defaults of its transformers class.
        side: S, pixels of a square.
        patch_size: P, pixels of a patch's side.
    """

    vision: Json
    side: int
    patch_size: int

    @classmethod
    def read(cls, folder: ModelFolder, defaults: Json, *, side: int) -> Self:
        """The tower of a model folder.

        Args:
            folder: whose vision_config is read.
            defaults: sizes that config.json may leave to the defaults of its transformers class.
            side: of the squares that the image processor makes.

        Raises:
            FamilyError: the tower takes squares of another size.
        """
        vision = {**defaults, **folder.vision_config}
        wanted = first_number(vision["image_size"])
        if wanted != side:  # the side is not a multiple of the patches in every model: the rest is not seen
            raise FamilyError(
                f"{folder.path}: the image processor makes images of {side} pixels, the vision tower wants {wanted}; "
                "take the settings of one model"
            )
        return cls(vision=vision, side=side, patch_size=first_number(vision["patch_size"]))

    @property
    def num_patches(self) -> int:
        """Patches of a square."""
        return (self.side // self.patch_size) ** 2


class Squares:
    """The `ImageRules` of families with a square tower.

    Attributes:
        side: S, pixels of a square.
        patches_per_square: vision patches.
        block: int64 ids of an image of one square, those around it included.
        pixels: resize and normalisation.
        splitting: how whole images are split; None for processors that never split one.
        is_splitting: whether images are split here; `whole` switches it on.
    """

    def __init__(
        self, tower: SquareTower, block: Ints, pixels: ProcessorSettings, splitting: Splitting | None = None
    ) -> None:
        self.side = tower.side
        self.patch_size = tower.patch_size
        self.patches_per_square = tower.num_patches
        self.block = block
        self.pixels = pixels
        self.splitting = splitting
        self.is_splitting = False

    @property
    def size_multiple(self) -> int:
        """S, the side of a square."""
        return self.side

    @property
    def max_tile_side(self) -> int | None:
        """S: a larger tile loses detail."""
        return self.side

    @property
    def min_pixels(self) -> int:
        """Area of a square: the adaptive policy cuts tiles of one square each."""
        return self.side**2

    @property
    def max_pixels(self) -> int:
        """Area of a square."""
        return self.side**2

    def whole(self) -> Self:
        """The rules for images that wdstream does not cut: split, where the processor of this model folder splits."""
        if self.splitting is None or not self.splitting.is_on:
            return self
        whole = copy.copy(self)
        whole.is_splitting = True
        return whole

    def length_rules(self) -> Mapping[str, object]:
        """All settings that decide how many tokens and patches an image has."""
        rules = {"side": self.side, "patch": self.patch_size, "block": self.block.tolist()}
        if self.splitting is None:
            return rules
        return {**rules, "splitting": dict(self.splitting.rules()) if self.is_splitting else None}

    def cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of images of these sizes; -1 where a side is 0."""
        is_fine = (widths > 0) & (heights > 0)
        tokens, squares = (np.full(widths.shape, count, dtype=np.int64) for count in (len(self.block), 1))
        if self.splitting is not None and self.is_splitting:
            wide, high = np.maximum(widths, 1), np.maximum(heights, 1)
            columns, rows = self.splitting.grids(wide, high)
            tokens = self.splitting.count_tokens(wide, high, columns, rows)
            squares = self.splitting.count_squares(columns, rows)
        return np.where(is_fine, tokens, -1), np.where(is_fine, squares * self.patches_per_square, -1)

    def grid(self, width: int, height: int) -> Grid:
        """(columns, rows) of the squares of an image; (1, 1) where images are not split."""
        if self.splitting is None or not self.is_splitting:
            return 1, 1
        columns, rows = self.splitting.grids(np.array([width], dtype=np.int64), np.array([height], dtype=np.int64))
        return int(columns[0]), int(rows[0])

    def resized(self, width: int, height: int) -> Size:
        """The size in pixels of the grid of squares."""
        columns, rows = self.grid(width, height)
        return columns * self.side, rows * self.side

    def ids(self, width: int, height: int) -> Ints:
        """The block of one image; int64."""
        if self.splitting is None or not self.is_splitting:
            return self.block
        return self.splitting.ids((width, height), self.grid(width, height))

    def layout(self, tiles: Sequence[Pixels]) -> Layout:
        """pixel_values uint8 (N, 3, S, S): the squares of all images, in order."""
        grids = [self.grid(tile.shape[1], tile.shape[0]) for tile in tiles]
        columns, rows = np.array(grids, dtype=np.int64).reshape(-1, 2).T
        num_squares = len(tiles)
        if self.splitting is not None and self.is_splitting:
            num_squares = int(self.splitting.count_squares(columns, rows).sum())
        squares = np.empty((num_squares, CHANNELS, self.side, self.side), dtype=np.uint8)
        views = (view for tile, grid in zip(tiles, grids, strict=True) for view in self.views(tile, grid))
        for square, view in zip(squares, views, strict=True):
            square[:] = view.transpose(2, 0, 1)
        return {"pixel_values": squares}

    def views(self, tile: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of one image, uint8 (S, S, 3)."""
        if self.splitting is not None and self.is_splitting:
            yield from self.splitting.views(tile, grid)
        else:
            yield self.fitted(tile)

    def fitted(self, tile: Pixels) -> Pixels:
        """A tile in one square, uint8 (S, S, 3): stretched, as most of these processors do."""
        return stretched(tile, (1, 1), self.side, self.pixels.resample)

    def collate(self, parts: Sequence[Layout]) -> Layout:
        """Squares of all parts below each other."""
        return join_arrays(parts)

    def inputs(self, batch: BatchMapping, *, device: "torch.device | str", dtype: "torch.dtype") -> Inputs:
        """The normalised squares, (N, 3, S, S)."""
        pixels = batch["pixel_values"]
        return {"pixel_values": self.pixels.normalised(pixels, device=device, dtype=dtype).view(pixels.shape)}


@dataclass(frozen=True, kw_only=True)
class AspectGrid:
    """Splitting by aspect ratio, as InternVL, GOT-OCR2 and Aya Vision do it: the grid nearest to the image's shape.

        columns * rows squares, row by row, of the image stretched to the grid; then the image once more in one square

    The rule is `get_optimal_tiled_canvas` of transformers/models/got_ocr2/image_processing_got_ocr2.py.

    Attributes:
        is_on: whether the processor crops.
        side: S, pixels of a square.
        resample: filter of the resize.
        block: marks and placeholder of an image.
        tokens_per_square: placeholders.
        min_squares, max_squares: bounds of columns * rows.
    """

    is_on: bool
    side: int
    resample: str
    block: MarkedBlock
    tokens_per_square: int
    min_squares: int
    max_squares: int

    @classmethod
    def read(
        cls, folder: ModelFolder, *, side: int, resample: str, block: MarkedBlock, tokens_per_square: int, crops: bool
    ) -> Self:
        """With the bounds of the image processor's settings; `crops`: whether the processor crops."""
        settings = folder.image_settings
        most = int(settings.get("max_patches") or 12)
        return cls(
            is_on=crops and most > 1,
            side=side,
            resample=resample,
            block=block,
            tokens_per_square=tokens_per_square,
            min_squares=int(settings.get("min_patches") or 1),
            max_squares=most,
        )

    def processor_rules(self, *, is_splitting: bool) -> ProcessorRules:
        """Where the images of the processor are split or left whole; its own defaults would win over the settings of
        its image processor."""
        bounds = {"min_patches": self.min_squares, "max_patches": self.max_squares}
        images = {"crop_to_patches": is_splitting, **bounds}
        return ProcessorRules(attributes={"images_kwargs": images}, call_settings=images)

    def rules(self) -> Mapping[str, object]:
        """Bounds of the grid."""
        return {"min": self.min_squares, "max": self.max_squares}

    def grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """Nearest aspect ratio; among equals the larger grid, while the image has more than half of its pixels.

        The float64 operations are the original's, one by one, so ties fall the same way.
        """
        aspect = widths / heights
        area = widths * heights
        nearest = np.full(widths.shape, np.inf)
        best_columns, best_rows = np.ones_like(widths), np.ones_like(heights)
        for columns, rows in candidate_grids(self.min_squares, self.max_squares):
            distance = np.abs(aspect - columns / rows)
            is_tie = (distance == nearest) & (area > 0.5 * self.side * self.side * columns * rows)
            is_better = (distance < nearest) | is_tie
            nearest = np.where(is_better, distance, nearest)
            best_columns = np.where(is_better, columns, best_columns)
            best_rows = np.where(is_better, rows, best_rows)
        return best_columns, best_rows

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """Those of the grid, and one of the whole image unless it is the only one."""
        return with_overview(columns, rows)

    def count_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Placeholders of all squares, and the ids around them."""
        marks = len(self.block.before) + len(self.block.after)
        return self.count_squares(columns, rows) * self.tokens_per_square + marks

    def ids(self, size: Size, grid: Grid) -> Ints:
        """The block of one square, with the placeholders of all."""
        return self.block.ids(int(self.count_squares(*np.array(grid))) * self.tokens_per_square)

    def views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of the grid, then the whole image in one."""
        yield from cut(stretched(image, grid, self.side, self.resample), self.side)
        if grid != (1, 1):
            yield stretched(image, (1, 1), self.side, self.resample)


def candidate_grids(least: int, most: int) -> list[Grid]:
    """All (columns, rows) of at least `least` and at most `most` squares, smaller ones first."""
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])


def with_overview(columns: Ints, rows: Ints) -> Ints:
    """Squares of grids, and one of the whole image for each but a grid of 1 x 1."""
    squares = columns * rows
    return squares + (squares > 1)


def stretched(image: Pixels, grid: Grid, side: int, resample: str) -> Pixels:
    """An image resized to fill a grid of squares, whatever its aspect ratio."""
    from wdstream.pixels.render import resize

    return resize(image, (grid[0] * side, grid[1] * side), resample)


def cut(image: Pixels, side: int) -> Iterator[Pixels]:
    """An image of whole squares cut into them, row by row; each is a view of it."""
    for top in range(0, image.shape[0], side):
        for left in range(0, image.shape[1], side):
            yield image[top : top + side, left : left + side]


def cost_by_square(cost: CostModel, patches_per_square: int) -> CostModel:
    """The cost of images of several squares: a tower's attention stays inside a square."""
    pairs = patches_per_square * cost.per_image_patch_squared
    return replace(cost, per_patch=cost.per_patch + pairs, per_image_patch_squared=0)


def square_side(settings: Json, default: int) -> int:
    """The side of `size` in an image processor's settings: {height, width}, or {shortest_edge} or {longest_edge}.

    Raises:
        FamilyError: the size is not square.
    """
    size = settings.get("size") or {}
    sides = {int(size[key]) for key in ("height", "width", "shortest_edge", "longest_edge") if size.get(key)}
    if len(sides) > 1:
        raise FamilyError(f"the image processor's size {size} is not square; wdstream knows square canvases here")
    return sides.pop() if sides else default
