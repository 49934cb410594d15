"""Many pages at once are cut as each is alone, for every policy and size, and as they always were."""

import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wdstream.tiling.arrays import distinct_sizes
from wdstream.tiling.policy import TilingPolicy, plan_tiles, plan_tiles_arrays
from wdstream.tiling.settings import ShapeBucket

STRIPS = (
    ShapeBucket(grid=(4, 1), max_aspect_ratio=0.5, tile_size=384, overlap=0, reading_order="rtl"),
    ShapeBucket(grid=(1, 5), min_aspect_ratio=3, min_area=100_000, overview_size=300),
    ShapeBucket(grid=(2, 2), min_aspect_ratio=2, overview_buckets=((300, 200), (200, 300), (500, 500)), overlap=0.4),
)
BUCKETS = ((400, 400), (200, 50), (100, 100), (400, 100), (50, 200), (60_000, 60_000))
POLICIES = (
    TilingPolicy(),
    TilingPolicy(tile_labels=False, tile_size=448, min_area=10_000, reading_order="rtl"),
    TilingPolicy(overlap=0.2, overview_size=448),
    TilingPolicy(overlap=0.4999999, tile_size=(300, 900), overview_size=(100, 70), reading_order="rtl"),
    TilingPolicy(overview_buckets=BUCKETS, multiple=32, min_tile_pixels=65_536, max_page_pixels=1_000_000),
    TilingPolicy(native_resolution=True, overlap=0.1, overview_size=30),
    TilingPolicy(multiple=1, min_tile_pixels=1, tile_size=1536, max_page_pixels=None),
    TilingPolicy(multiple=14, min_tile_pixels=10_000, tile_size=14, max_page_pixels=40_000),
    TilingPolicy(kind="grid", overview_size=448, min_area=5_000),
    TilingPolicy(kind="grid", grid=(5, 7), native_resolution=True, overlap=0.3, reading_order="rtl"),
    TilingPolicy(kind="shape_buckets", tile_size=(448, 672), overview_buckets=BUCKETS),
    TilingPolicy(kind="shape_buckets", grid=(1, 1), shape_buckets=STRIPS),
    TilingPolicy(kind="shape_buckets", grid=(3, 3), shape_buckets=STRIPS, native_resolution=True),
    TilingPolicy(kind="native"),
    TilingPolicy(kind="none"),
    TilingPolicy(kind="none", image_size=300, reading_order="rtl"),
    TilingPolicy(kind="none", image_size=(300, 310)),
    TilingPolicy(kind="none", resize_buckets=BUCKETS),
)
SIDES = st.one_of(st.integers(1, 90), st.integers(1, 4_000), st.integers(1, 20_000), st.integers(1, 1 << 24))


@settings(deadline=None, max_examples=300)
@given(policy=st.sampled_from(POLICIES), pages=st.lists(st.tuples(SIDES, SIDES), max_size=8))
@example(policy=POLICIES[0], pages=[(1 << 24, 1 << 24), (1, 1 << 24), (1 << 24, 1)])
@example(policy=POLICIES[9], pages=[(1, 1), (7, 4), (5, 7), (600, 900)])
def test_arrays_equal_plans(policy: TilingPolicy, pages: list[tuple[int, int]]) -> None:
    pages = [page for page in pages if _is_small(page, policy)]
    _assert_equal(policy, pages)


@pytest.mark.parametrize("policy", POLICIES)
def test_arrays_equal_plans_on_every_small_page(policy: TilingPolicy) -> None:
    _assert_equal(policy, [(width, height) for width in range(1, 34, 2) for height in range(1, 34)])


def test_plans_are_those_of_before() -> None:
    """Of all policies and 144 sizes, every box, size, placement and label, as a plan of pages one by one had them."""
    sides = (1, 2, 7, 13, 56, 97, 333, 600, 899, 1240, 2480, 3508)
    digest = hashlib.sha256()
    for policy in POLICIES:
        for width in sides:
            for height in sides:
                if _is_small((width, height), policy):
                    plan = plan_tiles(width, height, policy)
                    fields = (plan.grid, plan.boxes, plan.sizes, plan.labels, plan.has_overview, plan.pad_color)
                    places = [(place.width, place.height, place.left, place.top) for place in plan.placements]
                    digest.update(repr((fields, places, plan.has_own_labels)).encode())
    assert digest.hexdigest() == "afe6d32595d45f44c0d3970d6d3003fbc8bef261f1ce77f171627c195ad63c1c"


def test_starts_point_at_each_pages_tiles() -> None:
    arrays = plan_tiles_arrays([600, 2480, 60], [900, 3508, 60], TilingPolicy(overview_size=448))
    assert arrays.counts.tolist() == [1, 13, 1]
    assert arrays.starts.tolist() == [0, 1, 14]
    assert (arrays.tile_widths[1], arrays.tile_heights[1]) == (308, 448)


def test_no_pages() -> None:
    for policy in POLICIES:
        arrays = plan_tiles_arrays([], [], policy)
        assert (len(arrays.counts), len(arrays.tile_widths), len(arrays.is_rtl)) == (0, 0, 0)


def test_small_unsigned_columns_do_not_wrap() -> None:
    """The index holds sides in 16 bits; a product of two does not fit."""
    arrays = plan_tiles_arrays(np.array([65_000], np.uint16), np.array([65_000], np.uint16), TilingPolicy())
    assert (arrays.tile_widths * arrays.tile_heights).sum() == 28 * 28 * 16_384


def test_distinct_sizes_rebuild_the_pages() -> None:
    widths, heights = np.array([5, 7, 5, 5], np.uint16), np.array([9, 9, 9, 8], np.uint16)
    unique_widths, unique_heights, places = distinct_sizes(widths, heights)
    assert (unique_widths.tolist(), unique_heights.tolist()) == ([5, 5, 7], [8, 9, 9])
    assert (unique_widths[places].tolist(), unique_heights[places].tolist()) == (widths.tolist(), heights.tolist())


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="page 1 of 0x4"):
        plan_tiles_arrays([3, 0], [4, 4], TilingPolicy())
    with pytest.raises(ValueError, match="2 widths but 1 heights"):
        plan_tiles_arrays([3, 1], [4], TilingPolicy())


def _is_small(page: tuple[int, int], policy: TilingPolicy) -> bool:
    """Leave out pages that a policy without a limit would cut into millions of tiles."""
    bounded = policy.kind != "adaptive" or (
        policy.max_page_pixels is not None and policy.max_page_pixels <= 28 * 28 * 16_384
    )
    area = page[0] * page[1]
    return area < 4_000_000 or (bounded and policy.tile_size != 14 and not policy.native_resolution and min(page) > 900)


def _assert_equal(policy: TilingPolicy, pages: list[tuple[int, int]]) -> None:
    arrays = plan_tiles_arrays([page[0] for page in pages], [page[1] for page in pages], policy)
    plans = [plan_tiles(*page, policy) for page in pages]
    assert arrays.counts.tolist() == [len(plan.sizes) for plan in plans]
    assert list(zip(arrays.columns, arrays.rows, strict=True)) == [plan.grid for plan in plans]
    assert arrays.has_overview.tolist() == [plan.has_overview for plan in plans]
    assert arrays.is_labelled.tolist() == [plan.labels is not None for plan in plans]
    sizes = [size for plan in plans for size in plan.sizes]
    assert list(zip(arrays.tile_widths.tolist(), arrays.tile_heights.tolist(), strict=True)) == sizes
    assert arrays.tile_widths.dtype == arrays.tile_heights.dtype == arrays.counts.dtype == np.int64
    for plan, is_rtl in zip(plans, arrays.is_rtl, strict=True):
        if plan.labels and plan.grid[0] > 1:
            assert is_rtl == (plan.labels[-1] == f"<row{plan.grid[1] - 1}_col0>")
