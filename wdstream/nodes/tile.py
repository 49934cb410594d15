"""Tile: pages are cut, each tile at its output size."""

from functools import partial
from typing import Protocol

from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import Node
from wdstream.pixels.render import render_tiles
from wdstream.records import DecodedPage, TiledPage, TilePlan
from wdstream.tiling.plugin import DEFAULT_RESAMPLE


class Tiling(Protocol):
    """Decides how an image is cut: a TilingPolicy, or a transform of another package. May also name a `resample`."""

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """The cuts of an image of this size in pixels."""


class Tile(Map[DecodedPage, TiledPage]):
    """DecodedPage to TiledPage by a tiling policy."""

    def __init__(
        self, source: Node[DecodedPage], *, policy: Tiling, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        super().__init__(source, partial(tile_page, policy=policy), workers=workers, on_error=on_error)


def tile_page(page: DecodedPage, *, policy: Tiling) -> TiledPage:
    """Cut all images of one page as the policy says for their size."""
    plans = tuple(policy.plan_tiles(image.shape[1], image.shape[0]) for image in page.images)
    resample = resample_of(policy)
    tiles = tuple(render_tiles(image, plan, resample=resample) for image, plan in zip(page.images, plans, strict=True))
    return TiledPage(key=page.key, plans=plans, tiles=tiles, segments=page.segments, meta=page.meta)


def resample_of(policy: Tiling) -> str:
    """The filter by which images are resized."""
    return str(getattr(policy, "resample", DEFAULT_RESAMPLE))
