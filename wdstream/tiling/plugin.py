"""Plugins: an installed package offers a tiling of its own under the entry point group `wdstream.tiling`.

    [project.entry-points."wdstream.tiling"]
    columns = "my_package:ColumnTiling"          # called with the settings, gives a TilingPlugin

    tiling: {transform: columns, settings: {width: 600}}

A tiling decides from a page's size how it is cut, and has a fingerprint; it never sees pixels. `load_tiling` wraps it,
so that it has all methods of a TilingPolicy. It may have a `resample`; else crops are resized bicubic. Its labels, if
any, are those of a grid (`labels.grid_labels`), since the plan counts the tokens of label text from the grid alone.
"""

import hashlib
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from wdstream.errors import ConfigError
from wdstream.records import RESAMPLES, Resample, TileArrays, TilePlan
from wdstream.tiling.arrays import distinct_sizes, page_sizes
from wdstream.tiling.labels import grid_labels, grid_text_pieces

ENTRY_POINT_GROUP = "wdstream.tiling"
DEFAULT_RESAMPLE: Resample = "bicubic"


class TilingPlugin(Protocol):
    """What another package offers: a pure function of the page's size, and a fingerprint of this function."""

    @property
    def fingerprint(self) -> str:
        """Changes with every setting and version that changes a plan."""

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """The cuts of a page of this size in pixels."""


class LoadedTiling:
    """A tiling of another package with the methods of a TilingPolicy; every plan is checked."""

    def __init__(self, name: str, tiling: TilingPlugin) -> None:
        """`name` is the entry point's; raises ConfigError for an unknown resample."""
        self.name = name
        self._tiling = tiling
        self.resample: Resample = getattr(tiling, "resample", DEFAULT_RESAMPLE)
        """The filter by which crops are resized."""
        if self.resample not in RESAMPLES:
            raise ConfigError(
                f"tiling '{name}': resample: expected one of {', '.join(RESAMPLES)}, found {self.resample!r}"
            )

    @property
    def fingerprint(self) -> str:
        """32 hex digits over the entry point's name, the filter and the tiling's own fingerprint."""
        rules = "\0".join((self.name, self.resample, self._tiling.fingerprint))
        return hashlib.sha256(rules.encode()).hexdigest()[:32]

    @property
    def pixel_fingerprint(self) -> str:
        """The fingerprint, as it is not known what in it is about labels alone."""
        return self.fingerprint

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """The tiling's plan of a page.

        Raises:
            ConfigError: the plan contradicts itself, cuts outside the page, or has other labels than its grid's.
            ValueError: a side no page has.
        """
        page_sizes([width], [height])
        plan = self._tiling.plan_tiles(width, height)
        if fault := _fault(plan, width, height):
            raise ConfigError(f"tiling '{self.name}' planned a page of {width}x{height} wrongly: {fault}")
        return plan

    def plan_tiles_arrays(self, widths: ArrayLike, heights: ArrayLike) -> TileArrays:
        """The plans of many pages, each size planned once."""
        unique_widths, unique_heights, index = distinct_sizes(widths, heights)
        unique = [self.plan_tiles(*page) for page in zip(unique_widths.tolist(), unique_heights.tolist(), strict=True)]
        plans = [unique[number] for number in index.tolist()]
        sizes = np.array([size for plan in plans for size in plan.sizes], dtype=np.int64).reshape(-1, 2)
        grids = np.array([plan.grid for plan in plans], dtype=np.int64).reshape(-1, 2)
        return TileArrays(
            counts=np.array([len(plan.sizes) for plan in plans], dtype=np.int64),
            columns=grids[:, 0],
            rows=grids[:, 1],
            has_overview=np.array([plan.has_overview for plan in plans], dtype=np.bool_),
            is_labelled=np.array([plan.labels is not None for plan in plans], dtype=np.bool_),
            is_rtl=np.array([_is_rtl(plan) for plan in plans], dtype=np.bool_),
            tile_widths=sizes[:, 0],
            tile_heights=sizes[:, 1],
        )

    grid_text_pieces = staticmethod(grid_text_pieces)


def load_tiling(name: str, **settings: object) -> LoadedTiling:
    """The tiling that an installed package offers under this name, made with these settings.

    Raises:
        ConfigError: none is installed under the name (the installed ones are listed), or several are; it cannot be
            imported, refuses the settings, or gives no tiling.
    """
    installed = entry_points(group=ENTRY_POINT_GROUP)
    matching = [point for point in installed if point.name == name]
    if len(matching) != 1:
        names = ", ".join(sorted({point.name for point in installed})) or "none"
        raise ConfigError(
            f"tiling '{name}': expected one installed package that offers it under the entry point group "
            f"'{ENTRY_POINT_GROUP}', found {len(matching)}; offered are: {names}"
        )
    try:
        make = matching[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"tiling '{name}' at {matching[0].value} cannot be imported: {error}") from error
    try:
        tiling = make(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"tiling '{name}' refuses the settings {settings}: {error}") from error
    if lacking := [member for member in ("plan_tiles", "fingerprint") if not hasattr(tiling, member)]:
        raise ConfigError(
            f"tiling '{name}' at {matching[0].value}: expected a TilingPlugin, found {tiling!r:.80} without "
            f"{' and '.join(lacking)}"
        )
    return LoadedTiling(name, tiling)


def _fault(plan: TilePlan, width: int, height: int) -> str | None:
    """What is wrong with a plan, if anything."""
    columns, rows = plan.grid
    expected = columns * rows + plan.has_overview
    if not len(plan.boxes) == len(plan.sizes) == len(plan.placements) == expected:
        counts = f"{len(plan.boxes)} boxes, {len(plan.sizes)} sizes and {len(plan.placements)} placements"
        return f"a grid of {columns}x{rows} needs {expected} of each, found {counts}"
    for box in plan.boxes:
        if not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
            return f"box {box} is empty or not on the page"
    for (wide, high), content in zip(plan.sizes, plan.placements, strict=True):
        if min(content.left, content.top, content.width - 1, content.height - 1) < 0:
            return f"{content} begins before its canvas, or is empty"
        if content.left + content.width > wide or content.top + content.height > high:
            return f"{content} reaches beyond its canvas of {wide}x{high}"
    allowed = [
        None,
        *(grid_labels(columns, rows, has_overview=plan.has_overview, is_rtl=is_rtl) for is_rtl in (False, True)),
    ]
    if plan.labels not in allowed or (plan.labels and expected == 1):
        return f"labels {plan.labels} are not those of its grid, {allowed[1]}"
    return None


def _is_rtl(plan: TilePlan) -> bool:
    """Whether the labels say that rows run right to left."""
    return plan.labels is not None and plan.grid[0] > 1 and plan.labels[-1].endswith("_col0>")
