"""Tile: pages are cut, each tile at its output size; and TileRenderer, by which it and the pipeline of a run do it.

header ► plan of the tiles ► (cache) or decode ► shrink an over-long page ► crop, resize
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from wdstream.errors import DecodeError
from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import Node
from wdstream.pixels.decode import EncodedImage, check_limit
from wdstream.pixels.render import render_tiles, resize, scaled_decode_size
from wdstream.pixels.tile_cache import TileCache, entry_name
from wdstream.plan.sample_lengths import FULL_SCALE, scaled_size
from wdstream.records import MAX_PIXELS, DecodedPage, Page, Pixels, Size, TiledPage, TilePlan
from wdstream.tiling.plugin import DEFAULT_RESAMPLE

if TYPE_CHECKING:
    from wdstream.pixels.settings import DecodeMode


class Tiling(Protocol):
    """Decides how an image is cut: a TilingPolicy, or a transform of another package. May also name a `resample`."""

    def plan_tiles(self, width: int, height: int) -> TilePlan:
        """The cuts of an image of this size in pixels."""


class Tile(Map[Page | DecodedPage, TiledPage]):
    """DecodedPage to TiledPage by a tiling policy."""

    def __init__(
        self, source: Node[Page | DecodedPage], *, policy: Tiling, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        if not hasattr(policy, "plan_tiles"):
            raise TypeError(f"Tile: policy: expected TilingPolicy(...) or a transform, found {policy!r:.80}")
        super().__init__(source, TileRenderer(tiling=policy).render, workers=workers, on_error=on_error)


class TileRenderer:
    """How the images of a page become tiles.

    Attributes:
        tiling: how an image is cut.
        max_pixels: encoded images above this are not decoded.
        decode: of encoded images, see PixelSettings.
        cache: keeps tiles of this tiling, decode and max_pixels; None for no cache.
    """

    def __init__(
        self,
        *,
        tiling: Tiling,
        max_pixels: int = MAX_PIXELS,
        decode: "DecodeMode" = "exact",
        cache: TileCache | None = None,
    ) -> None:
        self.tiling = tiling
        self.max_pixels = max_pixels
        self.decode = decode
        self.cache = cache
        self._resample = str(getattr(tiling, "resample", DEFAULT_RESAMPLE))

    def render(self, page: Page | DecodedPage, *, scale: int = FULL_SCALE) -> TiledPage:
        """A page with its tiles cut, its images first shrunk to scale / 64 of their sides.

        Raises:
            DecodeError: names the page and the image that cannot be decoded or is above `max_pixels`.
        """
        plans: list[TilePlan] = []
        tiles: list[tuple[Pixels, ...]] = []
        images: Sequence[bytes | Pixels] = page.images
        for index, image in enumerate(images):
            try:
                if isinstance(image, bytes):
                    encoded = EncodedImage(image)
                    check_limit(encoded.header, self.max_pixels)
                    size = scaled_size(encoded.header.width, encoded.header.height, scale)
                    plans.append(self.tiling.plan_tiles(*size))
                    tiles.append(self._tiles(encoded, plans[-1], size, scale))
                else:
                    size = scaled_size(image.shape[1], image.shape[0], scale)
                    plans.append(self.tiling.plan_tiles(*size))
                    shrunk = resize(image, size, self._resample)
                    tiles.append(render_tiles(shrunk, plans[-1], resample=self._resample))
            except DecodeError as error:
                raise DecodeError(f"page {page.key!r}, image {index}: {error}") from error
        return TiledPage(key=page.key, plans=tuple(plans), tiles=tuple(tiles), segments=page.segments, meta=page.meta)

    def _tiles(self, encoded: EncodedImage, plan: TilePlan, size: Size, scale: int) -> tuple[Pixels, ...]:
        """The tiles of an encoded image that is tiled as one of `size`: from the cache, or cut and put there."""
        name = "" if self.cache is None else entry_name(encoded.data, scale)
        if self.cache is not None and (kept := self.cache.get(name, plan.sizes)) is not None:
            return kept
        enough = scaled_decode_size(plan, size) if self.decode == "scaled" else None
        image = encoded.decode(max_pixels=self.max_pixels, min_size=enough)
        if enough is not None and (image.shape[1], image.shape[0]) != size:
            tiles = render_tiles(image, plan, resample=self._resample, scaled_from=size)
        else:
            tiles = render_tiles(resize(image, size, self._resample), plan, resample=self._resample)
        if self.cache is not None:
            self.cache.put(name, tiles)
        return tiles


def tile_page(page: Page | DecodedPage, *, policy: Tiling) -> TiledPage:
    """Cut all images of one page as the policy says for their size."""
    return TileRenderer(tiling=policy).render(page)
