"""PixelSettings: how images become tiles, apart from the tiling policy."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from wdstream.settings import Settings

DecodeMode = Literal["exact", "scaled"]
PixelMode = Literal["fast", "reference"]


class TileCacheSettings(Settings):
    """`data.tile_cache:` tiles kept on disk between epochs and runs; see docs/pixels.md for when that pays."""

    section = "data.tile_cache"
    path: Path
    """A folder on a fast disk of this machine; several runs may share it."""
    max_bytes: int = Field(gt=0)
    """All its files together; some go when more come."""


class PixelSettings(Settings):
    """How images become tiles.

    Raises:
        ConfigError: a value that is not allowed.
    """

    section = "data"
    decode: DecodeMode = "exact"
    """scaled: a JPEG page of which no tile needs more than half the resolution is decoded at as many eighths of its
    size as are enough. Faster, other pixels; docs/pixels.md says by how much."""
    pixels: PixelMode = "fast"
    """reference: tiles are resized and normalised on the host, in float32, by the model's own Hugging Face image
    processor. For comparisons: slower by an order of magnitude, eight times the memory."""
    tile_cache: TileCacheSettings | None = None
    """Keeps cut tiles between epochs and runs; None cuts every page again in every epoch. Changes no pixel."""

    @property
    def fingerprint(self) -> str:
        """All that changes a pixel, in words; "" for the defaults."""
        return ",".join(value for value in (self.decode, self.pixels) if value not in ("exact", "fast"))
