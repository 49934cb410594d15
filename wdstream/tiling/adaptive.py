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

from functools import lru_cache
from math import isqrt

from wdstream.records import Box, Placement, Size, TilePlan
from wdstream.tiling.grid import choose_bucket, filled, fit, labels
from wdstream.tiling.rules import base_rules
from wdstream.tiling.settings import TilingSettings

TILE_OVERHEAD = 10
"""Tokens around a labelled tile: newline and <row0_col1> are 7-8 in BPE vocabularies, vision start and end are 2."""
BARE_OVERHEAD = 3
"""Tokens around a tile without label: newline, vision start, vision end."""

Output = tuple[Size, Placement]


def plan_adaptive(width: int, height: int, policy: TilingSettings) -> TilePlan:
    """The plan of a page by the rules above."""
    rules = base_rules(policy)
    units = page_units(width, height, policy)
    whole: Box = (0, 0, width, height)
    grid = (1, 1) if width * height < rules.min_area else choose_grid(units, policy)
    across = _cuts(width, units[0], grid[0], policy)
    down = _cuts(height, units[1], grid[1], policy)
    if rules.reading_order == "rtl":
        across.reverse()
    boxes = [(left, top, right, bottom) for top, bottom, _ in down for left, right, _ in across]
    sizes = [
        (right - left, bottom - top)
        if policy.native_resolution
        else _scaled((wide, high), (right - left, bottom - top), policy)
        for top, bottom, high in down
        for left, right, wide in across
    ]
    outputs: list[Output] = [(size, filled(size)) for size in sizes]
    has_overview = rules.wants_overview and len(outputs) > 1
    if has_overview:
        outputs.insert(0, _overview((width, height), units, policy))
        boxes.insert(0, whole)
    is_labelled = policy.tile_labels and len(outputs) > 1
    return TilePlan(
        grid=grid,
        boxes=tuple(boxes),
        sizes=tuple(size for size, _ in outputs),
        placements=tuple(placement for _, placement in outputs),
        labels=labels(*grid, has_overview=has_overview, reading_order=rules.reading_order) if is_labelled else None,
        has_overview=has_overview,
        pad_color=rules.pad_color,
        has_own_labels=is_labelled and policy.own_labels,
    )


def page_units(width: int, height: int, policy: TilingSettings) -> Size:
    """Rule 1: the page in units of the family's multiple."""
    multiple, limit = policy.multiple, policy.max_page_pixels
    units = max(1, round(width / multiple)), max(1, round(height / multiple))
    if policy.native_resolution or limit is None or units[0] * units[1] * multiple**2 <= limit:
        return units
    return (
        max(1, isqrt(limit * width // (height * multiple**2))),
        max(1, isqrt(limit * height // (width * multiple**2))),
    )


def choose_grid(units: Size, policy: TilingSettings) -> Size:
    """Rules 2 and 3: (columns, rows) for a page of so many units."""
    across, down = units
    columns, rows = (_fewest(side, limits) for side, limits in zip(units, side_limits(policy), strict=True))
    wide, high = columns, rows
    if _ceil(across, columns) > 2 * (down // rows):
        wide = _ceil(across, 2 * (down // rows))
    elif _ceil(down, rows) > 2 * (across // columns):
        high = _ceil(down, 2 * (across // columns))
    overhead = TILE_OVERHEAD if policy.text_labels else BARE_OVERHEAD
    before = 0 if columns * rows == 1 else columns * rows * overhead
    is_worth_it = 4 * (wide * high * overhead - before) <= across * down
    return (wide, high) if is_worth_it else (columns, rows)


@lru_cache(maxsize=256)
def side_limits(policy: TilingSettings) -> tuple[Size, Size]:
    """For width and height: (units a tile may have, units of a cell that with overlap on both sides stays within)."""
    size = policy.tile_size
    sides = (size, size) if isinstance(size, int) else size
    limits = [max(1, side // policy.multiple) for side in sides]
    while limits[0] * limits[1] * policy.multiple**2 > policy.max_tile_pixels:
        limits[limits[1] > limits[0]] -= 1
    cells = [max(cell for cell in range(1, limit + 1) if _fits(cell, limit, policy)) for limit in limits]
    return (limits[0], cells[0]), (limits[1], cells[1])


def overlap_units(cell: int, policy: TilingSettings) -> int:
    """Units of overlap on each side of a cell, rounded half up; overlap counts in millionths."""
    return (overlap_millionths(policy) * cell + 500_000) // 1_000_000


def overlap_millionths(policy: TilingSettings) -> int:
    """The policy's overlap as a whole number of millionths."""
    return min(499_999, round(base_rules(policy).overlap * 1_000_000))


def _fits(cell: int, limit: int, policy: TilingSettings) -> bool:
    return cell + 2 * overlap_units(cell, policy) <= limit


def _fewest(side: int, limits: Size) -> int:
    limit, cell = limits
    return 1 if side <= limit else _ceil(side, cell)


def _ceil(value: int, divisor: int) -> int:
    return -(-value // divisor)


def _cuts(length: int, units: int, cells: int, policy: TilingSettings) -> list[tuple[int, int, int]]:
    """Rule 4: (first pixel, end pixel, units) of each column or row."""
    extra = overlap_units(_ceil(units, cells), policy)
    result = []
    for place in range(cells):
        first = max(0, place * units // cells - extra)
        end = min(units, (place + 1) * units // cells + extra)
        result.append((cut_at(first, length, units, policy), cut_at(end, length, units, policy), end - first))
    return result


def cut_at(unit: int, length: int, units: int, policy: TilingSettings) -> int:
    """The pixel where a unit begins on a side of `length` pixels and `units` units; the last ends with the page."""
    if unit == units:
        return length
    if units == max(1, round(length / policy.multiple)):
        return unit * policy.multiple
    return (2 * unit * length + units) // (2 * units)


def _scaled(units: Size, crop: Size, policy: TilingSettings) -> Size:
    """Rules 5 and 6: the output size of a crop of so many units."""
    multiple = policy.multiple
    if units[0] * units[1] * multiple**2 < policy.min_tile_pixels:
        units = enlarged_side(*crop, policy), enlarged_side(crop[1], crop[0], policy)
    return units[0] * multiple, units[1] * multiple


def enlarged_side(side: int, other: int, policy: TilingSettings) -> int:
    """Rule 6: units of `side` of a crop of side x other pixels that is too small."""
    square = _ceil(policy.min_tile_pixels * side, other * policy.multiple**2)
    return isqrt(square - 1) + 1


def _overview(page: Size, units: Size, policy: TilingSettings) -> Output:
    rules = base_rules(policy)
    if rules.overview_buckets:
        canvas = choose_bucket(page, rules.overview_buckets)
        return canvas, fit(page, canvas, no_upscale=rules.no_upscale)
    size = rules.overview_size
    if not isinstance(size, int):
        assert size is not None, "asked for an overview by a policy without one"
        return size, filled(size)
    limit = max(1, size // policy.multiple)
    if max(units) > limit:
        longest = max(page)
        units = _shrunk(page[0], longest, limit), _shrunk(page[1], longest, limit)
    shrunk = _scaled(units, page, policy)
    return shrunk, filled(shrunk)


def _shrunk(side: int, longest: int, limit: int) -> int:
    return max(1, (2 * side * limit + longest) // (2 * longest))
