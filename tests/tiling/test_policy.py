"""TilingPolicy: what is accepted, in which form it is stored, and what is refused with which words."""

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from wdstream.config.schema import TilingConfig
from wdstream.errors import ConfigError
from wdstream.tiling.checks import color
from wdstream.tiling.policy import OCR_PAGES, ShapeBucket, TilingPolicy


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "tiles", "tiling.kind: expected one of none, grid, shape_buckets, adaptive, native, found 'tiles'"),
        ("grid", (2,), "tiling.grid: expected two positive whole numbers (columns, rows), found (2,)"),
        ("grid", "23", "tiling.grid: expected two positive whole numbers (columns, rows), found '23'"),
        ("grid", 6, "tiling.grid: expected two positive whole numbers (columns, rows), found 6"),
        ("grid", None, "tiling.grid: expected two positive whole numbers (columns, rows), found None"),
        ("grid", (0, 3), "tiling.grid: expected a whole number of at least 1, found 0"),
        ("grid", (2, 1.5), "tiling.grid: expected a whole number of at least 1, found 1.5"),
        ("tile_size", 0, "tiling.tile_size: expected a whole number of at least 1, found 0"),
        ("tile_size", -1, "tiling.tile_size: expected a whole number of at least 1, found -1"),
        ("tile_size", 512.0, "tiling.tile_size: expected a whole number of at least 1, found 512.0"),
        ("tile_size", True, "tiling.tile_size: expected a whole number of at least 1, found True"),
        ("tile_size", (5, 6, 7), "tiling.tile_size: expected two positive whole numbers (width, height)"),
        ("tile_size", None, "tiling.tile_size: expected two positive whole numbers (width, height)"),
        ("overlap", 0.5, "tiling.overlap: expected a number in [0, 0.5), found 0.5"),
        ("overlap", -0.1, "tiling.overlap: expected a number in [0, 0.5), found -0.1"),
        ("overlap", float("nan"), "tiling.overlap: expected a number in [0, 0.5), found nan"),
        ("overlap", "much", "tiling.overlap: expected a number in [0, 0.5), found 'much'"),
        ("overlap", True, "tiling.overlap: expected a number in [0, 0.5), found True"),
        ("min_area", -1, "tiling.min_area: expected a whole number of at least 0, found -1"),
        ("overview_size", 0, "tiling.overview_size: expected a whole number of at least 1, found 0"),
        ("overview_buckets", [(3, 4), 5], "tiling.overview_buckets[1]: expected two positive whole numbers"),
        ("overview_buckets", "768x1024", "tiling.overview_buckets: expected a list of (width, height)"),
        ("no_upscale", 1, "tiling.no_upscale: expected true or false, found 1"),
        ("native_resolution", "yes", "tiling.native_resolution: expected true or false, found 'yes'"),
        ("tile_labels", "text", "tiling.tile_labels: expected true or false, found 'text'"),
        ("pad_color", "blurple", "tiling.pad_color: expected a colour such as white or #ffffff, found 'blurple'"),
        ("pad_color", (1, 2, 3, 4), "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", (1, 2, 256), "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", 1 << 24, "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", -1, "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("reading_order", "btt", "tiling.reading_order: expected one of ltr, rtl, found 'btt'"),
        ("resample", "cubic", "tiling.resample: expected one of bilinear, bicubic, lanczos, found 'cubic'"),
        ("shape_buckets", "pages", "tiling.shape_buckets: expected a list of rules, or a preset (ocr_pages, auto)"),
        ("shape_buckets", [], "tiling.shape_buckets: expected at least one rule, or a preset (ocr_pages, auto)"),
        ("shape_buckets", [7], "tiling.shape_buckets[0]: expected a rule such as {grid: [2, 3]"),
        ("shape_buckets", [{"name": "x"}], "tiling.shape_buckets[0]: the rule has no grid; give grid: [columns, rows]"),
        ("shape_buckets", [{"gird": 1}], "tiling.shape_buckets[0].gird: unknown key; did you mean 'grid'?"),
        ("shape_buckets", [{"zzz": 1}], "tiling.shape_buckets[0].zzz: unknown key; known keys: grid, name"),
        ("shape_buckets", [{"grid": (1, 2), "overlap": 2}], "tiling.shape_buckets[(1, 2)].overlap: expected"),
        ("shape_buckets", [{"grid": (1, 2), "max_aspect_ratio": -1}], "tiling.shape_buckets[(1, 2)].max_aspect_ratio"),
        ("image_size", 0, "tiling.image_size: expected a whole number of at least 1, found 0"),
        ("resize_buckets", [], "tiling.resize_buckets: expected at least one (width, height), found []"),
        ("resize_buckets", [(0, 4)], "tiling.resize_buckets[0]: expected a whole number of at least 1, found 0"),
        ("multiple", 0, "tiling.multiple: expected a whole number of at least 1, found 0"),
        ("min_tile_pixels", 0, "tiling.min_tile_pixels: expected a whole number of at least 1, found 0"),
        ("max_tile_pixels", 3135, "tiling.max_tile_pixels: expected a whole number of at least 3136, found 3135"),
        ("max_page_pixels", 3000, "tiling.max_page_pixels: expected a whole number of at least 3136, found 3000"),
    ],
)
def test_bad_values_are_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TilingPolicy(**{field: value})


def test_a_bucket_that_never_matches_is_refused() -> None:
    message = "tiling.shape_buckets[odd].min_aspect_ratio: expected less than max_aspect_ratio 1, found 1.0"
    with pytest.raises(ConfigError, match=re.escape(message)):
        ShapeBucket(name="odd", grid=(1, 1), min_aspect_ratio=1, max_aspect_ratio=1)


def test_an_unknown_kind_says_what_it_found_even_if_unhashable() -> None:
    kind: Any = ["grid"]
    with pytest.raises(ConfigError, match=r"tiling\.kind"):
        TilingPolicy(kind=kind)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("white", (255, 255, 255)),
        ("#0a0B0c", (10, 11, 12)),
        ("rgba(1, 2, 3, 4)", (1, 2, 3)),
        ([9, 8, 7], (9, 8, 7)),
        (7, (7, 0, 0)),  # Pillow's number on an RGB canvas
        (0x010203, (3, 2, 1)),
    ],
)
def test_colours(value: Any, stored: tuple[int, int, int]) -> None:
    assert color("pad_color", value) == stored


def test_lists_digits_and_case_are_stored_in_one_form() -> None:
    found: dict[str, Any] = {"grid": ["2", 3], "tile_size": [448, 672], "overlap": "0.25", "overview_buckets": [[3, 4]]}
    policy = TilingPolicy(kind="grid", resample="LANCZOS", **found)
    assert (policy.grid, policy.tile_size, policy.overlap) == ((2, 3), (448, 672), 0.25)
    assert (policy.overview_buckets, policy.resample) == (((3, 4),), "lanczos")
    assert hash(policy) == hash(replace(policy, grid=(2, 3)))


def test_defaults_depend_on_the_kind() -> None:
    assert [TilingPolicy(kind=kind).overlap for kind in ("grid", "shape_buckets", "adaptive")] == [0.1, 0.1, 0.0]
    assert [TilingPolicy(kind=kind).no_upscale for kind in ("none", "grid", "adaptive")] == [False, True, True]
    assert (TilingPolicy().kind, TilingPolicy().reading_order, TilingPolicy().pad_color) == (
        "adaptive",
        "ltr",
        (0, 0, 0),
    )


def test_native_is_another_word() -> None:
    assert TilingPolicy(kind="native") == TilingPolicy(kind="shape_buckets", native_resolution=True)
    assert TilingPolicy(kind="native").fingerprint == TilingPolicy(kind="native").fingerprint


def test_both_presets_are_the_same_rules() -> None:
    assert TilingPolicy(shape_buckets="auto").buckets == TilingPolicy(shape_buckets="ocr_pages").buckets == OCR_PAGES


def test_an_empty_reading_order_in_a_bucket_keeps_the_policys() -> None:
    policy = TilingPolicy(shape_buckets=[{"grid": [1, 2], "reading_order": ""}])
    assert policy.buckets[0].reading_order is None


def test_fingerprint_is_stable_and_sees_every_field() -> None:
    policy = TilingPolicy()
    changes: dict[str, Any] = {
        "kind": "grid",
        "native_resolution": True,
        "grid": (1, 1),
        "tile_size": (1024, 1024),
        "overlap": 0.1,
        "min_area": 1,
        "overview_size": 3,
        "overview_buckets": (),
        "no_upscale": False,
        "pad_color": "red",
        "reading_order": "rtl",
        "shape_buckets": [{"grid": (1, 2)}],
        "tile_labels": False,
        "own_labels": True,
        "resample": "bilinear",
        "image_size": 4,
        "resize_buckets": [(1, 2)],
        "multiple": 32,
        "min_tile_pixels": 1,
        "max_tile_pixels": 4000,
        "max_page_pixels": None,
    }
    assert set(changes) == {field.name for field in fields(TilingPolicy)}
    prints = {field: replace(policy, **{field: value}).fingerprint for field, value in changes.items()}
    assert len({policy.fingerprint, *prints.values()}) == len(changes) + 1
    assert policy.fingerprint == "bbfb8604020535612facd946998386f4"


OF_A_TRANSFORM = {"transform", "settings"}  # in place of a policy's


def test_every_setting_of_the_configuration_is_a_field() -> None:
    for kind in ("none", "grid", "shape_buckets", "adaptive", "native"):
        tree = {"kind": kind, "shape_buckets": [{"grid": (1, 2)}], "resize_buckets": [(3, 4)]}
        config = TilingConfig.model_validate(tree)
        settings = config.model_dump(exclude=OF_A_TRANSFORM)
        labels = settings.pop("labels")
        policy = TilingPolicy(**settings, tile_labels=labels == "text")
        assert (policy.tile_labels, policy.buckets) == (True, (ShapeBucket(grid=(1, 2)),))


def test_defaults_of_the_configuration_are_those_of_the_policy() -> None:
    settings = TilingConfig().model_dump(exclude=OF_A_TRANSFORM)
    assert settings.pop("labels") == "text"
    assert TilingPolicy(**settings) == TilingPolicy()


def test_pieces_need_the_reading_order_only_where_buckets_differ() -> None:
    assert TilingPolicy(reading_order="rtl").grid_text_pieces(2, 1, False, True) == ["<row0_col1>", "\n<row0_col0>"]
    mixed = TilingPolicy(kind="shape_buckets", shape_buckets=[{"grid": (2, 1), "reading_order": "rtl"}])
    assert mixed.grid_text_pieces(2, 1, False, True, is_rtl=False) == ["<row0_col0>", "\n<row0_col1>"]
    with pytest.raises(ConfigError, match="reading orders differ between buckets"):
        mixed.grid_text_pieces(2, 1, False, True)


@pytest.mark.parametrize(
    ("settings", "ignored"),
    [
        ({"kind": "none", "grid": (3, 3), "overview_size": 448, "image_size": 5}, ("grid", "overview_size")),
        ({"kind": "grid", "image_size": 5, "shape_buckets": [{"grid": (1, 2)}]}, ("shape_buckets", "image_size")),
        ({"kind": "adaptive", "grid": (3, 3), "multiple": 32, "tile_size": 512}, ("grid",)),
        ({"kind": "native", "overlap": 0, "pad_color": "red"}, ()),
        ({}, ()),
    ],
)
def test_settings_without_effect_are_known(settings: dict[str, Any], ignored: tuple[str, ...]) -> None:
    assert TilingPolicy(**settings).ignored_fields == ignored
