"""TilingSettings: what users set about tiling, in the YAML section `tiling:` and as fields of a TilingPolicy.

The rules of `grid` and `shape_buckets` are those of axolotl's tiling plugin (its field names without their prefix).
Sizes are (width, height), grids (columns, rows), aspect is height / width.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from wdstream.records import MAX_SIDE, Resample
from wdstream.settings import Settings

RGB = tuple[int, int, int]
ReadingOrder = Literal["ltr", "rtl"]

MAX_PRODUCT = 1 << 38
"""Bound of settings in pixels; times the longest side of a page, 1 << 24, it stays within 64 bits."""


def read_color(value: object) -> RGB:
    """A colour as (red, green, blue): a triple, a name, #rrggbb, or Pillow's number red + 256 green + 65536 blue.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, str):
        from PIL import ImageColor

        return ImageColor.getrgb(value)[:3]
    if isinstance(value, int) and 0 <= value <= 0xFFFFFF:
        return value & 255, value >> 8 & 255, value >> 16
    if isinstance(value, Sequence) and len(value) == 3 and all(band in range(256) for band in value):
        return int(value[0]), int(value[1]), int(value[2])
    raise ValueError(f"expected a name, a number up to 0xffffff, or three numbers of 0 to 255, found {value!r}")


Whole = Annotated[int, Field(strict=True, gt=0, le=MAX_SIDE)]
Pair = tuple[Whole, Whole]
Canvas = Annotated[
    Annotated[Whole, Tag("side")] | Annotated[Pair, Tag("pair")],
    Discriminator(lambda value: "pair" if isinstance(value, list | tuple) else "side"),
]
"""A side of a square that a crop is fitted on and padded, or (width, height) to stretch to."""
Overlap = Annotated[float, Field(ge=0, lt=0.5)]
Area = Annotated[int, Field(strict=True, ge=0, le=MAX_PRODUCT)]
Aspect = Annotated[float, Field(ge=0, lt=100_000)]
Color = Annotated[int | RGB | str, BeforeValidator(read_color)]
Filter = Annotated[Resample, BeforeValidator(lambda name: name.lower() if isinstance(name, str) else name)]


class ShapeBucket(Settings):
    """One rule of `shape_buckets`: pages with min_aspect_ratio <= height / width < max_aspect_ratio take this grid.

    Every other field that is not None replaces the policy's field of that name for these pages.

    Raises:
        ConfigError: a value is of the wrong kind or out of range, or the rule can never match.
    """

    section = "tiling.shape_buckets"
    grid: Pair
    name: str | None = None
    min_aspect_ratio: Aspect | None = None
    max_aspect_ratio: Aspect | None = None
    tile_size: Canvas | None = None
    overlap: Overlap | None = None
    min_area: Area | None = None
    overview_size: Canvas | None = None
    overview_buckets: tuple[Pair, ...] | None = None
    no_upscale: bool | None = None
    pad_color: Color | None = None
    # As in the reference, an empty string keeps the policy's reading order.
    reading_order: Annotated[ReadingOrder | None, BeforeValidator(lambda order: order or None)] = None

    @model_validator(mode="after")
    def _can_match(self) -> Self:
        low, high = self.min_aspect_ratio, self.max_aspect_ratio
        if low is not None and high is not None and low >= high:
            raise ValueError(f"min_aspect_ratio: expected less than max_aspect_ratio {high:g}, found {low:g}")
        return self


OCR_PAGES = (
    ShapeBucket(name="landscape", grid=(3, 2), max_aspect_ratio=0.9),
    ShapeBucket(name="portrait", grid=(2, 3), min_aspect_ratio=0.9, max_aspect_ratio=1.7),
    ShapeBucket(name="tall", grid=(2, 4), min_aspect_ratio=1.7),
)
Preset = Literal["ocr_pages", "auto"]
PRESETS: Mapping[str, tuple[ShapeBucket, ...]] = {"ocr_pages": OCR_PAGES, "auto": OCR_PAGES}
Buckets = Annotated[
    Annotated[Preset, Tag("preset")] | Annotated[tuple[ShapeBucket, ...], Field(min_length=1), Tag("rules")],
    Discriminator(lambda value: "preset" if isinstance(value, str) else "rules"),
]


class TilingSettings(Settings):
    """How pages are cut, as users set it.

    Raises:
        ConfigError: a field has a value that is not allowed; names the field, what was expected and what was found.
    """

    section = "tiling"
    kind: Literal["none", "grid", "shape_buckets", "adaptive", "native"] = "adaptive"
    """none: not cut. grid: `grid`. shape_buckets: the first matching rule, else `grid`. adaptive: see adaptive.py.
    native: another word for shape_buckets with native_resolution."""
    native_resolution: bool = False
    """Tiles are the raw crops; tile_size (grid, shape_buckets), padding and upscaling do not apply to them."""
    grid: Pair = (2, 3)
    """(columns, rows)."""
    tile_size: Canvas = 1024
    """int: square canvas, crop fitted and padded. (w, h): stretched to it. adaptive: the longest sides of a tile."""
    overlap: Overlap | None = None
    """Fraction of a cell added on each side, in [0, 0.5); None is 0.1, and 0 for adaptive."""
    min_area: Area = 0
    """Pages of fewer pixels (width * height) are one image, without overview and label."""
    overview_size: Canvas | None = None
    """The whole page first: int fitted and padded to a square (adaptive: fitted, no padding), (w, h) stretched."""
    overview_buckets: tuple[Pair, ...] | None = None
    """The overview's canvas is chosen from these as in `resize_buckets`; wins over overview_size; empty is none."""
    no_upscale: bool | None = None
    """A crop smaller than its canvas keeps its size. None is True, and False for kind none."""
    pad_color: Color | None = None
    """Colour of padding: name, (r, g, b), Pillow's number; None is black. Stored as (r, g, b)."""
    reading_order: ReadingOrder = "ltr"
    """Order of the tiles within a row."""
    shape_buckets: Buckets = "ocr_pages"
    """Rules tried in order, or the preset "ocr_pages" ("auto" is the same)."""
    resample: Filter = "bicubic"
    """By which crops are resized: bilinear, bicubic or lanczos, in any case."""
    image_size: Canvas | None = None
    """kind none: int fitted and padded to a square, (w, h) stretched; None keeps the page's size."""
    resize_buckets: Annotated[tuple[Pair, ...], Field(min_length=1)] | None = None
    """kind none: canvas chosen from these, fitted and padded; wins over image_size."""
    max_page_pixels: Annotated[int, Field(strict=True, gt=0, le=MAX_PRODUCT)] | None = 28 * 28 * 16_384
    """adaptive: a larger page is shrunk to this before it is cut, as Qwen2.5-VL would; None: never."""
