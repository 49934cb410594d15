"""TilingPolicy: what is accepted, in which form it is stored, and what is refused with which words."""

import re
from typing import Any

import pytest

from wdstream.errors import ConfigError
from wdstream.tiling.policy import TilingPolicy
from wdstream.tiling.settings import OCR_PAGES, ShapeBucket, TilingSettings, read_color


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "kind",
            "tiles",
            "tiling.kind: expected 'none', 'grid', 'shape_buckets', 'adaptive' or 'native', found 'tiles'",
        ),
        ("kind", ["grid"], "tiling.kind: expected 'none', 'grid'"),
        ("grid", (2,), "tiling.grid[1]: missing"),
        ("grid", "23", "tiling.grid: expected a list, found '23'"),
        ("grid", 6, "tiling.grid: expected a list, found 6"),
        ("grid", None, "tiling.grid: expected a list, found None"),
        ("grid", (0, 3), "tiling.grid[0]: expected greater than 0, found 0"),
        ("grid", (2, 1.5), "tiling.grid[1]: expected a whole number, found 1.5"),
        ("tile_size", 0, "tiling.tile_size: expected greater than 0, found 0"),
        ("tile_size", -1, "tiling.tile_size: expected greater than 0, found -1"),
        ("tile_size", 512.0, "tiling.tile_size: expected a whole number, found 512.0"),
        ("tile_size", True, "tiling.tile_size: expected a number, found True"),
        ("tile_size", (5, 6, 7), "tiling.tile_size: Tuple should have at most 2 items after validation, not 3"),
        ("tile_size", None, "tiling.tile_size: expected a whole number, found None"),
        ("overlap", 0.5, "tiling.overlap: expected less than 0.5, found 0.5"),
        ("overlap", -0.1, "tiling.overlap: expected greater than or equal to 0, found -0.1"),
        ("overlap", float("nan"), "tiling.overlap: expected a finite number, found nan"),
        ("overlap", "much", "tiling.overlap: expected a number"),
        ("overlap", True, "tiling.overlap: expected a number, found True"),
        ("min_area", -1, "tiling.min_area: expected greater than or equal to 0, found -1"),
        ("overview_size", 0, "tiling.overview_size: expected greater than 0, found 0"),
        ("overview_buckets", [(3, 4), 5], "tiling.overview_buckets[1]: expected a list, found 5"),
        ("overview_buckets", "768x1024", "tiling.overview_buckets: expected a list, found '768x1024'"),
        ("no_upscale", 2, "tiling.no_upscale: expected true or false"),
        ("native_resolution", "raw", "tiling.native_resolution: expected true or false"),
        ("tile_labels", "text", "tiling.tile_labels: expected true or false"),
        ("pad_color", "blurple", "tiling.pad_color: unknown color specifier: 'blurple'"),
        ("pad_color", (1, 2, 3, 4), "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", (1, 2, 256), "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", 1 << 24, "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("pad_color", -1, "tiling.pad_color: expected a name, a number up to 0xffffff, or three numbers"),
        ("reading_order", "btt", "tiling.reading_order: expected 'ltr' or 'rtl', found 'btt'"),
        ("resample", "cubic", "tiling.resample: expected 'bilinear', 'bicubic' or 'lanczos', found 'cubic'"),
        ("shape_buckets", "pages", "tiling.shape_buckets: expected 'ocr_pages' or 'auto', found 'pages'"),
        ("shape_buckets", [], "tiling.shape_buckets: Tuple should have at least 1 item after validation, not 0"),
        ("shape_buckets", [7], "tiling.shape_buckets[0]: expected keys with their values; known keys: grid, "),
        ("shape_buckets", [{"name": "x"}], "tiling.shape_buckets[0].grid: missing"),
        ("shape_buckets", [{"gird": 1}], "tiling.shape_buckets[0].gird: unknown key"),
        (
            "shape_buckets",
            [{"grid": (1, 2), "overlap": 2}],
            "tiling.shape_buckets[0].overlap: expected less than",
        ),
        ("shape_buckets", [{"grid": (1, 2), "max_aspect_ratio": -1}], "tiling.shape_buckets[0].max_aspect_ratio"),
        ("image_size", 0, "tiling.image_size: expected greater than 0, found 0"),
        ("resize_buckets", [], "tiling.resize_buckets: Tuple should have at least 1 item after validation, not 0"),
        ("resize_buckets", [(0, 4)], "tiling.resize_buckets[0][0]: expected greater than 0, found 0"),
        ("multiple", 0, "tiling.multiple: expected greater than 0, found 0"),
        ("min_tile_pixels", 0, "tiling.min_tile_pixels: expected greater than 0, found 0"),
        ("max_tile_pixels", 3135, "tiling: max_tile_pixels: expected at least 3136, the smallest tile, found 3135"),
        ("max_page_pixels", 3000, "tiling: max_page_pixels: expected at least 3136, the smallest tile, found 3000"),
        ("max_page_pixels", 1 << 50, "tiling.max_page_pixels: expected less than or equal to 274877906944, found"),
        ("tile_sise", 5, "tiling.tile_sise: unknown key"),
    ],
)
def test_bad_values_are_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TilingPolicy(**{field: value})


def test_a_bucket_that_never_matches_is_refused() -> None:
    message = "tiling.shape_buckets: min_aspect_ratio: expected less than max_aspect_ratio 1, found 1"
    with pytest.raises(ConfigError, match=re.escape(message)):
        ShapeBucket(name="odd", grid=(1, 1), min_aspect_ratio=1, max_aspect_ratio=1)


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
    assert read_color(value) == stored


def test_lists_numbers_in_text_and_case_are_stored_in_one_form() -> None:
    found: dict[str, Any] = {"grid": [2, 3], "tile_size": [448, 672], "overlap": "0.25", "overview_buckets": [[3, 4]]}
    policy = TilingPolicy(kind="grid", **{**found, "resample": "LANCZOS"})
    assert (policy.grid, policy.tile_size, policy.overlap) == ((2, 3), (448, 672), 0.25)
    assert (policy.overview_buckets, policy.resample) == (((3, 4),), "lanczos")
    assert hash(policy) == hash(policy.replace(grid=(2, 3)))


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
    policy = TilingPolicy(shape_buckets=(ShapeBucket(grid=(1, 2), reading_order=""),))  # type: ignore[arg-type]
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
    assert set(changes) == set(TilingPolicy.model_fields)
    prints = {field: policy.replace(**{field: value}).fingerprint for field, value in changes.items()}
    assert len({policy.fingerprint, *prints.values()}) == len(changes) + 1
    assert policy.fingerprint == "bbfb8604020535612facd946998386f4"


def test_settings_stay_as_they_were_written_until_a_policy_is_made_of_them() -> None:
    """A run's record holds what its YAML says."""
    settings = TilingSettings(kind="native")
    assert (settings.kind, settings.native_resolution, settings.overlap, settings.pad_color) == (
        "native",
        False,
        None,
        None,
    )
    assert settings.shape_buckets == "ocr_pages"
    assert TilingPolicy(**dict(settings)) == TilingPolicy(kind="native")


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
