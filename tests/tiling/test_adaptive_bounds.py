"""How far the adaptive policy's promises hold: the six pages of its table, every page up to 256x256, every unit shape.

A unit is the family's multiple, 28x28 pixels, one token. What is stated here is stated in docs/pixels.md.
"""

from math import ceil, sqrt

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from wdstream.records import Size, TilePlan
from wdstream.tiling.adaptive import TILE_OVERHEAD, choose_grids
from wdstream.tiling.policy import TilingPolicy, plan_tiles, plan_tiles_arrays

ADAPTIVE, CANVAS = TilingPolicy(), TilingPolicy(kind="shape_buckets")
MAX_PIXELS = 28 * 28 * 16_384
UNIT = 28 * 28


def uncut(width: int, height: int) -> Size:
    """(width, height) that Qwen2.5-VL makes of a whole page."""
    high, wide = smart_resize(height, width, factor=28, min_pixels=4 * UNIT, max_pixels=MAX_PIXELS)
    return wide, high


def tokens(plan: TilePlan) -> int:
    """Image tokens of a plan, each output as the family resizes it."""
    return sum(wide * high // UNIT for wide, high in (uncut(*size) for size in plan.sizes))


def content(plan: TilePlan) -> float:
    """Share of the canvases, as the family resizes them, that shows page."""
    shown = sum(place.width * place.height for place in plan.placements)
    return shown / sum(wide * high for wide, high in plan.sizes)


@pytest.mark.parametrize(
    ("page", "plain", "canvas_tokens", "canvas_content", "grid", "aspect"),
    [
        # untiled tokens; tokens and content under ocr_pages; the adaptive grid, its longest tile in sides
        ((600, 900), 672, 8_214, 0.112, (1, 1), 32 / 21),
        ((1240, 1754), 2_772, 8_214, 0.433, (2, 2), 32 / 22),
        ((1654, 2339), 4_956, 8_214, 0.77, (2, 3), 30 / 28),
        ((2480, 3508), 11_125, 8_214, 0.95, (3, 4), 32 / 29),
        ((200, 8000), 2_002, 10_952, 0.05, (1, 21), 14 / 7),
        ((1200, 60), 86, 8_214, 0.014, (2, 1), 22 / 2),
    ],
)
def test_the_six_pages(
    page: Size, plain: int, canvas_tokens: int, canvas_content: float, grid: Size, aspect: float
) -> None:
    fixed, cut = plan_tiles(*page, CANVAS), plan_tiles(*page, ADAPTIVE)
    assert (uncut(*page)[0] * uncut(*page)[1] // UNIT, tokens(fixed)) == (plain, canvas_tokens)
    assert content(fixed) == pytest.approx(canvas_content, abs=0.01)

    assert (tokens(cut), cut.grid) == (plain, grid)  # 1.00 times, where 1.10 is allowed
    assert content(cut) == 1
    assert max(max(size) / min(size) for size in cut.sizes) == pytest.approx(aspect)
    for (left, top, right, bottom), (wide, high) in zip(cut.boxes, cut.sizes, strict=True):
        assert wide - (right - left) <= 14  # no enlarging beyond half a unit
        assert high - (bottom - top) <= 14


def test_one_pixel() -> None:
    plan = plan_tiles(1, 1, ADAPTIVE)
    assert (plan.boxes, plan.sizes, plan.labels) == (((0, 0, 1, 1),), ((56, 56),), None)
    assert uncut(1, 1) == (56, 56)


def test_every_page_up_to_256() -> None:
    """All 65,536 are one tile, of the size that the family gives the page itself, or of fewer tokens: hairs keep their
    length, and four sizes whose enlarging comes out even are not given one more unit by rounding of floats."""
    widths, heights = (sides.ravel() for sides in np.meshgrid(np.arange(1, 257), np.arange(1, 257)))
    cut = plan_tiles_arrays(widths, heights, ADAPTIVE)
    assert set(cut.counts.tolist()) == {1}
    pages = zip(widths.tolist(), heights.tolist(), strict=True)
    found = dict(zip(pages, zip(cut.tile_widths.tolist(), cut.tile_heights.tolist(), strict=True), strict=True))
    other_size = {page for page, size in found.items() if is_accepted(page) and size != uncut(*page)}
    hairs = {page for page in other_size if is_hair(page)}
    assert other_size - hairs == {(19, 19), (38, 38), (19, 76), (76, 19)}
    assert (len(hairs), min(max(page) for page in hairs)) == (4228, 98)
    assert all(area(found[page]) <= area(uncut(*page)) for page in other_size)
    # Pages within 1:2 and 2:1 that become longer by rounding to whole units, as they do uncut: 64x127 is 2x5 units.
    rounded = [page for page, size in found.items() if max(page) <= 2 * min(page) and max(size) > 2 * min(size)]
    assert len(rounded) == 308
    assert all(found[page] == uncut(*page) for page in rounded)


def is_accepted(page: Size) -> bool:
    """Whether the family takes it uncut: not above 200:1."""
    return max(page) <= 200 * min(page)


def is_hair(page: Size) -> bool:
    """Whether a side rounds to no unit."""
    return min(page) <= 14


def area(size: Size) -> int:
    return size[0] * size[1]


@pytest.mark.parametrize("side", [1, 4, 5, 7, 14, 15, 28])
def test_hairs_keep_their_length(side: int) -> None:
    """Uncut, a side of 14 pixels or less is enlarged to a unit and the length shrunk for it, to 2 sqrt(length / side)
    units. Tiles keep the length, so above 1.10 times the uncut tokens are exactly those that the formula says."""
    lengths = np.arange(side, 200 * side + 1)
    cut = plan_tiles_arrays(lengths, np.full_like(lengths, side), ADAPTIVE)
    totals = np.add.reduceat(cut.tile_widths * cut.tile_heights // UNIT, cut.starts)
    dearer = [
        length
        for length, total in zip(lengths.tolist(), totals.tolist(), strict=True)
        if 10 * total * UNIT > 11 * area(uncut(length, side))
    ]
    expected = [length for length in lengths.tolist() if 10 * round(length / 28) > 11 * ceil(2 * sqrt(length / side))]
    assert dearer == (expected if 5 <= side <= 14 else [])
    assert bool(dearer) == (5 <= side <= 14)


def long_pages(across: list[int], down: list[int]) -> list[bool]:
    """Whether the grids of pages of these units have a tile beyond 1:2 or 2:1."""
    grids = choose_grids((np.array(across), np.array(down)), ADAPTIVE)
    pages = zip(across, down, grids.columns.tolist(), grids.rows.tolist(), strict=True)
    return [_is_long(columns_of(width, columns), columns_of(height, rows)) for width, height, columns, rows in pages]


def columns_of(units: int, cells: int) -> set[int]:
    """Units of the columns (or rows) that a side is cut into."""
    return {(cell + 1) * units // cells - cell * units // cells for cell in range(cells)}


def _is_long(wide: set[int], high: set[int]) -> bool:
    return max(wide) > 2 * min(high) or max(high) > 2 * min(wide)


LONG = {
    4: {*range(9, 37), 49, 57, 58, 59, *range(65, 70), 89, 97, 98, 99, *range(105, 109), 129, *range(137, 140), 169}
    | {177, 178, 179, 209, 249},
    5: {11, 12, 13, 14, 15, 21, 22, 23, 31},
    6: {13},
}
"""Units of the long side, by those of the short one."""


@pytest.mark.parametrize("shorts", [range(1, 48), pytest.param(range(48, 715), marks=pytest.mark.slow)])
def test_which_pages_have_tiles_beyond_two_to_one(shorts: range) -> None:
    """By the units of the short side, over all pages to 20,000 pixels: up to 3 (97 pixels) all that are longer than
    2:1, with 4 to 6 a few, from 7 units (183 pixels) on none. On all of them the labels of the tiles that are lacking
    would cost more than a quarter of the page."""
    for short in shorts:
        lengths, shorts_alike = list(range(short, 715)), [short] * (715 - short)
        lying, standing = long_pages(lengths, shorts_alike), long_pages(shorts_alike, lengths)
        found = {length for length, is_long in zip(lengths, lying, strict=True) if is_long}
        assert lying == standing
        if short <= 3:
            assert found == set(range(2 * short + 1, 715))
        else:
            assert found == LONG.get(short, set())
        for length in found:
            fewest, needed = ceil(length / 36), ceil(length / (2 * short))  # tiles, by their largest side; by 2:1
            added = needed - (fewest if fewest > 1 else 0)  # a page of one tile has no label
            assert 4 * added * TILE_OVERHEAD > length * short
