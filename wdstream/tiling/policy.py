"""How a page is cut into tiles: a pure function of its size and a policy, without pixels.

    plan_tiles(width, height, policy) -> TilePlan                one page
    plan_tiles_arrays(widths, heights, policy) -> TileArrays     many pages at once, the same answers (vectorised.py)

Settings: settings.py; which of them hold for a page: rules.py; geometry: grid.py, adaptive.py;
transforms of other packages: plugin.py.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from numpy.typing import ArrayLike

from wdstream.errors import ConfigError
from wdstream.records import Box, Placement, Size, TilePlan
from wdstream.tiling.adaptive import plan_adaptive
from wdstream.tiling.grid import boxes, choose_bucket, cut, filled, fit, labels, on_canvas
from wdstream.tiling.labels import grid_text_pieces
from wdstream.tiling.rules import Rules, base_rules, bucket_rules, check_side, rules_for
from wdstream.tiling.settings import OCR_PAGES, PRESETS, ShapeBucket, TilingSettings
from wdstream.tiling.vectorised import TileArrays, distinct_sizes, plan_tiles_arrays

__all__ = [
    "OCR_PAGES",
    "PRESETS",
    "ShapeBucket",
    "TileArrays",
    "TilingPolicy",
    "distinct_sizes",
    "plan_tiles",
    "plan_tiles_arrays",
]


class ImageSizes(Protocol):
    """What a model family says of the images it takes."""

    @property
    def size_multiple(self) -> int:
        """Pixels; sides become multiples of this."""

    @property
    def min_pixels(self) -> int:
        """Images of a smaller area are enlarged."""

    @property
    def max_pixels(self) -> int:
        """Images of a larger area are shrunk."""

    @property
    def max_tile_side(self) -> int | None:
        """Pixels; images with a longer side are shrunk. None: no limit."""

    @property
    def has_own_labels(self) -> bool:
        """Whether it has tokens of its own that say which tile of a page an image is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingPolicy(TilingSettings):
    """How pages are cut: the settings, and what they decide for a page, for many pages, and for the text between tiles.

    Raises:
        ConfigError: a field has a value that is not allowed; names the field, what was expected and what was found.
    """

    def for_family(self, family: ImageSizes) -> "TilingPolicy":
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
        return replace(
            self,
            multiple=family.size_multiple,
            min_tile_pixels=family.min_pixels,
            max_tile_pixels=family.max_pixels,
            tile_size=_within(self.tile_size, family.max_tile_side) if self.kind == "adaptive" else self.tile_size,
        )

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """`plan_tiles` by this policy."""
        return plan_tiles(width, height, self)

    def plan_tiles_arrays(self, widths: ArrayLike, heights: ArrayLike) -> TileArrays:
        """`plan_tiles_arrays` by this policy."""
        return plan_tiles_arrays(widths, heights, self)

    def grid_text_pieces(
        self, columns: int, rows: int, has_overview: bool, is_labelled: bool, is_rtl: bool | None = None
    ) -> list[str]:
        """The text before each tile of an image cut this way, "" for none; `is_rtl` as in TileArrays.

        Raises:
            ConfigError: `is_rtl` is left out, and shape buckets have reading orders of their own.
        """
        if is_rtl is None:
            orders = {self.reading_order, *(bucket.rules.reading_order for bucket in bucket_rules(self))}
            if len(orders) > 1:
                raise ConfigError("tiling.shape_buckets: reading orders differ between buckets; say which by is_rtl")
            is_rtl = orders == {"rtl"}
        return grid_text_pieces(columns, rows, has_overview, is_labelled, "rtl" if is_rtl else "ltr")


def plan_tiles(width: int, height: int, policy: TilingPolicy) -> TilePlan:
    """Decide boxes, output sizes, placements and labels of a page of width x height pixels.

    Raises:
        ValueError: a side is below 1 or above tile_rules.MAX_SIDE.
    """
    check_side(width, height)
    if policy.kind == "adaptive":
        return plan_adaptive(width, height, policy)
    if policy.kind == "none":
        return _single((width, height), *_resized((width, height), policy), base_rules(policy))
    rules = rules_for(width, height, policy)
    if width * height < rules.min_area:
        return _single((width, height), *_tile((width, height), rules, policy), rules)
    return _plan_grid((width, height), rules, policy)


def _within(size: int | Size, side: int | None) -> int | Size:
    """A tile size with no side above `side`."""
    if side is None:
        return size
    return min(size, side) if isinstance(size, int) else (min(size[0], side), min(size[1], side))


def _plan_grid(page: Size, rules: Rules, policy: TilingPolicy) -> TilePlan:
    """A fixed grid, after its overview if there is one."""
    columns, rows = cut(page, rules.grid, rules.overlap)
    grid = len(columns), len(rows)
    crops = boxes(columns, rows, rules.reading_order)
    outputs = [_tile((right - left, bottom - top), rules, policy) for left, top, right, bottom in crops]
    if rules.wants_overview:
        crops = [(0, 0, *page), *crops]
        outputs = [_overview(page, rules), *outputs]
    is_labelled = policy.tile_labels and len(outputs) > 1
    names = labels(*grid, has_overview=rules.wants_overview, reading_order=rules.reading_order)
    return TilePlan(
        grid=grid,
        boxes=tuple(crops),
        sizes=tuple(size for size, _ in outputs),
        placements=tuple(placement for _, placement in outputs),
        labels=names if is_labelled else None,
        has_overview=rules.wants_overview,
        pad_color=rules.pad_color,
        has_own_labels=is_labelled and policy.own_labels,
    )


def _single(page: Size, size: Size, placement: Placement, rules: Rules) -> TilePlan:
    """The whole page as one image."""
    whole: Box = (0, 0, *page)
    return TilePlan(
        grid=(1, 1),
        boxes=(whole,),
        sizes=(size,),
        placements=(placement,),
        labels=None,
        has_overview=False,
        pad_color=rules.pad_color,
    )


def _tile(crop: Size, rules: Rules, policy: TilingPolicy) -> tuple[Size, Placement]:
    if policy.native_resolution:
        return crop, filled(crop)
    return on_canvas(crop, rules.tile_size, no_upscale=rules.no_upscale)


def _overview(page: Size, rules: Rules) -> tuple[Size, Placement]:
    """Overviews are resized under native resolution too."""
    if rules.overview_buckets:
        canvas = choose_bucket(page, rules.overview_buckets)
        return canvas, fit(page, canvas, no_upscale=rules.no_upscale)
    assert rules.overview_size is not None, "asked for an overview by a policy without one"
    return on_canvas(page, rules.overview_size, no_upscale=rules.no_upscale)


def _resized(page: Size, policy: TilingPolicy) -> tuple[Size, Placement]:
    """An image that is not cut: on the best of resize_buckets, else at image_size, else as it is."""
    no_upscale = base_rules(policy).no_upscale
    if policy.resize_buckets:
        canvas = choose_bucket(page, policy.resize_buckets)
        return canvas, fit(page, canvas, no_upscale=no_upscale)
    if policy.image_size is not None:
        return on_canvas(page, policy.image_size, no_upscale=no_upscale)
    return page, filled(page)
