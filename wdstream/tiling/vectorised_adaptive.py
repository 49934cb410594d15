"""Vectorised twin of adaptive.py, rule by rule; n is the number of pages, m the family's size multiple."""

from dataclasses import dataclass

import numpy as np

from wdstream.tiling.adaptive import BARE_OVERHEAD, TILE_OVERHEAD, overlap_millionths, side_limits
from wdstream.tiling.ragged import CutPages, Grids, Ints, Sizes, ceil_div, places_of, whole_root
from wdstream.tiling.rules import base_rules
from wdstream.tiling.settings import TilingSettings
from wdstream.tiling.vectorised_grid import overviews as fixed_overviews


def plan(page: Sizes, policy: TilingSettings) -> CutPages:
    """`plan_adaptive` of all pages."""
    rules = base_rules(policy)
    units = page_units(page, policy)
    grids = choose_grids(units, policy).unless(page[0] * page[1] < rules.min_area)
    owners = np.flatnonzero((grids.columns * grids.rows > 1) & rules.wants_overview)
    return CutPages(
        grids=grids,
        tiles=tile_sizes(page, units, grids, policy),
        owners=owners,
        overviews=overviews((page[0][owners], page[1][owners]), (units[0][owners], units[1][owners]), policy),
        is_rtl=np.full(len(page[0]), rules.reading_order == "rtl"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cuts:
    """Columns (or rows) of all pages, flat: first and end unit, and units and pixels of the page's side."""

    first: Ints
    end: Ints
    whole: Ints
    lengths: Ints

    @property
    def units(self) -> Ints:
        return self.end - self.first

    def pixels(self, multiple: int) -> Ints:
        """Pixels of the page that each covers."""
        return self._at(self.end, multiple) - self._at(self.first, multiple)

    def _at(self, unit: Ints, multiple: int) -> Ints:
        on_lattice = self.whole == _rounded(self.lengths, multiple)
        inside = np.where(on_lattice, unit * multiple, (2 * unit * self.lengths + self.whole) // (2 * self.whole))
        return np.where(unit == self.whole, self.lengths, inside)


def page_units(page: Sizes, policy: TilingSettings) -> Sizes:
    """Rule 1: pages in units, (n,) each."""
    multiple, limit = policy.multiple, policy.max_page_pixels
    across, down = _rounded(page[0], multiple), _rounded(page[1], multiple)
    if policy.native_resolution or limit is None:
        return across, down
    large = np.flatnonzero(across * down * multiple**2 > limit)
    if len(large):
        width, height = page[0][large], page[1][large]
        across[large] = np.maximum(1, whole_root(limit * width // (height * multiple**2)))
        down[large] = np.maximum(1, whole_root(limit * height // (width * multiple**2)))
    return across, down


def choose_grids(units: Sizes, policy: TilingSettings) -> Grids:
    """Rules 2 and 3."""
    across, down = units
    limits = side_limits(policy)
    columns, rows = _fewest(across, *limits[0]), _fewest(down, *limits[1])
    low, narrow = down // rows, across // columns
    is_wide = ceil_div(across, columns) > 2 * low
    is_high = (ceil_div(down, rows) > 2 * narrow) & ~is_wide
    wide, high = columns.copy(), rows.copy()
    wide[is_wide] = ceil_div(across[is_wide], 2 * low[is_wide])
    high[is_high] = ceil_div(down[is_high], 2 * narrow[is_high])
    overhead = TILE_OVERHEAD if policy.text_labels else BARE_OVERHEAD
    tiles = columns * rows
    before = np.where(tiles == 1, 0, tiles * overhead)
    is_worth_it = 4 * (wide * high * overhead - before) <= across * down
    return Grids(columns=np.where(is_worth_it, wide, columns), rows=np.where(is_worth_it, high, rows))


def tile_sizes(page: Sizes, units: Sizes, grids: Grids, policy: TilingSettings) -> Sizes:
    """Rules 4 to 6: output width and height of every tile, in emission order."""
    multiple = policy.multiple
    across = _cuts(page[0], units[0], grids.columns, policy, is_rtl=base_rules(policy).reading_order == "rtl")
    down = _cuts(page[1], units[1], grids.rows, policy, is_rtl=False)
    if policy.native_resolution:
        return grids.widths(across.pixels(multiple)), grids.heights(down.pixels(multiple))
    widths, heights = grids.widths(across.units), grids.heights(down.units)
    small = np.flatnonzero(widths * heights * multiple**2 < policy.min_tile_pixels)
    if len(small):
        crop = grids.widths(across.pixels(multiple))[small], grids.heights(down.pixels(multiple))[small]
        widths[small], heights[small] = enlarged_sides(*crop, policy), enlarged_sides(crop[1], crop[0], policy)
    return widths * multiple, heights * multiple


def enlarged_sides(sides: Ints, others: Ints, policy: TilingSettings) -> Ints:
    """Rule 6: units of sides of crops that are too small."""
    squares = ceil_div(policy.min_tile_pixels * sides, others * policy.multiple**2)
    return whole_root(squares - 1) + 1


def overviews(page: Sizes, units: Sizes, policy: TilingSettings) -> Sizes:
    """Output sizes of the overviews of pages (k,)."""
    rules = base_rules(policy)
    size = rules.overview_size
    if not rules.wants_overview:
        return page  # no page has one
    if rules.overview_buckets or not isinstance(size, int):
        return fixed_overviews(page, rules)
    limit = max(1, size // policy.multiple)
    longest = np.maximum(*page)
    is_shrunk = np.maximum(*units) > limit
    width, height = (
        np.where(is_shrunk, np.maximum(1, (2 * side * limit + longest) // (2 * longest)), whole)
        for side, whole in zip(page, units, strict=True)
    )
    small = np.flatnonzero(width * height * policy.multiple**2 < policy.min_tile_pixels)
    width[small] = enlarged_sides(page[0][small], page[1][small], policy)
    height[small] = enlarged_sides(page[1][small], page[0][small], policy)
    return width * policy.multiple, height * policy.multiple


def _rounded(sides: Ints, multiple: int) -> Ints:
    return np.maximum(1, np.rint(sides / multiple)).astype(np.int64)


def _fewest(sides: Ints, limit: int, cell: int) -> Ints:
    return np.where(sides <= limit, 1, ceil_div(sides, cell))


def _cuts(lengths: Ints, units: Ints, cells: Ints, policy: TilingSettings, *, is_rtl: bool) -> _Cuts:
    """Rule 4 for every column or row."""
    places = places_of(cells)
    if is_rtl:
        places = np.repeat(cells - 1, cells) - places
    whole, parts = np.repeat(units, cells), np.repeat(cells, cells)
    first, end = places * whole // parts, (places + 1) * whole // parts
    if overlap_millionths(policy):
        extra = np.repeat((overlap_millionths(policy) * ceil_div(units, cells) + 500_000) // 1_000_000, cells)
        first, end = np.maximum(0, first - extra), np.minimum(whole, end + extra)
    return _Cuts(first=first, end=end, whole=whole, lengths=np.repeat(lengths, cells))
