"""Label: which text comes before which tile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.records import ImageSegment, Pixels, TextSegment, TiledPage, TilePlan
from wdstream.tiling.labels import grid_text_pieces, label_page, tile_text_pieces
from wdstream.tiling.policy import TilingPolicy, plan_tiles, plan_tiles_arrays

GRID = TilingPolicy(kind="grid", grid=(2, 1), tile_size=8)


def _tiles(plan: TilePlan, shade: int) -> tuple[Pixels, ...]:
    return tuple(np.full((high, wide, 3), shade + at, np.uint8) for at, (wide, high) in enumerate(plan.sizes))


def _page(*policies: TilingPolicy) -> TiledPage:
    plans = tuple(plan_tiles(8, 8, policy) for policy in policies)
    return TiledPage(
        key="book/p1",
        plans=plans,
        tiles=tuple(_tiles(plan, 10 * at) for at, plan in enumerate(plans)),
        segments=(
            TextSegment(text="before"),
            *(ImageSegment(index=at) for at in range(len(plans))),
            TextSegment(text="after"),
        ),
        meta={"language": "de"},
    )


def _unsupervised(text: str) -> TextSegment:
    return TextSegment(text=text, is_supervised=False)


def test_labels_and_newlines_come_before_tiles() -> None:
    labelled = label_page(_page(GRID))
    assert labelled.segments == (
        TextSegment(text="before"),
        _unsupervised("<row0_col0>"),
        ImageSegment(index=0),
        _unsupervised("\n<row0_col1>"),
        ImageSegment(index=1),
        TextSegment(text="after"),
    )
    assert (labelled.key, labelled.meta) == ("book/p1", {"language": "de"})


def test_unlabelled_tiles_are_joined_by_newlines() -> None:
    labelled = label_page(_page(TilingPolicy(kind="grid", grid=(2, 1), tile_size=8, tile_labels=False)))
    assert labelled.segments[1:-1] == (ImageSegment(index=0), _unsupervised("\n"), ImageSegment(index=1))


def test_an_image_of_one_tile_has_nothing_around_it() -> None:
    labelled = label_page(_page(TilingPolicy(kind="none")))
    assert labelled.segments[1:-1] == (ImageSegment(index=0),)


def test_tiles_of_several_images_are_numbered_through() -> None:
    labelled = label_page(_page(TilingPolicy(kind="none"), GRID, GRID))
    assert [tile[0, 0, 0] for tile in labelled.tiles] == [0, 10, 11, 20, 21]
    assert [segment.index for segment in labelled.segments if isinstance(segment, ImageSegment)] == [0, 1, 2, 3, 4]


def test_images_may_come_in_any_order() -> None:
    page = _page(TilingPolicy(kind="none"), GRID)
    swapped = TiledPage(
        key="k", plans=page.plans, tiles=page.tiles, segments=(ImageSegment(index=1), ImageSegment(index=0))
    )
    assert [tile[0, 0, 0] for tile in label_page(swapped).tiles] == [10, 11, 0]


def test_a_missing_tile_is_an_error() -> None:
    page = _page(GRID)
    short = TiledPage(key="k", plans=page.plans, tiles=(page.tiles[0][:1],), segments=page.segments)
    with pytest.raises(ValueError, match="zip"):
        label_page(short)


def test_pieces_of_a_grid() -> None:
    assert grid_text_pieces(2, 2, True, True, is_rtl=True) == [
        "<global_img>",
        "\n<row0_col1>",
        "\n<row0_col0>",
        "\n<row1_col1>",
        "\n<row1_col0>",
    ]
    assert grid_text_pieces(2, 1, False, False, is_rtl=False) == ["", "\n"]
    assert grid_text_pieces(1, 1, False, True, is_rtl=False) == [""]
    assert grid_text_pieces(1, 1, True, True, is_rtl=False) == ["<global_img>", "\n<row0_col0>"]


@given(
    policy=st.builds(
        TilingPolicy,
        kind=st.sampled_from(["adaptive", "grid", "shape_buckets", "none"]),
        overview_size=st.sampled_from([None, 60]),
        tile_labels=st.booleans(),
        reading_order=st.sampled_from(["ltr", "rtl"]),
        min_area=st.sampled_from([0, 90_000]),
    ),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
)
def test_pieces_from_arrays_are_those_of_the_plan(policy: TilingPolicy, width: int, height: int) -> None:
    plan = plan_tiles(width, height, policy)
    arrays = plan_tiles_arrays([width], [height], policy)
    grid = int(arrays.columns[0]), int(arrays.rows[0])
    flags = (arrays.has_overview[0], arrays.is_labelled[0], arrays.is_rtl[0])
    pieces = grid_text_pieces(*grid, *map(bool, flags))
    assert pieces == tile_text_pieces(len(plan.boxes), plan.labels)
