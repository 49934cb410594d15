"""The adaptive policy's promises, compared with the real Qwen2-VL resize rule."""

from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from wdstream.records import Placement, TilePlan
from wdstream.tiling.policy import TilingPolicy, plan_tiles

ADAPTIVE = TilingPolicy()
MAX_PIXELS = 28 * 28 * 16_384
SIDES = st.one_of(st.integers(1, 300), st.integers(1, 20_000))


def _family(width: int, height: int) -> tuple[int, int]:
    """What Qwen2.5-VL makes of an image: (width, height)."""
    high, wide = smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=MAX_PIXELS)
    return wide, high


def _tokens(plan: TilePlan) -> int:
    return sum(width * height for width, height in plan.sizes) // 784


def test_cuts_are_on_the_familys_lattice() -> None:
    """All but the last column and row are crops that need no resampling."""
    plan = plan_tiles(1240, 1754, ADAPTIVE)
    assert plan.boxes == (
        (0, 0, 616, 868),
        (616, 0, 1240, 868),
        (0, 868, 616, 1754),
        (616, 868, 1240, 1754),
    )
    assert plan.sizes == ((616, 868), (616, 868), (616, 896), (616, 896))
    assert plan.labels == ("<row0_col0>", "<row0_col1>", "<row1_col0>", "<row1_col1>")


@settings(deadline=None, max_examples=300)
@given(width=SIDES, height=SIDES)
@example(width=1, height=1)
@example(width=20_000, height=20_000)
@example(width=20_000, height=1)
@example(width=20_000, height=100)
@example(width=100, height=20_000)
@example(width=20_000, height=700)
def test_every_page(width: int, height: int) -> None:
    plan = plan_tiles(width, height, ADAPTIVE)
    _covers_once(plan, width, height)
    for size, placement in zip(plan.sizes, plan.placements, strict=True):
        assert placement == Placement(width=size[0], height=size[1], left=0, top=0), "padding"
        assert max(size) <= 1008
        assert size == _family(*size), "the family would resize it again"
    # Longer than 200:1 the family refuses a page; sides of 14 and less are in test_adaptive_bounds.py.
    if max(width, height) <= 200 * min(width, height) and min(width, height) > 14:
        alone = _family(width, height)
        # Equal, but where floats take a unit from an even result: 20,000x20,000 becomes 127x127 units, ours 128x128.
        assert 100 * _tokens(plan) * 784 <= 102 * alone[0] * alone[1]
    if min(width, height) >= 183:
        assert all(2 * wide >= high and 2 * high >= wide for wide, high in plan.sizes)


@settings(deadline=None, max_examples=200)
@given(width=st.integers(56, 3_500), height=st.integers(56, 3_500))
def test_a_crop_is_stretched_by_half_a_unit_at_most(width: int, height: int) -> None:
    plan = plan_tiles(width, height, ADAPTIVE)
    for (left, top, right, bottom), (wide, high) in zip(plan.boxes, plan.sizes, strict=True):
        assert abs(wide - (right - left)) <= 14
        assert abs(high - (bottom - top)) <= 14


@settings(deadline=None, max_examples=200)
@given(
    width=st.integers(1, 4_000),
    height=st.integers(1, 4_000),
    overlap=st.floats(0, 0.5, exclude_max=True),
    tile_size=st.one_of(st.integers(1, 2_000), st.tuples(st.integers(1, 2_000), st.integers(1, 2_000))),
    multiple=st.sampled_from([14, 28, 32, 48]),
)
def test_sides_keep_to_tile_size_with_any_overlap(
    width: int, height: int, overlap: float, tile_size: int | tuple[int, int], multiple: int
) -> None:
    policy = TilingPolicy(overlap=overlap, tile_size=tile_size, multiple=multiple, min_tile_pixels=1)
    sides = (tile_size, tile_size) if isinstance(tile_size, int) else tile_size
    plan = plan_tiles(width, height, policy)
    for size in plan.sizes:
        assert all(side % multiple == 0 for side in size)
        assert all(side <= max(multiple, limit) for side, limit in zip(size, sides, strict=True))


@pytest.mark.parametrize(
    ("page", "size"),
    [((1, 1), (56, 56)), ((60, 20), (112, 56)), ((20, 60), (56, 112)), ((30, 30), (56, 56))],
)
def test_scraps_are_enlarged_as_the_family_enlarges_them(page: tuple[int, int], size: tuple[int, int]) -> None:
    plan = plan_tiles(*page, ADAPTIVE)
    assert (plan.sizes, plan.labels) == ((size,), None)
    assert _family(*page) == size


def test_a_hair_is_not_stretched_along() -> None:
    """The family would make 28x812 of it, four times its length."""
    assert plan_tiles(1, 200, ADAPTIVE).sizes == ((28, 196),)


def test_a_family_with_a_large_minimum() -> None:
    """Qwen3-VL: multiple 32, nothing below 65,536 pixels; both long tiles of a line of text are enlarged."""
    plan = plan_tiles(1200, 60, TilingPolicy(multiple=32, min_tile_pixels=65_536))
    assert plan.sizes == ((832, 96), (832, 96))
    assert all(smart_resize(96, 832, 32, 65_536, 16_777_216) == (96, 832) for _ in plan.sizes)


def test_a_huge_page_is_shrunk_before_it_is_cut() -> None:
    plan = plan_tiles(20_000, 20_000, ADAPTIVE)
    assert (plan.grid, set(plan.sizes), _tokens(plan)) == ((4, 4), {(896, 896)}, 16_384)
    assert plan.boxes[5] == (5000, 5000, 10000, 10000)
    unlimited = plan_tiles(20_000, 20_000, TilingPolicy(max_page_pixels=None))
    assert (unlimited.grid, _tokens(unlimited)) == ((20, 20), 714 * 714)


def test_without_labels_shape_is_cheaper() -> None:
    """336x112 is 12x4 units: two labelled tiles would cost 20 tokens on 48, without labels 6."""
    assert plan_tiles(336, 112, ADAPTIVE).grid == (1, 1)
    assert plan_tiles(336, 112, TilingPolicy(tile_labels=False)).grid == (2, 1)


def test_reading_from_the_right() -> None:
    plan = plan_tiles(1240, 1754, TilingPolicy(reading_order="rtl"))
    assert plan.boxes[0] == (616, 0, 1240, 868)
    assert plan.labels is not None
    assert plan.labels[0] == "<row0_col1>"


def test_overview_fits_without_padding_and_a_page_of_one_tile_has_none() -> None:
    policy = TilingPolicy(overview_size=448)
    plan = plan_tiles(1240, 1754, policy)
    assert (plan.has_overview, plan.boxes[0], plan.sizes[0]) == (True, (0, 0, 1240, 1754), (308, 448))
    assert plan.placements[0] == Placement(width=308, height=448, left=0, top=0)
    assert plan.labels is not None
    assert plan.labels[:2] == ("<global_img>", "<row0_col0>")
    assert not plan_tiles(600, 900, policy).has_overview


def test_overview_is_never_enlarged() -> None:
    assert plan_tiles(1240, 1754, TilingPolicy(overview_size=4000)).sizes[0] == (1232, 1764)


def test_overview_as_pair_or_buckets_has_a_fixed_canvas() -> None:
    assert plan_tiles(1240, 1754, TilingPolicy(overview_size=(336, 504))).sizes[0] == (336, 504)
    buckets = plan_tiles(1240, 1754, TilingPolicy(overview_buckets=((768, 1024), (1024, 768)), overview_size=7))
    assert buckets.sizes[0] == (768, 1024)
    assert buckets.placements[0] == Placement(width=724, height=1024, left=22, top=0)


def test_under_min_area_a_page_is_one_image_of_any_length() -> None:
    plan = plan_tiles(200, 8000, TilingPolicy(min_area=1_600_001, overview_size=100))
    assert (plan.grid, plan.sizes, plan.labels, plan.has_overview) == ((1, 1), ((196, 8008),), None, False)


def test_native_resolution_keeps_the_crops() -> None:
    plan = plan_tiles(1240, 1754, TilingPolicy(native_resolution=True))
    assert plan.sizes == ((616, 868), (624, 868), (616, 886), (624, 886))


def test_overlap_is_in_whole_units() -> None:
    plan = plan_tiles(1240, 1754, TilingPolicy(overlap=0.1))
    assert plan.boxes[:2] == ((0, 0, 672, 644), (560, 0, 1240, 644))
    assert (plan.grid, plan.sizes[:2]) == ((2, 3), ((672, 644), (672, 644)))


def _covers_once(plan: TilePlan, width: int, height: int) -> None:
    """Boxes are not empty, are on the page, follow each other without a gap, and sum to the page."""
    columns, rows = plan.grid
    assert len(plan.boxes) == columns * rows
    for place, (left, top, right, bottom) in enumerate(plan.boxes):
        column, row = place % columns, place // columns
        assert left == (plan.boxes[place - 1][2] if column else 0)
        assert top == (plan.boxes[place - columns][3] if row else 0)
        assert right > left
        assert bottom > top
    assert plan.boxes[-1][2:] == (width, height)
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in plan.boxes) == width * height


def test_a_familys_smallest_and_largest_image_bound_the_tiles() -> None:
    """Qwen2-VL's own default allows 1,280 tokens per image, 35x36 units: 1008x1008 would be shrunk again."""

    family = SimpleNamespace(size_multiple=28, min_pixels=3136, max_pixels=28 * 28 * 1280, max_tile_side=None)

    policy = ADAPTIVE.for_family(family)
    assert (policy.multiple, policy.min_tile_pixels, policy.max_tile_pixels) == (28, 3136, 1_003_520)
    plan = plan_tiles(1000, 1000, policy)
    assert (plan.grid, plan.sizes) == ((2, 1), ((504, 1008), (504, 1008)))
    assert plan_tiles(980, 1000, policy).grid == (1, 1)


def test_a_familys_longest_side_bounds_the_tiles() -> None:
    """LightOnOCR shrinks sides above 1,540 pixels, however small the area: a tile of 700x2800 would lose half of it."""

    family = SimpleNamespace(size_multiple=28, min_pixels=784, max_pixels=1540**2, max_tile_side=1540)

    policy = TilingPolicy(tile_size=(700, 2800)).for_family(family)
    assert policy.tile_size == (700, 1540)
    assert plan_tiles(700, 2800, policy).sizes == ((700, 1400), (700, 1400))
    assert TilingPolicy(tile_size=2048).for_family(family).tile_size == 1540
    assert TilingPolicy(kind="grid", tile_size=2048).for_family(family).tile_size == 2048
