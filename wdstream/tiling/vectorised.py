"""plan_tiles of many pages at once: the plan of an epoch asks for millions of pages, so it is numpy throughout.

    widths, heights (n,) ──grids──► columns, rows (n,) ──cuts──► tile widths, heights, flat (tiles,) in emission order

A property test holds every number equal to `plan_tiles`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdstream.tiling import vectorised_adaptive as adaptive
from wdstream.tiling import vectorised_grid as fixed
from wdstream.tiling.ragged import Flags, Ints, Sizes, starts_of
from wdstream.tiling.rules import MAX_SIDE
from wdstream.tiling.settings import TilingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TileArrays:
    """What `TilePlan` says of sizes, for n pages; tiles of page i lie at [starts[i], starts[i] + counts[i]).

    Attributes:
        counts: int64 (n,), output images of each page, overview included.
        columns: int64 (n,), as `TilePlan.grid`.
        rows: int64 (n,).
        has_overview: bool (n,).
        is_labelled: bool (n,).
        is_rtl: bool (n,), whether tiles of a row come right to left.
        tile_widths: int64 (counts.sum(),), output sizes in emission order, overview first.
        tile_heights: int64 (counts.sum(),).
    """

    counts: Ints
    columns: Ints
    rows: Ints
    has_overview: Flags
    is_labelled: Flags
    is_rtl: Flags
    tile_widths: Ints
    tile_heights: Ints

    @property
    def starts(self) -> Ints:
        """int64 (n,): where each page's tiles begin."""
        return starts_of(self.counts)


def plan_tiles_arrays(widths: ArrayLike, heights: ArrayLike, policy: TilingSettings) -> TileArrays:
    """The tiles of pages of these sizes, (n,) each.

    Raises:
        ValueError: the arrays differ in length, or a side is below 1 or above tile_rules.MAX_SIDE.
    """
    page = np.asarray(widths).astype(np.int64).ravel(), np.asarray(heights).astype(np.int64).ravel()
    _check(page)
    cut = adaptive.plan(page, policy) if policy.kind == "adaptive" else fixed.plan(page, policy)
    tiles = cut.grids.columns * cut.grids.rows
    has_overview = np.zeros(len(tiles), dtype=np.bool_)
    has_overview[cut.owners] = True
    counts = tiles + has_overview
    return TileArrays(
        counts=counts,
        columns=cut.grids.columns,
        rows=cut.grids.rows,
        has_overview=has_overview,
        is_labelled=(counts > 1) & policy.text_labels,
        is_rtl=cut.is_rtl,
        tile_widths=_with_overviews(cut.tiles[0], cut.overviews[0], counts, has_overview),
        tile_heights=_with_overviews(cut.tiles[1], cut.overviews[1], counts, has_overview),
    )


def distinct_sizes(widths: ArrayLike, heights: ArrayLike) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """The different sizes among pages, and each page's place among them: scans repeat sizes, so plan each once."""
    packed = (np.asarray(widths).astype(np.int64) << 32) | np.asarray(heights).astype(np.int64)
    sizes, places = np.unique(packed, return_inverse=True)
    return sizes >> 32, sizes & 0xFFFFFFFF, places


def _with_overviews(tiles: Ints, overviews: Ints, counts: Ints, has_overview: Flags) -> Ints:
    """Put each page's overview before its tiles."""
    if not len(overviews):
        return tiles
    is_overview = np.zeros(len(tiles) + len(overviews), dtype=np.bool_)
    is_overview[starts_of(counts)[has_overview]] = True
    merged = np.empty(len(is_overview), dtype=np.int64)
    merged[is_overview], merged[~is_overview] = overviews, tiles
    return merged


def _check(page: Sizes) -> None:
    if len(page[0]) != len(page[1]):
        raise ValueError(f"{len(page[0])} widths but {len(page[1])} heights; give one of each for every page")
    bad = np.flatnonzero((np.minimum(*page) < 1) | (np.maximum(*page) > MAX_SIDE))
    if len(bad):
        where = int(bad[0])
        raise ValueError(f"page {where} of {page[0][where]}x{page[1][where]}: sides must lie in [1, {MAX_SIDE}]")
