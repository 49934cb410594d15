"""How a page is cut into tiles: a pure function of its size and a policy, without pixels.

    plan_tiles(width, height, policy) -> TilePlan                one page
    plan_tiles_arrays(widths, heights, policy) -> TileArrays     many pages at once: their sizes alone

Both go through the same rules (grid.py, adaptive.py), which work on arrays: one page is arrays of one.
What users set: settings.py; transforms of other packages: plugin.py.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Protocol, cast

from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from wdstream.errors import ConfigError
from wdstream.records import ImageSizes, Ints, Placement, Size, TileArrays, TilePlan
from wdstream.tiling.adaptive import cut_adaptive
from wdstream.tiling.arrays import CutPages, Sizes, page_sizes, with_overviews
from wdstream.tiling.grid import cut_fixed, fit
from wdstream.tiling.labels import grid_labels, grid_text_pieces
from wdstream.tiling.settings import MAX_PRODUCT, PRESETS, RGB, ShapeBucket, TilingSettings

RULES_VERSION = 1
"""Part of every fingerprint; raised whenever a rule gives another plan for the same policy."""

_FIXED = ("grid", "shape_buckets")
_CUT = (*_FIXED, "adaptive")
_ONLY_UNDER = {
    "image_size": ("none",),
    "resize_buckets": ("none",),
    "shape_buckets": ("shape_buckets",),
    "grid": _FIXED,
    "no_upscale": ("none", *_FIXED),
    "max_page_pixels": ("adaptive",),
    **dict.fromkeys(
        ("native_resolution", "tile_size", "overlap", "min_area", "overview_size", "overview_buckets"), _CUT
    ),
    **dict.fromkeys(("reading_order", "tile_labels", "own_labels"), _CUT),
}
"""The kinds under which a field has an effect; a field that is not named has one under all, or is the family's."""


class TileFamily(ImageSizes, Protocol):
    """What a tiling must know of a model family."""

    @property
    def has_own_labels(self) -> bool:
        """Whether it has tokens of its own that say which tile of a page an image is."""


class TilingPolicy(TilingSettings):
    """How pages are cut: the settings with their defaults filled in, what the model family adds, and what they decide
    for a page, for many pages, and for the text between tiles.

    Raises:
        ConfigError: a field has a value that is not allowed; names the field, what was expected and what was found.
    """

    tile_labels: bool = True
    """Whether tiles carry a label when a page gives more than one image."""
    own_labels: bool = False
    """With tile_labels: a label is a token of the model family inside the tile's block, instead of text before it."""
    multiple: Annotated[int, Field(strict=True, gt=0)] = 28
    """adaptive: sides of a tile are multiples of this, the model family's own size multiple."""
    min_tile_pixels: Annotated[int, Field(strict=True, gt=0, le=MAX_PRODUCT)] = 56 * 56
    """adaptive: the family enlarges images below this, so no tile is smaller (Qwen2.5-VL's min_pixels)."""
    max_tile_pixels: Annotated[int, Field(strict=True, gt=0, le=MAX_PRODUCT)] = 28 * 28 * 16_384
    """adaptive: the family shrinks images above this, so no tile is larger (Qwen2.5-VL's max_pixels)."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: object) -> object:
        """What is left out or None becomes the default of its kind; another word for a value becomes the value."""
        if not isinstance(values, Mapping):
            return values  # which pydantic refuses
        filled_in = {"kind": "adaptive", "shape_buckets": "ocr_pages", **values}
        if filled_in["kind"] == "native":
            filled_in |= {"kind": "shape_buckets", "native_resolution": True}
        defaults = {
            "overlap": 0.0 if filled_in["kind"] == "adaptive" else 0.1,
            "no_upscale": filled_in["kind"] != "none",
            "pad_color": (0, 0, 0),
        }
        filled_in |= {name: value for name, value in defaults.items() if filled_in.get(name) is None}
        if isinstance(name := filled_in["shape_buckets"], str):
            filled_in["shape_buckets"] = PRESETS.get(name, name)
        return filled_in

    @model_validator(mode="after")
    def _holds_a_tile(self) -> "TilingPolicy":
        least = max(self.multiple**2, self.min_tile_pixels)
        for name, pixels in (("max_tile_pixels", self.max_tile_pixels), ("max_page_pixels", self.max_page_pixels)):
            if pixels is not None and pixels < least:
                raise ValueError(f"{name}: expected at least {least}, the smallest tile, found {pixels}")
        return self

    def for_family(self, family: TileFamily) -> "TilingPolicy":
        """This policy with tiles that `family` takes as they are: its multiple, its smallest and its largest image.

        Under kind adaptive, where tile_size is a limit, no side is longer than the family's longest. A canvas of a
        fixed grid stays as it was asked for, and the family shrinks it.

        Raises:
            ConfigError: labels are to be the family's own, and it has none.
        """
        if self.own_labels and not family.has_own_labels:
            raise ConfigError(
                "tiling.labels: family: this model has no tokens for tiles of its own (Idefics3 and SmolVLM have); "
                "use text or none"
            )
        return self.replace(
            multiple=family.size_multiple,
            min_tile_pixels=family.min_pixels,
            max_tile_pixels=family.max_pixels,
            tile_size=_within(self.tile_size, family.max_tile_side) if self.kind == "adaptive" else self.tile_size,
        )

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all fields and the version of the rules: the same policy gives the same plans."""
        text = json.dumps({"rules": RULES_VERSION, **self.model_dump()}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def pixel_fingerprint(self) -> str:
        """32 hex digits over all that decides what tiles show: the same with and without labels."""
        return self.replace(tile_labels=True, own_labels=False).fingerprint

    @property
    def has_text_labels(self) -> bool:
        """Whether labels are text before tiles."""
        return self.tile_labels and not self.own_labels

    @property
    def wants_overview(self) -> bool:
        """Whether a page that is cut also gives an overview."""
        return bool(self.overview_buckets) or self.overview_size is not None

    @property
    def buckets(self) -> tuple[ShapeBucket, ...]:
        """The rules of `shape_buckets`, those of a preset too."""
        return cast(tuple[ShapeBucket, ...], self.shape_buckets)

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that were set but have no effect under this kind: what a run should warn of."""
        plain = TilingPolicy(kind=self.kind)
        changed = [name for name, value in self if value != getattr(plain, name)]
        return tuple(name for name in changed if self.kind not in _ONLY_UNDER.get(name, (self.kind,)))

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """`plan_tiles` by this policy; the plans of the last sizes are kept, since sizes repeat."""
        return _plan_of_size(int(width), int(height), self)

    def plan_tiles_arrays(self, widths: ArrayLike, heights: ArrayLike) -> TileArrays:
        """`plan_tiles_arrays` by this policy."""
        return plan_tiles_arrays(widths, heights, self)

    grid_text_pieces = staticmethod(grid_text_pieces)


def plan_tiles_arrays(widths: ArrayLike, heights: ArrayLike, policy: TilingPolicy) -> TileArrays:
    """The tiles of pages of these sizes, (n,) each.

    Raises:
        ValueError: the arrays differ in length, or a side is below 1 or above records.MAX_SIDE.
    """
    return with_overviews(_cut(page_sizes(widths, heights), policy), has_text_labels=policy.has_text_labels)


def plan_tiles(width: int, height: int, policy: TilingPolicy) -> TilePlan:
    """Decide boxes, output sizes, placements and labels of a page of width x height pixels.

    Raises:
        ValueError: a side is below 1 or above records.MAX_SIDE.
    """
    return policy.plan_tiles(width, height)


@lru_cache(maxsize=1024)
def _plan_of_size(width: int, height: int, policy: TilingPolicy) -> TilePlan:
    """The plan of a page."""
    cut = _cut(page_sizes([width], [height]), policy)
    rule = cut.policies[int(cut.chosen[0])]
    columns, rows = map(_pairs, cut.spans())
    boxes = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
    sizes = _pairs(cut.tiles)
    if rule.kind == "none":  # whether crops keep their aspect on their canvas; else they cover it
        is_fitted = bool(rule.resize_buckets) or isinstance(rule.image_size, int)
    else:
        is_fitted = rule.kind != "adaptive" and not rule.native_resolution and isinstance(rule.tile_size, int)
    are_fitted = [is_fitted] * len(boxes)
    grid = int(cut.grids.columns[0]), int(cut.grids.rows[0])
    has_overview = len(cut.owners) > 0
    if has_overview:
        boxes, sizes = [(0, 0, width, height), *boxes], [*_pairs(cut.overviews), *sizes]
        # Overviews are resized under native resolution too; under kind adaptive a side gives a canvas without padding.
        is_fitted = bool(rule.overview_buckets) or (rule.kind != "adaptive" and isinstance(rule.overview_size, int))
        are_fitted = [is_fitted, *are_fitted]
    placements = [
        fit((right - left, bottom - top), size, no_upscale=bool(rule.no_upscale))
        if is_fitted
        else Placement(width=size[0], height=size[1], left=0, top=0)
        for (left, top, right, bottom), size, is_fitted in zip(boxes, sizes, are_fitted, strict=True)
    ]
    is_labelled = policy.tile_labels and len(sizes) > 1
    labels = grid_labels(*grid, has_overview=has_overview, is_rtl=rule.reading_order == "rtl") if is_labelled else None
    return TilePlan(
        grid=grid,
        boxes=tuple(boxes),
        sizes=tuple(sizes),
        placements=tuple(placements),
        labels=labels,
        has_overview=has_overview,
        pad_color=cast(RGB, rule.pad_color),
        has_own_labels=is_labelled and policy.own_labels,
    )


def _cut(page: Sizes, policy: TilingPolicy) -> CutPages:
    """Pages cut by the rules of the policy's kind."""
    return cut_adaptive(page, policy) if policy.kind == "adaptive" else cut_fixed(page, policy)


def _pairs(arrays: tuple[Ints, Ints]) -> list[tuple[int, int]]:
    return list(zip(arrays[0].tolist(), arrays[1].tolist(), strict=True))


def _within(size: int | Size, side: int | None) -> int | Size:
    """A tile size with no side above `side`."""
    if side is None:
        return size
    return min(size, side) if isinstance(size, int) else (min(size[0], side), min(size[1], side))
