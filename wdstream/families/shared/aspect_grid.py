"""Splitting by aspect ratio, as InternVL and GOT-OCR2 do it: the grid of squares whose shape is nearest to the image's.

    columns * rows squares, row by row, of the image stretched to the grid; then the image once more in one square

The rule is `get_optimal_tiled_canvas` of transformers/models/got_ocr2/image_processing_got_ocr2.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wdstream.families.shared.model_folder import ModelFolder
from wdstream.families.shared.split import Grid, SplitSquares
from wdstream.records import Ints, Pixels, Size


class AspectGrid(SplitSquares):
    """Base of the families that split so.

    Attributes:
        min_squares, max_squares: bounds of columns * rows.
    """

    crops_by_default: bool
    """Whether the processor crops where no setting says so."""

    def read_splitting(self, folder: ModelFolder) -> bool:
        """Bounds of the grid, and whether images are cropped at all."""
        settings = folder.image_settings
        self.min_squares = int(settings.get("min_patches") or 1)
        self.max_squares = int(settings.get("max_patches") or 12)
        return self.crops(settings) and self.max_squares > 1

    def crops(self, settings: Mapping[str, Any]) -> bool:
        """Whether the processor crops an image with these settings of its image processor."""
        return bool(settings.get("crop_to_patches"))

    def splitting_rules(self) -> Mapping[str, Any]:
        """Bounds of the grid."""
        return {"min": self.min_squares, "max": self.max_squares}

    def processor_attributes(self) -> Mapping[str, Any]:
        """The processor's own defaults would win over the settings of its image processor."""
        bounds = {"min_patches": self.min_squares, "max_patches": self.max_squares}
        return {"images_kwargs": {"crop_to_patches": self.is_splitting, **bounds}}

    def split_grids(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
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

    def split_tokens(self, widths: Ints, heights: Ints, columns: Ints, rows: Ints) -> Ints:
        """Placeholders of all squares, and the ids around them."""
        around = len(self._block) - self.tokens_per_image
        return self.count_squares(columns, rows) * self.tokens_per_image + around

    def split_ids(self, size: Size, grid: Grid) -> Ints:
        """The block of one square, with the placeholders of all."""
        squares = int(self.count_squares(np.array(grid[0]), np.array(grid[1])))
        placeholders = np.full(squares * self.tokens_per_image, self.image_id, dtype=np.int64)
        return np.concatenate([self._block[:1], placeholders, self._block[-1:]])

    def split_views(self, image: Pixels, grid: Grid) -> Iterator[Pixels]:
        """The squares of the grid, then the whole image in one."""
        yield from self.cut(self.stretched(image, grid))
        if grid != (1, 1):
            yield self.fitted(image)


def candidate_grids(least: int, most: int) -> list[Grid]:
    """All (columns, rows) of at least `least` and at most `most` squares, smaller ones first."""
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])
