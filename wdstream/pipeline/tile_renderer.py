"""Cut: an encoded page to its tiles, decoded exactly or smaller, from the cache when they lie there.

header ► plan of the tiles ► (cache) or decode ► shrink an over-long page ► crop, resize
"""

from dataclasses import dataclass

from wdstream.errors import DecodeError
from wdstream.nodes.decode import MAX_PIXELS
from wdstream.nodes.tile import Tiling, resample_of
from wdstream.pixels.decode import EncodedImage, check_limit
from wdstream.pixels.render import render_tiles, resize, scaled_decode_size
from wdstream.pixels.settings import DecodeMode
from wdstream.pixels.tile_cache import TileCache, entry_name
from wdstream.plan.sample_lengths import FULL_SCALE, scaled_size
from wdstream.records import Page, Pixels, Size, TiledPage, TilePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRenderer:
    """How the images of a page become tiles.

    Attributes:
        tiling: how an image is cut.
        max_pixels: images above this are not decoded.
        decode: see PixelSettings.
        cache: keeps tiles of this tiling, decode and max_pixels; None for no cache.
    """

    tiling: Tiling
    max_pixels: int = MAX_PIXELS
    decode: DecodeMode = "exact"
    cache: TileCache | None = None

    def cut(self, page: Page, *, scale: int = FULL_SCALE) -> TiledPage:
        """A page with its tiles cut, its images first shrunk to scale / 64 of their sides.

        Raises:
            DecodeError: names the page and the image that cannot be decoded or is above `max_pixels`.
        """
        plans: list[TilePlan] = []
        tiles: list[tuple[Pixels, ...]] = []
        for number, data in enumerate(page.images):
            try:
                image = EncodedImage(data)
                check_limit(image.header, self.max_pixels)
                size = scaled_size(image.header.width, image.header.height, scale)
                plans.append(self.tiling.plan_tiles(*size))
                tiles.append(self._tiles(image, plans[-1], size, scale))
            except DecodeError as error:
                raise DecodeError(f"page {page.key!r}, image {number}: {error}") from error
        return TiledPage(key=page.key, plans=tuple(plans), tiles=tuple(tiles), segments=page.segments, meta=page.meta)

    def _tiles(self, image: EncodedImage, plan: TilePlan, size: Size, scale: int) -> tuple[Pixels, ...]:
        """From the cache, or cut anew and left there."""
        if self.cache is None:
            return self._cut(image, plan, size)
        name = entry_name(image.data, scale)
        kept = self.cache.get(name, plan.sizes)
        if kept is not None:
            return kept
        tiles = self._cut(image, plan, size)
        self.cache.put(name, tiles)
        return tiles

    def _cut(self, encoded: EncodedImage, plan: TilePlan, size: Size) -> tuple[Pixels, ...]:
        """The tiles of an image that is tiled as one of `size` (width, height)."""
        resample = resample_of(self.tiling)
        enough = scaled_decode_size(plan, size) if self.decode == "scaled" else None
        image = encoded.decode(max_pixels=self.max_pixels, min_size=enough)
        if enough is not None and (image.shape[1], image.shape[0]) != size:
            return render_tiles(image, plan, resample=resample, scaled_from=size)
        return render_tiles(resize(image, size, resample), plan, resample=resample)
