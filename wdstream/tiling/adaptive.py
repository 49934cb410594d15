"""The adaptive policy: as few tiles as the page needs, cut on the family's own pixel lattice.

All arithmetic is in whole numbers. m is the family's size multiple (28 for Qwen2.5-VL), a unit is m x m pixels, which
is one token where the vision tower merges 2x2 patches of 14.

1. Units. The page is u x v units, u = max(1, round(width / m)), v alike: what the family itself makes of a whole page
   (but for sides below m / 2, which it stretches along). If u * v units exceed `max_page_pixels`, the page is shrunk by
   the family's rule: u = floor(sqrt(max_page_pixels * width / height) / m), v alike.
2. Sides. A tile may have K = floor(tile_size / m) units a side, at least 1; where K x K units are more than
   `max_tile_pixels` the longer K is taken down. columns = ceil(u / g), rows = ceil(v / g), the fewest that fit, where
   g is the widest cell that with its overlap on both sides stays within K.
3. Shape. If a cell is more than twice as wide as high (or the reverse), more columns (rows) are cut, just enough:
   columns = ceil(u / (2 * floor(v / rows))). The page must allow it: the labels and wrappers of the added tiles,
   TILE_OVERHEAD tokens each, may cost at most a quarter of the page's tokens, u * v. A line of text, 1200x60, is
   86 tokens; eleven tiles of 2:1 would add 110 of labels, so it stays two long tiles. A column of 200x8000 is cut.
4. Cuts. Column i holds the units floor(i * u / columns) up to floor((i + 1) * u / columns), cut at multiples of m
   pixels of the page; the last takes the rest. So every tile but those of the last column and row is a crop that
   needs no resampling at all, and those are stretched by at most half a unit, as the family would do. On a shrunk
   page unit k begins at pixel round(k * width / u).
5. Sizes. A tile is its units times m: the family's resize has nothing left to do, there is no padding, and the tiles
   of a page sum to u * v units, exactly what the page would cost uncut (more only by overlap and labels).
6. Minimum. A tile below `min_tile_pixels` (a scrap, a thin strip) is enlarged as the family would enlarge its crop:
   to ceil(sqrt(min_tile_pixels * width / height) / m) x ceil(sqrt(min_tile_pixels * height / width) / m) units.

With `native_resolution` tiles are the crops of rule 4 as they are (rules 5 and 6 and the shrinking of 1 do not apply).
A page below `min_area` is one image. A page of one tile is its own overview. An overview_size S shrinks the page's
longer side to floor(S / m) units and never enlarges; a pair is stretched to, and overview_buckets fit and pad, as for
fixed grids.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from wdstream.records import Ints
from wdstream.tiling.arrays import CutPages, Grids, Sizes, Spans, positions_of, whole_root
from wdstream.tiling.grid import canvas_of, fixed_overviews

if TYPE_CHECKING:
    from wdstream.tiling.policy import TilingPolicy

TILE_OVERHEAD = 10
"""Tokens around a labelled tile: newline and <row0_col1> are 7-8 in BPE vocabularies, vision start and end are 2."""
BARE_OVERHEAD = 3
"""Tokens around a tile without label: newline, vision start, vision end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cuts:
    """Columns (or rows) of all pages, flat.

    Attributes:
        edges: int64 (2, cells), first and end unit of each.
        whole, lengths: int64 (cells,), units and pixels of the page's side.
        multiple: pixels of a unit.
    """

    edges: Ints
    whole: Ints
    lengths: Ints
    multiple: int

    def spans(self) -> Spans:
        """Rule 4: the pixels of the page that each covers; the last unit ends with the page."""
        units, whole, lengths = self.edges, self.whole, self.lengths
        on_lattice = whole == _rounded(lengths, self.multiple)
        inside = np.where(on_lattice, units * self.multiple, (2 * units * lengths + whole) // (2 * whole))
        first, end = np.where(units == whole, lengths, inside)
        return first, end


def cut_adaptive(page: Sizes, policy: "TilingPolicy") -> CutPages:
    """The pages by the rules above."""
    units = page_units(page, policy)
    grids = choose_grids(units, policy)
    if policy.min_area:
        grids = grids.unless(page[0] * page[1] < policy.min_area)
    across = _cuts(page[0], units[0], grids.columns, policy, is_rtl=policy.reading_order == "rtl")
    down = _cuts(page[1], units[1], grids.rows, policy, is_rtl=False)
    units_across, units_down = grids.spread(across.edges[1] - across.edges[0], down.edges[1] - down.edges[0])
    tiles = units_across * policy.multiple, units_down * policy.multiple  # rule 5
    is_small = tiles[0] * tiles[1] < policy.min_tile_pixels
    if policy.native_resolution or is_small.any():
        (left, right), (top, bottom) = across.spans(), down.spans()
        crops = grids.spread(right - left, bottom - top)
        if policy.native_resolution:
            tiles = crops
        else:  # rule 6
            wide, high = _enlarged((crops[0][is_small], crops[1][is_small]), policy)
            tiles[0][is_small], tiles[1][is_small] = wide * policy.multiple, high * policy.multiple
    owners = (policy.wants_overview & (grids.columns * grids.rows > 1)).nonzero()[0]
    overviews = page[0][owners], page[1][owners]
    if len(owners):
        overviews = _overviews(overviews, (units[0][owners], units[1][owners]), policy)
    return CutPages(
        grids=grids,
        tiles=tiles,
        owners=owners,
        overviews=overviews,
        policies=(policy,),
        chosen=np.zeros_like(page[0]),
        spans=lambda: (across.spans(), down.spans()),
    )


def page_units(page: Sizes, policy: "TilingPolicy") -> Sizes:
    """Rule 1: pages in units, (n,) each."""
    multiple, limit = policy.multiple, policy.max_page_pixels
    across, down = _rounded(np.array(page), multiple)
    if policy.native_resolution or limit is None:
        return across, down
    is_large = across * down * multiple**2 > limit
    if is_large.any():
        width, height = page[0][is_large], page[1][is_large]
        across[is_large] = np.maximum(1, whole_root(limit * width // (height * multiple**2)))
        down[is_large] = np.maximum(1, whole_root(limit * height // (width * multiple**2)))
    return across, down


def choose_grids(units: Sizes, policy: "TilingPolicy") -> Grids:
    """Rules 2 and 3, for pages of these units."""
    across, down = units
    limits, cells = side_limits(policy)
    sides = np.array(units)
    columns, rows = np.where(sides <= limits, 1, -(-sides // cells))
    low, narrow = down // rows, across // columns
    is_wide = -(-across // columns) > 2 * low
    is_high = (-(-down // rows) > 2 * narrow) & ~is_wide
    if not (is_wide | is_high).any():
        return Grids(columns=columns, rows=rows)
    wide, high = columns.copy(), rows.copy()
    wide[is_wide] = -(-across[is_wide] // (2 * low[is_wide]))
    high[is_high] = -(-down[is_high] // (2 * narrow[is_high]))
    overhead = TILE_OVERHEAD if policy.has_text_labels else BARE_OVERHEAD
    tiles = columns * rows
    before = np.where(tiles == 1, 0, tiles * overhead)
    is_worth_it = 4 * (wide * high * overhead - before) <= across * down
    return Grids(columns=np.where(is_worth_it, wide, columns), rows=np.where(is_worth_it, high, rows))


@lru_cache(maxsize=256)
def side_limits(policy: "TilingPolicy") -> Sizes:
    """For width and height, int64 (2, 1): the units a tile may have, and those of a cell, with overlap within these."""
    limits = [max(1, side // policy.multiple) for side in canvas_of(policy.tile_size)]
    while limits[0] * limits[1] * policy.multiple**2 > policy.max_tile_pixels:
        limits[limits[1] > limits[0]] -= 1
    cells = [_widest(limit, policy) for limit in limits]
    return np.array(limits).reshape(2, 1), np.array(cells).reshape(2, 1)


def _widest(limit: int, policy: "TilingPolicy") -> int:
    cells = np.arange(1, limit + 1)
    return int(cells[cells + 2 * _overlap_units(cells, policy) <= limit].max())


def _overlap_units(cells: Ints, policy: "TilingPolicy") -> Ints:
    """Units of overlap on each side of cells, rounded half up; overlap counts in millionths."""
    millionths = min(499_999, round((policy.overlap or 0) * 1_000_000))
    return (millionths * cells + 500_000) // 1_000_000


def _cuts(lengths: Ints, units: Ints, cells: Ints, policy: "TilingPolicy", *, is_rtl: bool) -> _Cuts:
    """Rule 4 for every column or row, in units."""
    positions = positions_of(cells)
    if is_rtl:
        positions = (cells - 1).repeat(cells) - positions
    whole = units.repeat(cells)
    edges = np.array((positions, positions + 1)) * whole // cells.repeat(cells)
    if policy.overlap:
        extra = _overlap_units(-(-units // cells), policy).repeat(cells)
        edges = np.array((np.maximum(0, edges[0] - extra), np.minimum(whole, edges[1] + extra)))
    return _Cuts(edges=edges, whole=whole, lengths=lengths.repeat(cells), multiple=policy.multiple)


def _enlarged(crops: Sizes, policy: "TilingPolicy") -> Sizes:
    """Rule 6: units of crops that are too small."""

    def units(sides: Ints, others: Ints) -> Ints:
        return whole_root(-(-policy.min_tile_pixels * sides // (others * policy.multiple**2)) - 1) + 1

    return units(*crops), units(crops[1], crops[0])


def _overviews(page: Sizes, units: Sizes, policy: "TilingPolicy") -> Sizes:
    """Output sizes of the overviews of pages (k,)."""
    size = policy.overview_size
    if policy.overview_buckets or not isinstance(size, int):
        return fixed_overviews(page, policy)
    limit = max(1, size // policy.multiple)
    longest = np.maximum(*page)
    is_shrunk = np.maximum(*units) > limit
    width, height = (
        np.where(is_shrunk, np.maximum(1, (2 * side * limit + longest) // (2 * longest)), whole)
        for side, whole in zip(page, units, strict=True)
    )
    small = np.flatnonzero(width * height * policy.multiple**2 < policy.min_tile_pixels)
    width[small], height[small] = _enlarged((page[0][small], page[1][small]), policy)
    return width * policy.multiple, height * policy.multiple


def _rounded(sides: Ints, multiple: int) -> Ints:
    """Rule 1: sides in whole units, at least one; halves to even."""
    return np.maximum(1, np.rint(sides / multiple)).astype(np.int64)
