"""What images cost, by size: tiles, their tokens and patches, and the label texts between them. Each size is asked
once."""

from dataclasses import dataclass
from threading import Lock

import numpy as np

from wdstream.plan.protocols import Ints, LengthModel, TileArrays, TileModel

REFUSED = -1
"""In place of tokens and patches: the family cannot take a tile of this size."""

MAX_KNOWN_SIZES = 1 << 18
"""Sizes remembered, 40 bytes each; then the table starts anew."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageCosts:
    """Costs of I images, int64 (I,) each; `tokens` and `patches` are REFUSED where the family refuses a tile.

    Attributes:
        tokens: tokens of all tiles with the ids around them and the labels before them.
        patches: vision patches of all tiles.
        vision_cost: predicted cost in the vision tower (cost.py).
    """

    tokens: Ints
    patches: Ints
    vision_cost: Ints


class ImageCostTable:
    """Costs of images under one family and tiling policy, remembered by size."""

    def __init__(self, family: LengthModel, tiling: TileModel) -> None:
        self._family = family
        self._tiling = tiling
        self._lock = Lock()  # a loader's thread and the training loop may both run through the plan
        self._label_tokens: dict[tuple[int, ...], int] = {}  # by grid, see _labels
        self._sizes = np.empty(0, dtype=np.int64)  # width << 32 | height, ascending
        self._costs = np.empty((3, 0), dtype=np.int64)

    def look_up(self, widths: Ints, heights: Ints) -> ImageCosts:
        """Costs of images of these sizes in pixels, (I,) each; sizes must lie within the tiling policy's limits."""
        with self._lock:
            return self._look_up(widths, heights)

    def _look_up(self, widths: Ints, heights: Ints) -> ImageCosts:
        sizes = (widths << 32) | heights
        places = np.searchsorted(self._sizes, sizes)
        is_known = places < len(self._sizes)
        is_known[is_known] = self._sizes[places[is_known]] == sizes[is_known]
        if not is_known.all():
            self._learn(np.unique(sizes[~is_known]))
            if len(self._sizes) > MAX_KNOWN_SIZES:
                self._sizes, self._costs = np.empty(0, dtype=np.int64), np.empty((3, 0), dtype=np.int64)
                self._learn(np.unique(sizes))
            places = np.searchsorted(self._sizes, sizes)
        tokens, patches, vision_cost = self._costs[:, places]
        return ImageCosts(tokens=tokens, patches=patches, vision_cost=vision_cost)

    def _learn(self, sizes: Ints) -> None:
        """Add new sizes, ascending and different from all known ones."""
        places = np.searchsorted(self._sizes, sizes)
        self._costs = np.insert(self._costs, places, self._compute(sizes >> 32, sizes & 0xFFFFFFFF), axis=1)
        self._sizes = np.insert(self._sizes, places, sizes)

    def _compute(self, widths: Ints, heights: Ints) -> Ints:
        """(3, I): tokens, patches and vision cost of images of these sizes."""
        cut = self._tiling.plan_tiles_arrays(widths, heights)
        tokens, patches = self._family.image_cost(cut.tile_widths, cut.tile_heights)
        starts = np.cumsum(cut.counts) - cut.counts  # every image has at least one tile
        is_refused = np.logical_or.reduceat(tokens < 0, starts)
        costs = np.stack((tokens, patches, self._family.cost.vision(patches)))
        summed = np.add.reduceat(costs, starts, axis=1)
        summed[0] += self._labels(cut)
        summed[:, is_refused] = REFUSED
        return summed

    def _labels(self, cut: TileArrays) -> Ints:
        """(I,): tokens of the texts before the tiles. They depend on the grid alone, of which there are few."""
        flags = cut.has_overview * 4 + cut.is_labelled * 2 + cut.is_rtl
        grids, places = np.unique(np.stack((cut.columns, cut.rows, flags)), axis=1, return_inverse=True)
        tokens = [self._tokens_of_grid(*grid) for grid in grids.T.tolist()]
        return np.array(tokens, dtype=np.int64)[places.reshape(-1)]

    def _tokens_of_grid(self, columns: int, rows: int, flags: int) -> int:
        found = self._label_tokens.get((columns, rows, flags))
        if found is None:
            pieces = self._tiling.grid_text_pieces(columns, rows, flags >= 4, flags & 2 > 0, flags & 1 > 0)
            found = sum(self._family.text_cost(piece) for piece in pieces if piece)
            self._label_tokens[columns, rows, flags] = found
        return found
