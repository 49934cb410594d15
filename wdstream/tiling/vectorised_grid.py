"""Vectorised twin of the fixed policies (grid.py and plan_tiles' kinds grid, shape_buckets and none).

The same float64 operations in the same order, so the same roundings; n is the number of pages.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Size
from wdstream.tiling.ragged import CutPages, Flags, Grids, Ints, Sizes, places_of, starts_of
from wdstream.tiling.rules import Rules, base_rules, bucket_rules
from wdstream.tiling.settings import TilingSettings

Floats = NDArray[np.float64]


class _PageRules:
    """The settings of each page as arrays (n,): `chosen` are places in the list `settings`."""

    def __init__(self, chosen: Ints, settings: list[Rules]) -> None:
        canvas = np.array([canvas_of(rules.tile_size) for rules in settings], dtype=np.int64)
        grid = np.array([rules.grid for rules in settings], dtype=np.int64)
        self.columns, self.rows = grid[chosen, 0], grid[chosen, 1]
        self.tile_width, self.tile_height = canvas[chosen, 0], canvas[chosen, 1]
        self.overlap = np.array([rules.overlap for rules in settings])[chosen]
        self.min_area = np.array([rules.min_area for rules in settings], dtype=np.int64)[chosen]
        self.is_rtl = np.array([rules.reading_order == "rtl" for rules in settings])[chosen]
        self.wants_overview = np.array([rules.wants_overview for rules in settings])[chosen]


def plan(page: Sizes, policy: TilingSettings) -> CutPages:
    """The pages under kind grid, shape_buckets or none."""
    if policy.kind == "none":
        return _plan_uncut(page, policy)
    chosen, settings = rule_of_pages(*page, policy)
    rules = _PageRules(chosen, settings)
    is_uncut = page[0] * page[1] < rules.min_area
    grids = reduce_grids(page, Grids(columns=rules.columns, rows=rules.rows), rules.overlap).unless(is_uncut)
    owners = np.flatnonzero(rules.wants_overview & ~is_uncut)
    overviews_of_owners = np.zeros(len(owners), dtype=np.int64), np.zeros(len(owners), dtype=np.int64)
    for place, of_place in enumerate(settings):
        where = chosen[owners] == place
        if where.any():
            own = owners[where]
            overviews_of_owners[0][where], overviews_of_owners[1][where] = overviews(
                (page[0][own], page[1][own]), of_place
            )
    if policy.native_resolution:
        tiles = crop_sizes(page, grids, rules.overlap, rules.is_rtl)
    else:
        counts = grids.columns * grids.rows
        tiles = np.repeat(rules.tile_width, counts), np.repeat(rules.tile_height, counts)
    return CutPages(grids=grids, tiles=tiles, owners=owners, overviews=overviews_of_owners, is_rtl=rules.is_rtl)


def _plan_uncut(page: Sizes, policy: TilingSettings) -> CutPages:
    ones, none = np.ones_like(page[0]), np.zeros(0, dtype=np.int64)
    return CutPages(
        grids=Grids(columns=ones, rows=ones),
        tiles=resized(page, policy),
        owners=np.flatnonzero(ones == 0),
        overviews=(none, none),
        is_rtl=np.full(len(ones), policy.reading_order == "rtl"),
    )


def rule_of_pages(widths: Ints, heights: Ints, policy: TilingSettings) -> tuple[Ints, list[Rules]]:
    """Which settings hold for each page: places (n,) in the list; the last is the policy's own."""
    buckets = bucket_rules(policy)
    chosen = np.full(len(widths), len(buckets), dtype=np.int64)
    for place in range(len(buckets) - 1, -1, -1):  # backwards, so that the first match is written last
        low, high = buckets[place].low, buckets[place].high
        matches = np.ones(len(widths), dtype=np.bool_)
        if low is not None:
            matches &= heights * low.denominator >= widths * low.numerator
        if high is not None:
            matches &= heights * high.denominator < widths * high.numerator
        chosen[matches] = place
    return chosen, [*(bucket.rules for bucket in buckets), base_rules(policy)]


def spans(lengths: Ints, cells: Ints, overlap: Floats, is_reversed: Flags) -> Ints:
    """Extent in pixels of every column (or row) of every page, flat (cells.sum(),) in emission order."""
    places = places_of(cells)
    places = np.where(np.repeat(is_reversed, cells), np.repeat(cells - 1, cells) - places, places)
    cell = lengths / cells
    extra = np.repeat(cell * overlap, cells)
    cell = np.repeat(cell, cells)
    first = np.maximum(0.0, np.rint(places * cell - extra))
    end = np.minimum(np.repeat(lengths, cells), np.rint((places + 1) * cell + extra))
    return (end - first).astype(np.int64)


def reduce_grids(page: Sizes, grids: Grids, overlap: Floats) -> Grids:
    """Grids with at most as many columns and rows as pixels, for pages where a tile would be empty."""
    suspects = np.flatnonzero((page[0] < grids.columns) | (page[1] < grids.rows))
    if not len(suspects):
        return grids
    has_empty = np.zeros(len(suspects), dtype=np.bool_)
    for lengths, all_cells in zip(page, (grids.columns, grids.rows), strict=True):
        cells = all_cells[suspects]
        extents = spans(lengths[suspects], cells, overlap[suspects], np.zeros(len(suspects), dtype=np.bool_))
        has_empty |= np.minimum.reduceat(extents, starts_of(cells)) <= 0
    small = np.zeros(len(page[0]), dtype=np.bool_)
    small[suspects[has_empty]] = True
    return Grids(
        columns=np.where(small, np.minimum(page[0], grids.columns), grids.columns),
        rows=np.where(small, np.minimum(page[1], grids.rows), grids.rows),
    )


def crop_sizes(page: Sizes, grids: Grids, overlap: Floats, is_rtl: Flags) -> Sizes:
    """Width and height of every crop, in emission order."""
    across = spans(page[0], grids.columns, overlap, is_rtl)
    down = spans(page[1], grids.rows, overlap, np.zeros(len(is_rtl), dtype=np.bool_))
    return grids.widths(across), grids.heights(down)


def choose_buckets(page: Sizes, buckets: Sequence[Size]) -> Sizes:
    """`tile_fixed.choose_bucket` of every page: canvas widths and heights (n,)."""
    candidates = sorted(set(buckets), key=lambda bucket: (bucket[0] * bucket[1], *bucket))
    chosen, holding = (np.zeros(len(page[0]), dtype=np.int64) for _ in range(2))
    score, area, ratio = (np.full(len(page[0]), value) for value in (-np.inf, np.inf, np.inf))
    shape = page[0] / page[1]
    for place, (width, height) in enumerate(candidates):
        shrink = np.minimum(width / page[0], height / page[1])
        difference = np.abs(width / height - shape)
        holds = (page[0] <= width) & (page[1] <= height)
        # Areas rise: the first that holds the page is the smallest, a later one wins only at equal area.
        better = np.where(
            holds,
            (holding == 0) | ((area == width * height) & (difference < ratio)),
            (holding == 0) & (shrink > score),
        )
        chosen[better], score[better] = place, shrink[better]
        area[better & holds], ratio[better & holds] = width * height, difference[better & holds]
        holding[holds] = 1
    table = np.array(candidates, dtype=np.int64)
    return table[chosen, 0], table[chosen, 1]


def canvas_of(size: int | Size) -> Size:
    """(width, height) of a canvas given as a side or a pair."""
    return (size, size) if isinstance(size, int) else size


def canvases(page: Sizes, size: int | Size) -> Sizes:
    """A canvas of one size for every page."""
    width, height = canvas_of(size)
    return np.full_like(page[0], width), np.full_like(page[1], height)


def overviews(page: Sizes, rules: Rules) -> Sizes:
    """Output sizes of overviews on fixed canvases."""
    if rules.overview_buckets:
        return choose_buckets(page, rules.overview_buckets)
    assert rules.overview_size is not None, "asked for an overview by a policy without one"
    return canvases(page, rules.overview_size)


def resized(page: Sizes, policy: TilingSettings) -> Sizes:
    """Output sizes of images that are not cut (kind none)."""
    if policy.resize_buckets:
        return choose_buckets(page, policy.resize_buckets)
    return page if policy.image_size is None else canvases(page, policy.image_size)
