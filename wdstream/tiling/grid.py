"""Fixed grids and canvases (kinds grid, shape_buckets and none): axolotl's rules, to the pixel, for n pages at once.

Every rounding is half to even on float64 (numpy's `rint`), in the reference's order of operations. Aspect limits are
compared exactly, as fractions: height * denominator against width * numerator, in whole numbers.
A page too small for its grid: where the reference cuts an empty crop, the grid is reduced to at most as many columns
and rows as the page has pixels, so that no tile is ever empty (a 1x1 page under a 2x3 grid is one tile).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Bools, Ints, Placement, Size
from wdstream.tiling.arrays import CutPages, Floats, Grids, Sizes, Spans, positions_of
from wdstream.tiling.settings import ShapeBucket

if TYPE_CHECKING:
    from wdstream.tiling.policy import TilingPolicy

Limits = tuple[Fraction | None, Fraction | None]


@lru_cache(maxsize=256)
def bucket_policies(policy: "TilingPolicy") -> tuple[tuple[Limits, "TilingPolicy"], ...]:
    """The shape buckets in the order they are tried: aspects from, and below, and what then holds for a page.

    Empty unless the policy's kind is shape_buckets.
    """
    if policy.kind != "shape_buckets":
        return ()
    shared = set(type(policy).model_fields) & set(ShapeBucket.model_fields)
    return tuple(
        (
            (_limit(bucket.min_aspect_ratio), _limit(bucket.max_aspect_ratio)),
            policy.replace(**{name: value for name, value in bucket if name in shared and value is not None}),
        )
        for bucket in policy.buckets
    )


def _limit(value: float | None) -> Fraction | None:
    # The decimal the user wrote, 0.9 is 9/10; or the fraction a long decimal stands for, 0.8333333333333334 is 5/6.
    return None if value is None else Fraction(repr(value)).limit_denominator(1_000_000)


def cut_fixed(page: Sizes, policy: "TilingPolicy") -> CutPages:
    """The pages under kind grid, shape_buckets or none."""
    if policy.kind == "none":
        return _cut_none(page, policy)
    policies, chosen = _policies_of_pages(page, policy)
    overlap = np.array([rule.overlap for rule in policies], dtype=np.float64)[chosen]
    is_rtl = np.array([rule.reading_order == "rtl" for rule in policies])[chosen]
    is_uncut = page[0] * page[1] < np.array([rule.min_area for rule in policies], dtype=np.int64)[chosen]
    grid = np.array([rule.grid for rule in policies], dtype=np.int64)
    wanted = Grids(columns=grid[chosen, 0], rows=grid[chosen, 1])
    grids = _reduced(page, wanted, overlap).unless(is_uncut)

    def spans() -> tuple[Spans, Spans]:
        return (
            _spans(page[0], grids.columns, overlap, is_rtl),
            _spans(page[1], grids.rows, overlap, np.zeros_like(is_rtl)),
        )

    if policy.native_resolution:
        across, down = spans()
        tiles = grids.spread(across[1] - across[0], down[1] - down[0])
    else:
        canvas = np.array([canvas_of(rule.tile_size) for rule in policies], dtype=np.int64)
        counts = grids.columns * grids.rows
        tiles = np.repeat(canvas[chosen, 0], counts), np.repeat(canvas[chosen, 1], counts)
    owners, overviews = _overviews_of_pages(page, policies, chosen, is_uncut)
    return CutPages(
        grids=grids, tiles=tiles, owners=owners, overviews=overviews, policies=policies, chosen=chosen, spans=spans
    )


def _cut_none(page: Sizes, policy: "TilingPolicy") -> CutPages:
    """Pages that are not cut: on the best of resize_buckets, else at image_size, else as they are."""
    ones, zeros, none = np.ones_like(page[0]), np.zeros_like(page[0]), np.zeros(0, dtype=np.int64)
    if policy.resize_buckets:
        tiles = choose_canvases(page, policy.resize_buckets)
    else:
        tiles = page if policy.image_size is None else _canvases(page, policy.image_size)
    return CutPages(
        grids=Grids(columns=ones, rows=ones),
        tiles=tiles,
        owners=np.flatnonzero(zeros),
        overviews=(none, none),
        policies=(policy,),
        chosen=zeros,
        spans=lambda: ((zeros, page[0]), (zeros, page[1])),
    )


def _policies_of_pages(page: Sizes, policy: "TilingPolicy") -> tuple[list["TilingPolicy"], Ints]:
    """What holds for each page: the policies of the buckets, last the policy itself; and (n,) which of them."""
    buckets = bucket_policies(policy)
    widths, heights = page
    chosen = np.full(len(widths), len(buckets), dtype=np.int64)
    for number in range(len(buckets) - 1, -1, -1):  # backwards, so that the first match is written last
        low, high = buckets[number][0]
        matches = np.ones(len(widths), dtype=np.bool_)
        if low is not None:
            matches &= heights * low.denominator >= widths * low.numerator
        if high is not None:
            matches &= heights * high.denominator < widths * high.numerator
        chosen[matches] = number
    return [*(rule for _, rule in buckets), policy], chosen


def _spans(lengths: Ints, cells: Ints, overlap: Floats, is_reversed: Bools) -> Spans:
    """Every column (or row) of every page, flat (cells.sum(),) in emission order."""
    positions = positions_of(cells)
    positions = np.where(np.repeat(is_reversed, cells), np.repeat(cells - 1, cells) - positions, positions)
    cell = lengths / cells
    extra = np.repeat(cell * overlap, cells)
    cell = np.repeat(cell, cells)
    first = np.maximum(0.0, np.rint(positions * cell - extra))
    end = np.minimum(np.repeat(lengths, cells), np.rint((positions + 1) * cell + extra))
    return first.astype(np.int64), end.astype(np.int64)  # whole numbers already


def _reduced(page: Sizes, grids: Grids, overlap: Floats) -> Grids:
    """Grids with at most as many columns and rows as pixels, for pages where a tile would be empty."""
    # A cell of at least one pixel rounds to at least one pixel, so only smaller pages can have an empty tile.
    suspects = np.flatnonzero((page[0] < grids.columns) | (page[1] < grids.rows))
    if not len(suspects):
        return grids
    has_empty = np.zeros(len(suspects), dtype=np.bool_)
    for lengths, all_cells in zip(page, (grids.columns, grids.rows), strict=True):
        cells = all_cells[suspects]
        first, end = _spans(lengths[suspects], cells, overlap[suspects], np.zeros(len(suspects), dtype=np.bool_))
        has_empty |= np.minimum.reduceat(end - first, cells.cumsum() - cells) <= 0
    small = np.zeros(len(page[0]), dtype=np.bool_)
    small[suspects[has_empty]] = True
    return Grids(
        columns=np.where(small, np.minimum(page[0], grids.columns), grids.columns),
        rows=np.where(small, np.minimum(page[1], grids.rows), grids.rows),
    )


def _overviews_of_pages(
    page: Sizes, policies: Sequence["TilingPolicy"], chosen: Ints, is_uncut: Bools
) -> tuple[NDArray[np.intp], Sizes]:
    """Which pages have an overview, (k,), and the sizes of these."""
    wants_overview = np.array([policy.wants_overview for policy in policies])[chosen]
    owners = np.flatnonzero(wants_overview & ~is_uncut)
    widths, heights = np.zeros((2, len(owners)), dtype=np.int64)
    for number in np.unique(chosen[owners]).tolist():
        alike = chosen[owners] == number
        pages = page[0][owners[alike]], page[1][owners[alike]]
        widths[alike], heights[alike] = fixed_overviews(pages, policies[number])
    return owners, (widths, heights)


def fixed_overviews(page: Sizes, policy: "TilingPolicy") -> Sizes:
    """Output sizes of overviews on fixed canvases."""
    if policy.overview_buckets:
        return choose_canvases(page, policy.overview_buckets)
    assert policy.overview_size is not None, "asked for an overview by a policy without one"
    return _canvases(page, policy.overview_size)


def choose_canvases(page: Sizes, buckets: Sequence[Size]) -> Sizes:
    """The canvas for each image: the smallest that holds it, else the one that shrinks it least; (n,) each.

    Candidates are ordered by (area, width, height). Among those that hold the image the smallest area wins, then the
    closest width / height; else the largest min(width ratio, height ratio), then the smallest area; then the order.
    """
    candidates = sorted(set(buckets), key=lambda bucket: (bucket[0] * bucket[1], *bucket))
    chosen, holding = (np.zeros(len(page[0]), dtype=np.int64) for _ in range(2))
    score, area, ratio = (np.full(len(page[0]), value) for value in (-np.inf, np.inf, np.inf))
    shape = page[0] / page[1]
    for number, (width, height) in enumerate(candidates):
        shrink = np.minimum(width / page[0], height / page[1])
        difference = np.abs(width / height - shape)
        holds = (page[0] <= width) & (page[1] <= height)
        # Areas rise: the first that holds the page is the smallest, a later one wins only at equal area.
        better = np.where(
            holds,
            (holding == 0) | ((area == width * height) & (difference < ratio)),
            (holding == 0) & (shrink > score),
        )
        chosen[better], score[better] = number, shrink[better]
        area[better & holds], ratio[better & holds] = width * height, difference[better & holds]
        holding[holds] = 1
    table = np.array(candidates, dtype=np.int64)
    return table[chosen, 0], table[chosen, 1]


def canvas_of(size: int | Size) -> Size:
    """(width, height) of a canvas that is set as a side or a pair."""
    return (size, size) if isinstance(size, int) else size


def _canvases(page: Sizes, size: int | Size) -> Sizes:
    """A canvas of one size for every page."""
    width, height = canvas_of(size)
    return np.full_like(page[0], width), np.full_like(page[1], height)


def fit(content: Size, canvas: Size, *, no_upscale: bool) -> Placement:
    """Scale `content` to fit `canvas`, keeping its aspect, and centre it."""
    (width, height), (canvas_width, canvas_height) = content, canvas
    scale = min(canvas_width / width, canvas_height / height)
    if no_upscale:
        scale = min(scale, 1.0)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    return Placement(width=width, height=height, left=(canvas_width - width) // 2, top=(canvas_height - height) // 2)
