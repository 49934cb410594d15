"""Tilings of other packages, through a real entry point of an installed distribution."""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

from tests.helpers.other_tiling import install_tiling
from wdstream.errors import ConfigError
from wdstream.records import Placement, TilePlan
from wdstream.tiling.plugin import ENTRY_POINT_GROUP, LoadedTiling, load_tiling
from wdstream.tiling.policy import TilingPolicy, plan_tiles, plan_tiles_arrays


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiling(tmp_path, monkeypatch)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("order", ["ltr", "rtl"])
def test_an_installed_tiling_answers_as_a_policy_does(order: Literal["ltr", "rtl"]) -> None:
    tiling = load_tiling("halves", columns=3, reading_order=order)
    own = TilingPolicy(kind="grid", grid=(3, 2), tile_size=64, reading_order=order, overview_size=32)
    widths, heights = [50, 700, 50, 1], [60, 20, 60, 1]

    assert tiling.plan_tiles(50, 60) == plan_tiles(50, 60, own)
    ours, theirs = plan_tiles_arrays(widths, heights, own), tiling.plan_tiles_arrays(widths, heights)
    for field in ("counts", "columns", "rows", "has_overview", "is_labelled", "tile_widths", "tile_heights"):
        assert getattr(theirs, field).tolist() == getattr(ours, field).tolist(), field
    assert theirs.is_rtl.tolist() == [order == "rtl"] * 3 + [False]
    assert tiling.grid_text_pieces(3, 2, True, True, order == "rtl") == own.grid_text_pieces(
        3, 2, True, True, order == "rtl"
    )


@pytest.mark.usefixtures("installed")
def test_fingerprint_follows_the_settings() -> None:
    assert load_tiling("halves").fingerprint == load_tiling("halves").fingerprint
    assert load_tiling("halves").fingerprint != load_tiling("halves", columns=2).fingerprint


@pytest.mark.usefixtures("installed")
def test_a_tiling_that_is_not_installed_is_an_error_that_lists_the_installed() -> None:
    with pytest.raises(ConfigError, match=r"tiling 'thirds': expected one installed.*found 0; offered are: halves"):
        load_tiling("thirds")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere:Tiling", "tiling 'x' at nowhere:Tiling cannot be imported: No module named 'nowhere'"),
        ("collections:Tiling", "tiling 'x' at collections:Tiling cannot be imported: module 'collections' has no"),
        ("collections:OrderedDict", "expected a TilingPlugin, found OrderedDict() without plan_tiles and fingerprint"),
    ],
)
def test_an_entry_point_that_offers_no_tiling(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="x", value=value, group=ENTRY_POINT_GROUP)
    monkeypatch.setattr("wdstream.tiling.plugin.entry_points", lambda group: [point])
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_tiling("x")


@pytest.mark.usefixtures("installed")
def test_settings_that_it_does_not_take() -> None:
    with pytest.raises(
        ConfigError, match=r"tiling 'halves' refuses the settings \{'colums': 3\}: .*unexpected keyword"
    ):
        load_tiling("halves", colums=3)
    with pytest.raises(ConfigError, match=r"refuses the settings \{'columns': 0\}: .*grid"):
        load_tiling("halves", columns=0)


@pytest.mark.usefixtures("installed")
def test_its_own_filter_is_used_and_checked() -> None:
    assert load_tiling("halves").resample == "bicubic"
    assert load_tiling("halves", resample="lanczos").resample == "lanczos"
    assert load_tiling("halves", resample="lanczos").fingerprint != load_tiling("halves").fingerprint
    with pytest.raises(ConfigError, match="tiling 'odd': resample: expected one of bilinear, bicubic, lanczos"):
        LoadedTiling("odd", SimpleNamespace(resample="nearest", fingerprint="x", plan_tiles=lambda *_: None))


class _Doctored:
    """A tiling whose plans went through a change."""

    fingerprint = "x"

    def __init__(self, change: Callable[[TilePlan], TilePlan]) -> None:
        self.change = change

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        return self.change(plan_tiles(width, height, TilingPolicy(kind="grid", grid=(2, 1), overlap=0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: replace(plan, grid=(1, 1)), "a grid of 1x1 needs 1 of each, found 2 boxes, 2 sizes"),
        (lambda plan: replace(plan, boxes=((0, 0, 6, 5), (6, 0, 11, 5))), r"box \(6, 0, 11, 5\) is empty or not on"),
        (lambda plan: replace(plan, boxes=((0, 0, 6, 5), (6, 5, 8, 5))), r"box \(6, 5, 8, 5\) is empty or not on"),
        (lambda plan: replace(plan, sizes=((4, 4), (4, 4))), "reaches beyond its canvas of 4x4"),
        (
            lambda plan: replace(plan, placements=(Placement(width=1, height=1, left=-1, top=0),) * 2),
            "begins before its canvas",
        ),
        (lambda plan: replace(plan, labels=("a", "b")), r"labels \('a', 'b'\) are not those of its grid"),
    ],
)
def test_a_wrong_plan_is_named(change: Callable[[TilePlan], TilePlan], message: str) -> None:
    with pytest.raises(ConfigError, match=f"tiling 'odd' planned a page of 10x5 wrongly: .*{message}"):
        LoadedTiling("odd", _Doctored(change)).plan_tiles(10, 5)


def test_no_pages() -> None:
    arrays = LoadedTiling("same", _Doctored(lambda plan: plan)).plan_tiles_arrays([], [])
    assert (arrays.counts.tolist(), arrays.tile_widths.tolist()) == ([], [])
