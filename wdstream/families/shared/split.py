"""Families whose processor splits a large image into squares of its own accord ("image splitting", "crop to patches").

wdstream cuts pages by its own policy, and a tile is never split again (square.py). Images that wdstream leaves whole
(`for_whole_images`) are split by the family's own rules, square by square, and counted exactly:

    squares = columns * rows, and one of the whole image beside them; a single one where the grid is 1 x 1

A tower's attention stays inside a square, so an image of k squares of p patches costs k * p * p pairs: the cost model
counts p pairs for each patch, and nothing for the square of an image's patches.
"""

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.families.base import Arrays
from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.square import CHANNELS, SquareTiles
from wdstream.records import Ints, Pixels, Size

Grid = tuple[int, int]


class SplitSquares(SquareTiles):
    """Base of these families.

    Attributes:
        can_split: whether the processor of this checkpoint splits images.
    """

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__(folder)
        self.can_split = self.read_splitting(folder)
        pairs = self.patches_per_image * self.cost.per_image_patch_squared
        self.cost = replace(self.cost, per_patch=self.cost.per_patch + pairs, per_image_patch_squared=0)

    @abstractmethod
    def read_splitting(self, folder: ModelFolder) -> bool:
        """Whether the processor of this checkpoint splits images; keeps the settings by which it does."""

    @abstractmethod
    def split_grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(columns, rows) into which images of these sizes, at least 1 x 1 pixel, are split."""

    @abstractmethod
    def split_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Tokens of images of these sizes in these grids: the lengths of `split_ids`."""

    @abstractmethod
    def split_ids(self, size: Size, grid: Grid) -> Ints:
        """Ids of an image of `size` in `grid`, int64."""

    @abstractmethod
    def split_views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of an image in `grid`, uint8 (S, S, 3), in the order of their features."""

    def count_squares(self, columns: Ints, rows: Ints) -> Ints:
        """Squares of an image in this grid."""
        squares = columns * rows
        return squares + (squares > 1)

    def for_whole_images(self) -> Self:
        """The family for images that wdstream does not cut: split by its own processor's rules."""
        if not self.can_split:
            return self
        whole = copy.copy(self)
        whole.is_splitting = True
        return whole

    def splitting_rules(self) -> Mapping[str, Any]:
        """The settings by which images are split; JSON-serialisable."""
        return {}

    def length_rules(self) -> Mapping[str, Any]:
        """All settings that decide how many tokens and patches an image has."""
        return {**super().length_rules(), "splitting": dict(self.splitting_rules()) if self.is_splitting else None}

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) for all sizes of at least one pixel."""
        if not self.is_splitting:
            return super().image_cost(widths, heights)
        is_fine = (widths > 0) & (heights > 0)
        wide, high = np.maximum(widths, 1), np.maximum(heights, 1)
        columns, rows = self.split_grids(wide, high)
        patches = self.count_squares(columns, rows) * self.patches_per_image
        return np.where(is_fine, self.split_tokens(wide, high, columns, rows), -1), np.where(is_fine, patches, -1)

    def resized(self, width: int, height: int) -> Size:
        """The size of the grid of squares."""
        columns, rows = self.grid(width, height)
        return columns * self.side, rows * self.side

    def grid(self, width: int, height: int) -> Grid:
        """(columns, rows) of one image; 1, 1 where images are not split."""
        if not self.is_splitting:
            return 1, 1
        columns, rows = self.split_grids(np.array([width], dtype=np.int64), np.array([height], dtype=np.int64))
        return int(columns[0]), int(rows[0])

    def image_ids(self, width: int, height: int) -> Ints:
        """The block of one image; int64."""
        if not self.is_splitting:
            return super().image_ids(width, height)
        return self.split_ids((width, height), self.grid(width, height))

    def layout(self, tiles: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        """pixel_values uint8 (N, 3, S, S): the squares of all images, in order."""
        if not self.is_splitting:
            return super().layout(tiles)
        grids = np.array([self.grid(tile.shape[1], tile.shape[0]) for tile in tiles], dtype=np.int64).reshape(-1, 2)
        num_squares = int(self.count_squares(grids[:, 0], grids[:, 1]).sum())
        pixels = np.empty((num_squares, CHANNELS, self.side, self.side), dtype=np.uint8)
        views = (view for tile, grid in zip(tiles, grids.tolist(), strict=True) for view in self.views(tile, grid))
        for place, view in enumerate(views):
            pixels[place] = view.transpose(2, 0, 1)
        return {"pixel_values": pixels}

    def views(self, image: Pixels, grid: Sequence[int]) -> Iterator[Pixels]:
        """The squares of one image."""
        return self.split_views(image, (grid[0], grid[1]))

    def stretched(self, image: Pixels, grid: Grid) -> Pixels:
        """An image resized to fill a grid of squares, whatever its aspect ratio."""
        from wdstream.pixels.render import resize

        return resize(image, (grid[0] * self.side, grid[1] * self.side), self.resample)

    def cut(self, image: Pixels) -> Iterator[Pixels]:
        """An image of whole squares cut into them, row by row; each is a view of it."""
        for top in range(0, image.shape[0], self.side):
            for left in range(0, image.shape[1], self.side):
                yield image[top : top + self.side, left : left + self.side]

    def collate_pixels(self, parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Arrays of all parts below each other; a single part is passed on without a copy."""
        if len(parts) == 1:
            return dict(parts[0])
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
