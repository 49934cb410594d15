"""PixelSettings: how images become tiles, beside the tiling policy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wdstream.errors import ConfigError

DecodeMode = Literal["exact", "scaled"]
PixelMode = Literal["fast", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCacheSettings:
    """Where cut tiles are kept, and how many bytes they may take together; see tile_cache.py."""

    path: Path
    max_bytes: int

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"tile_cache.max_bytes: expected at least 1 byte, found {self.max_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSettings:
    """How images become tiles.

    Attributes:
        decode: "exact", or "scaled": a JPEG page of which no tile needs more than half the resolution is decoded at as
            many eighths of its size as are enough. Faster, other pixels (docs/pixels.md says by how much).
        pixels: "fast", or "reference": tiles are resized and normalised on the host, in float32, by the model's own
            Hugging Face image processor. For comparisons: slower by an order of magnitude, eight times the memory.
        tile_cache: keeps cut tiles between epochs and runs; None does not. Changes no pixel.

    Raises:
        ConfigError: a value that is not allowed.
    """

    decode: DecodeMode = "exact"
    pixels: PixelMode = "fast"
    tile_cache: TileCacheSettings | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("decode", get_args(DecodeMode)), ("pixels", get_args(PixelMode))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}: expected {' or '.join(allowed)}, found {getattr(self, name)!r}")

    @property
    def fingerprint(self) -> str:
        """All that changes a pixel, in words; "" for the defaults."""
        parts = [value for value in (self.decode, self.pixels) if value not in ("exact", "fast")]
        return ",".join(parts)
