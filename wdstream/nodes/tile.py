"""Tile: pages are cut, each tile at its output size."""

from functools import partial

from wdstream.nodes.base import OnError, Step
from wdstream.nodes.node import Node
from wdstream.pages.tile import TilingPolicy, plan_tiles
from wdstream.pixels.render import render_tiles
from wdstream.records import DecodedPage, TiledPage


class Tile(Step[DecodedPage, TiledPage]):
    """DecodedPage to TiledPage by a tiling policy."""

    def __init__(
        self, source: Node[DecodedPage], *, policy: TilingPolicy, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        super().__init__(source, partial(tile_page, policy=policy), workers=workers, on_error=on_error)


def tile_page(page: DecodedPage, *, policy: TilingPolicy) -> TiledPage:
    """Cut all images of one page as `plan_tiles` says for their size."""
    plans = tuple(plan_tiles(image.shape[1], image.shape[0], policy) for image in page.images)
    tiles = tuple(
        render_tiles(image, plan, resample=policy.resample) for image, plan in zip(page.images, plans, strict=True)
    )
    return TiledPage(key=page.key, plans=plans, tiles=tiles, segments=page.segments, meta=page.meta)
