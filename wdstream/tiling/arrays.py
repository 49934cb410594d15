"""Arrays in which many pages are tiled at once; n is the number of pages.

Lists of different lengths are end to end in one flat array: `counts` int64 (n,) holds the length of each list, and list
i is flat[starts[i] : starts[i] + counts[i]]. So the tiles of page i are in emission order, row by row, after those of
page i - 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdstream.records import MAX_SIDE, Bools, Ints, TileArrays

if TYPE_CHECKING:
    from wdstream.tiling.policy import TilingPolicy

Floats = NDArray[np.float64]
Sizes = tuple[Ints, Ints]
"""Widths and heights."""
Spans = tuple[Ints, Ints]
"""Columns (or rows) of all pages, flat, in emission order: first and end pixel of each on its page."""


def page_sizes(widths: ArrayLike, heights: ArrayLike) -> Sizes:
    """Sizes of pages as int64 (n,), checked.

    Raises:
        ValueError: the arrays differ in length, or a side is not in [1, MAX_SIDE].
    """
    page = np.asarray(widths).astype(np.int64).ravel(), np.asarray(heights).astype(np.int64).ravel()
    if len(page[0]) != len(page[1]):
        raise ValueError(f"{len(page[0])} widths but {len(page[1])} heights; give one of each for every page")
    is_bad = (np.minimum(*page) < 1) | (np.maximum(*page) > MAX_SIDE)
    if is_bad.any():
        first = int(is_bad.argmax())
        raise ValueError(f"page {first} of {page[0][first]}x{page[1][first]}: sides must be in [1, {MAX_SIDE}]")
    return page


def distinct_sizes(widths: ArrayLike, heights: ArrayLike) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """The different sizes among pages, and for each page the index of its size: scans repeat sizes."""
    packed = (np.asarray(widths).astype(np.int64) << 32) | np.asarray(heights).astype(np.int64)
    sizes, index = np.unique(packed, return_inverse=True)
    return sizes >> 32, sizes & 0xFFFFFFFF, index


def positions_of(counts: Ints) -> Ints:
    """For every flat element its position in its own list: 0, 1, ... counts[0]-1, 0, 1, ..."""
    starts = (counts.cumsum() - counts).repeat(counts)
    return np.arange(len(starts), dtype=np.int64) - starts


def whole_root(squares: Ints) -> Ints:
    """floor(sqrt(n)), exact; as `math.isqrt`."""
    root = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    root -= root * root > squares  # a float root of a large number may be off by one either way
    root += (root + 1) * (root + 1) <= squares
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class Grids:
    """Grids of n pages.

    Attributes:
        columns: int64 (n,), columns of each page.
        rows: int64 (n,).
    """

    columns: Ints
    rows: Ints

    def spread(self, of_columns: Ints, of_rows: Ints) -> Sizes:
        """Numbers per column (columns.sum(),) and per row (rows.sum(),), flat in emission order, per tile: (tiles,)."""
        columns_of_rows = self.columns.repeat(self.rows)
        first_columns = (self.columns.cumsum() - self.columns).repeat(self.rows).repeat(columns_of_rows)
        return of_columns[first_columns + positions_of(columns_of_rows)], of_rows.repeat(columns_of_rows)

    def unless(self, is_uncut: Bools) -> "Grids":
        """These grids, but (1, 1) for the pages that are not cut."""
        return Grids(columns=np.where(is_uncut, 1, self.columns), rows=np.where(is_uncut, 1, self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPages:
    """n pages cut into tiles, overviews apart.

    Attributes:
        grids: of all pages.
        tiles: output widths and heights of all tiles, flat, in emission order.
        owners: int64 (k,), pages that have an overview, rising.
        overviews: output widths and heights of their overviews, (k,) each.
        policies: those that hold for some page: a shape bucket's or the policy itself.
        chosen: int64 (n,), which of `policies` holds for each page.
        spans: columns and rows; a function, since the plan of an epoch asks for sizes alone.
    """

    grids: Grids
    tiles: Sizes
    owners: NDArray[np.intp]
    overviews: Sizes
    policies: Sequence["TilingPolicy"]
    chosen: Ints
    spans: Callable[[], tuple[Spans, Spans]]


def with_overviews(cut: CutPages, *, has_text_labels: bool) -> TileArrays:
    """The sizes of cut pages, each page's overview before its tiles."""
    tiles = cut.grids.columns * cut.grids.rows
    has_overview = np.zeros(len(tiles), dtype=np.bool_)
    has_overview[cut.owners] = True
    counts = tiles + has_overview
    sizes = cut.tiles
    if len(cut.owners):
        is_overview = np.zeros(len(sizes[0]) + len(cut.owners), dtype=np.bool_)
        is_overview[(counts.cumsum() - counts)[cut.owners]] = True
        sizes = np.empty(len(is_overview), dtype=np.int64), np.empty(len(is_overview), dtype=np.int64)
        for both, of_overviews, of_tiles in zip(sizes, cut.overviews, cut.tiles, strict=True):
            both[is_overview], both[~is_overview] = of_overviews, of_tiles
    return TileArrays(
        counts=counts,
        columns=cut.grids.columns,
        rows=cut.grids.rows,
        has_overview=has_overview,
        is_labelled=(counts > 1) & has_text_labels,
        is_rtl=np.array([policy.reading_order == "rtl" for policy in cut.policies])[cut.chosen],
        tile_widths=sizes[0],
        tile_heights=sizes[1],
    )
