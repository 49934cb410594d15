"""plan_tiles against the reference's own numbers: crops, canvases and placements, to the pixel."""

from pathlib import Path
from typing import Any

import pytest

from wdstream.records import Placement, TilePlan
from wdstream.tiling.policy import TilingPolicy, plan_tiles
from wdstream.tiling.settings import ShapeBucket

PAGES = TilingPolicy(kind="shape_buckets", reading_order="rtl")
STRIPS = (
    ShapeBucket(grid=(4, 1), max_aspect_ratio=0.5, tile_size=384, overlap=0, reading_order="ltr"),
    ShapeBucket(grid=(1, 5), min_aspect_ratio=3, min_area=100_000, overview_size=300),
)
POLICIES = {
    "A": PAGES,
    "B": TilingPolicy(kind="native", overlap=0, reading_order="rtl"),
    "C": TilingPolicy(kind="grid", grid=(2, 3), reading_order="rtl"),
    "D": TilingPolicy(kind="grid", overlap=0.25, reading_order="ltr", tile_size=512, overview_size=512),
    "E": TilingPolicy(
        kind="shape_buckets",
        reading_order="rtl",
        tile_size=896,
        overview_buckets=((768, 1024), (1024, 768)),
        pad_color="white",
    ),
    "F": TilingPolicy(kind="shape_buckets", reading_order="rtl", min_area=1_000_000, overview_size=448),
    "G": TilingPolicy(kind="native", reading_order="rtl", min_area=1_000_000),
    "H": TilingPolicy(kind="grid", tile_size=(448, 672), overview_size=(336, 504), reading_order="rtl"),
    "I": TilingPolicy(kind="shape_buckets", reading_order="rtl", tile_size=512, no_upscale=False),
    "J": TilingPolicy(kind="shape_buckets", grid=(1, 1), reading_order="rtl", shape_buckets=STRIPS),
    "K": TilingPolicy(kind="native", overlap=0.1, reading_order="rtl"),
    "L": TilingPolicy(kind="shape_buckets", reading_order="rtl", tile_labels=False, tile_size=512),
}


def _cases() -> list[tuple[str, ...]]:
    """(policy, page, grid, boxes, sizes, placements) of each block of tile_cases.txt."""
    text = Path(__file__).with_name("tile_cases.txt").read_text()
    lines = [line.strip() for line in text.splitlines() if line and not line.startswith("#")]
    return [(*lines[at].split(), *lines[at + 1 : at + 4]) for at in range(0, len(lines), 4)]


def _pair(text: str) -> tuple[int, int]:
    first, second = text.split("x")
    return int(first), int(second)


def _placement(text: str) -> Placement:
    size, _, offset = text.partition("@")
    width, height = _pair(size)
    left, top = offset.split(",")
    return Placement(width=width, height=height, left=int(left), top=int(top))


def _tile_boxes(plan: TilePlan) -> list[tuple[int, int, int, int]]:
    return list(plan.boxes[1:] if plan.has_overview else plan.boxes)


def test_all_cases_of_the_reference_are_there() -> None:
    assert len(_cases()) == 18


@pytest.mark.parametrize(("policy", "page", "grid", "crops", "outputs", "fits"), _cases())
def test_reference_case(policy: str, page: str, grid: str, crops: str, outputs: str, fits: str) -> None:
    plan = plan_tiles(*_pair(page), POLICIES[policy])

    assert plan.sizes == tuple(_pair(size) for size in outputs.split())
    if crops == "-":
        assert (plan.grid, plan.boxes) == ((1, 1), ((0, 0, *_pair(page)),))
    else:
        assert plan.grid == _pair(grid)
        assert _tile_boxes(plan) == [tuple(int(edge) for edge in box.split(",")) for box in crops.split()]
    if fits != "-":
        assert plan.placements == tuple(_placement(text) for text in fits.split())


@pytest.mark.parametrize(
    ("page", "grid"),
    [((1000, 899), (3, 2)), ((1000, 900), (2, 3)), ((1000, 1699), (2, 3)), ((1000, 1700), (2, 4))],
)
def test_preset_thresholds(page: tuple[int, int], grid: tuple[int, int]) -> None:
    assert plan_tiles(*page, PAGES).grid == grid


def test_aspect_limits_are_exact_fractions() -> None:
    policy = TilingPolicy(
        kind="shape_buckets",
        grid=(1, 1),
        shape_buckets=(
            ShapeBucket(grid=(5, 1), max_aspect_ratio=1.1),
            ShapeBucket(grid=(6, 1), max_aspect_ratio=5 / 3),
        ),
    )
    assert plan_tiles(10, 11, policy).grid == (6, 1)
    assert plan_tiles(1_000_000, 1_099_999, policy).grid == (5, 1)
    assert plan_tiles(3_000_000, 4_999_999, policy).grid == (6, 1)
    assert plan_tiles(3, 5, policy).grid == (1, 1)


def test_first_matching_bucket_wins_and_overrides_only_what_it_states() -> None:
    policy = TilingPolicy(
        kind="shape_buckets",
        tile_size=512,
        overlap=0,
        pad_color="red",
        shape_buckets=(ShapeBucket(grid=(1, 2), pad_color="#0000ff"), ShapeBucket(grid=(3, 3), tile_size=64)),
    )
    plan = plan_tiles(100, 100, policy)
    assert (plan.grid, plan.sizes, plan.pad_color) == ((1, 2), ((512, 512),) * 2, (0, 0, 255))
    assert plan.boxes == ((0, 0, 100, 50), (0, 50, 100, 100))


@pytest.mark.parametrize(
    ("bucket", "found"),
    [
        ({"tile_size": (30, 10)}, {"sizes": ((30, 10),) * 2}),
        ({"tile_size": 50}, {"placements": (Placement(width=20, height=20, left=15, top=15),) * 2}),
        ({"overlap": 0.25}, {"boxes": ((0, 0, 25, 20), (15, 0, 40, 20))}),
        ({"min_area": 801}, {"grid": (1, 1), "boxes": ((0, 0, 40, 20),)}),
        ({"overview_size": 10}, {"has_overview": True, "sizes": ((10, 10), (100, 100), (100, 100))}),
        ({"overview_buckets": [(20, 10), (5, 5)]}, {"sizes": ((20, 10), (100, 100), (100, 100))}),
        ({"no_upscale": False}, {"placements": (Placement(width=100, height=100, left=0, top=0),) * 2}),
        ({"pad_color": "navy"}, {"pad_color": (0, 0, 128)}),
        (
            {"reading_order": "rtl"},
            {"labels": ("<row0_col1>", "<row0_col0>"), "boxes": ((20, 0, 40, 20), (0, 0, 20, 20))},
        ),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_bucket_overrides_every_setting_for_its_pages_alone(bucket: dict[str, Any], found: dict[str, Any]) -> None:
    plain, own = (
        TilingPolicy(
            kind="shape_buckets",
            tile_size=100,
            overlap=0,
            shape_buckets=(ShapeBucket(grid=(2, 1), max_aspect_ratio=1, **settings), ShapeBucket(grid=(2, 1))),
        )
        for settings in (dict[str, Any](), bucket)
    )
    wide = plan_tiles(40, 20, own)
    assert {name: getattr(wide, name) for name in found} == found
    assert wide != plan_tiles(40, 20, plain)
    assert plan_tiles(20, 40, own) == plan_tiles(20, 40, plain)


def test_a_page_no_bucket_matches_takes_the_policy_itself() -> None:
    plan = plan_tiles(1000, 1000, POLICIES["J"])
    assert (plan.grid, plan.sizes, plan.labels) == ((1, 1), ((1024, 1024),), None)


def test_overview_comes_first_in_either_reading_order() -> None:
    plan = plan_tiles(600, 900, POLICIES["D"])
    assert plan.has_overview
    assert plan.boxes[0] == (0, 0, 600, 900)
    assert plan.placements[0] == Placement(width=341, height=512, left=85, top=0)
    assert plan.labels == (
        "<global_img>",
        "<row0_col0>",
        "<row0_col1>",
        "<row1_col0>",
        "<row1_col1>",
        "<row2_col0>",
        "<row2_col1>",
    )


def test_columns_are_numbered_from_the_left_when_read_from_the_right() -> None:
    plan = plan_tiles(600, 900, PAGES)
    assert plan.labels == ("<row0_col1>", "<row0_col0>", "<row1_col1>", "<row1_col0>", "<row2_col1>", "<row2_col0>")


def test_labels_can_be_off() -> None:
    plan = plan_tiles(600, 900, POLICIES["L"])
    assert (plan.labels, plan.sizes) == (None, ((512, 512),) * 6)


def test_min_area_is_strict_and_drops_the_overview() -> None:
    policy = POLICIES["F"]
    assert len(plan_tiles(1000, 1000, policy).sizes) == 7
    small = plan_tiles(1000, 999, policy)
    assert (small.sizes, small.has_overview, small.labels) == (((1024, 1024),), False, None)


def test_under_min_area_native_keeps_the_page_as_it_is() -> None:
    plan = plan_tiles(1000, 899, POLICIES["G"])
    assert (plan.boxes, plan.sizes) == (((0, 0, 1000, 899),), ((1000, 899),))


def test_native_overlap_gives_raw_crops() -> None:
    plan = plan_tiles(600, 900, POLICIES["K"])
    assert plan.boxes[0] == (270, 0, 600, 330)
    assert plan.sizes == ((330, 330), (330, 330), (330, 360), (330, 360), (330, 330), (330, 330))


def test_native_overview_is_resized() -> None:
    plan = plan_tiles(600, 900, TilingPolicy(kind="native", overview_size=(100, 120)))
    assert plan.sizes[0] == (100, 120)


@pytest.mark.parametrize(
    ("page", "grid"), [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((2, 1), (2, 1)), ((1, 3), (2, 4)), ((1, 400), (2, 4))]
)
def test_a_page_smaller_than_its_grid_has_no_empty_tile(page: tuple[int, int], grid: tuple[int, int]) -> None:
    """The reference cuts empty crops from the first three; from the others its crops have a pixel, and so have ours."""
    plan = plan_tiles(*page, PAGES)
    assert plan.grid == grid
    assert all(right > left and bottom > top for left, top, right, bottom in plan.boxes)


def test_a_grid_of_one_with_an_overview_has_two_labels() -> None:
    with_overview = TilingPolicy(kind="grid", grid=(1, 1), overview_size=64)
    assert plan_tiles(10, 10, with_overview).labels == ("<global_img>", "<row0_col0>")
    assert plan_tiles(10, 10, TilingPolicy(kind="grid", grid=(1, 1))).labels is None


def test_not_cut_keeps_its_size() -> None:
    plan = plan_tiles(33, 44, TilingPolicy(kind="none", overview_size=10, min_area=5))
    assert (plan.grid, plan.boxes, plan.sizes, plan.labels) == ((1, 1), ((0, 0, 33, 44),), ((33, 44),), None)


def test_image_size_as_a_number_fits_and_pads_and_as_a_pair_stretches() -> None:
    square = plan_tiles(100, 200, TilingPolicy(kind="none", image_size=300))
    assert (square.sizes, square.placements) == (((300, 300),), (Placement(width=150, height=300, left=75, top=0),))
    pinned = plan_tiles(100, 200, TilingPolicy(kind="none", image_size=300, no_upscale=True))
    assert pinned.placements == (Placement(width=100, height=200, left=100, top=50),)
    pair = plan_tiles(100, 200, TilingPolicy(kind="none", image_size=(300, 310)))
    assert (pair.sizes, pair.placements) == (((300, 310),), (Placement(width=300, height=310, left=0, top=0),))


@pytest.mark.parametrize(
    ("page", "canvas"),
    [
        ((90, 90), (100, 100)),  # the smallest that holds it
        ((90, 30), (200, 50)),  # the same area as 100x100, the closer shape
        ((190, 190), (400, 400)),
        ((800, 100), (400, 100)),  # none holds it: 0.5 of it in both large ones, the smaller area
        ((2000, 2000), (400, 400)),
        ((300, 900), (400, 400)),  # the one that shrinks it least
    ],
)
def test_resize_buckets(page: tuple[int, int], canvas: tuple[int, int]) -> None:
    buckets = ((400, 400), (200, 50), (100, 100), (400, 100), (100, 100))
    plan = plan_tiles(*page, TilingPolicy(kind="none", resize_buckets=buckets, image_size=7))
    assert plan.sizes == (canvas,)


@pytest.mark.parametrize("page", [(0, 5), (5, 0), (-1, 5), (5, (1 << 24) + 1)])
def test_sizes_no_image_has_are_refused(page: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sides must be in"):
        plan_tiles(*page, PAGES)
