"""TilingSettings: the fields of a TilingPolicy (policy.py), checked once, with a fingerprint.

The rules of `grid` and `shape_buckets` are those of axolotl's tiling plugin (its field names without their prefix);
what a field means is written at the field. Sizes are (width, height), grids (columns, rows), aspect is height / width.

Shape buckets: rules on a page's aspect (height / width), each with its grid and its own settings.
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast

from wdstream.errors import ConfigError
from wdstream.records import Size
from wdstream.tiling import checks as check

READING_ORDERS = ("ltr", "rtl")

ReadingOrder = Literal["ltr", "rtl"]

_SHARED_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "grid": lambda field, value: check.pair(field, value, "(columns, rows)"),
    "tile_size": check.size,
    "overlap": lambda field, value: check.number(field, value, least=0, below=0.5),
    "min_area": lambda field, value: check.whole(field, value, least=0),
    "overview_size": check.size,
    "overview_buckets": check.sizes,
    "no_upscale": check.flag,
    "pad_color": check.color,
    "reading_order": lambda field, value: check.choice(field, value, READING_ORDERS),
}


def store(target: object, field: str, value: object) -> None:
    """Set a field of a frozen dataclass while it is made."""
    object.__setattr__(target, field, value)


def check_shared(target: Any, prefix: str, required: Iterable[str]) -> None:
    """Check and store the fields that a policy and a bucket have in common; None is allowed unless required."""
    for field, checked in _SHARED_CHECKS.items():
        value = getattr(target, field)
        if value is not None or field in required:
            store(target, field, checked(prefix + field, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeBucket:
    """One rule of `shape_buckets`: pages with min_aspect_ratio <= height / width < max_aspect_ratio take this grid.

    Every other field that is not None replaces the policy's field of that name for these pages.

    Raises:
        ConfigError: a value is of the wrong kind or out of range, or the rule can never match.
    """

    grid: Size
    name: str | None = None
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float | None = None
    tile_size: int | Size | None = None
    overlap: float | None = None
    min_area: int | None = None
    overview_size: int | Size | None = None
    overview_buckets: tuple[Size, ...] | None = None
    no_upscale: bool | None = None
    pad_color: int | tuple[int, int, int] | str | None = None
    reading_order: ReadingOrder | None = None

    def __post_init__(self) -> None:
        prefix = f"shape_buckets[{self.name or self.grid}]."
        check_shared(self, prefix, {"grid"})
        for field in ("min_aspect_ratio", "max_aspect_ratio"):
            if (value := getattr(self, field)) is not None:
                store(self, field, check.number(prefix + field, value, least=0, below=100_000))
        low, high = self.min_aspect_ratio, self.max_aspect_ratio
        if low is not None and high is not None and low >= high:
            raise check.fail(prefix + "min_aspect_ratio", f"less than max_aspect_ratio {high:g}", low)


OCR_PAGES = (
    ShapeBucket(name="landscape", grid=(3, 2), max_aspect_ratio=0.9),
    ShapeBucket(name="portrait", grid=(2, 3), min_aspect_ratio=0.9, max_aspect_ratio=1.7),
    ShapeBucket(name="tall", grid=(2, 4), min_aspect_ratio=1.7),
)
PRESETS: Mapping[str, tuple[ShapeBucket, ...]] = {"ocr_pages": OCR_PAGES, "auto": OCR_PAGES}


def read_buckets(value: Any) -> tuple[ShapeBucket, ...]:
    """The rules of a preset's name, or of a list of buckets and mappings.

    Raises:
        ConfigError: an unknown preset, no rule, a rule without grid or with an unknown key, or a wrong value.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            raise check.fail("shape_buckets", f"a list of rules, or a preset ({', '.join(PRESETS)})", value)
        return PRESETS[value]
    if not isinstance(value, Sequence) or not value:
        raise check.fail("shape_buckets", f"at least one rule, or a preset ({', '.join(PRESETS)})", value)
    return tuple(_bucket(place, rule) for place, rule in enumerate(value))


def _bucket(place: int, rule: Any) -> ShapeBucket:
    if isinstance(rule, ShapeBucket):
        return rule
    if not isinstance(rule, Mapping):
        raise check.fail(f"shape_buckets[{place}]", "a rule such as {grid: [2, 3], max_aspect_ratio: 0.9}", rule)
    known = [field.name for field in fields(ShapeBucket)]
    for key in rule:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "known keys: " + ", ".join(known)
            raise ConfigError(f"tiling.shape_buckets[{place}].{key}: unknown key; {hint}")
    if "grid" not in rule:
        raise ConfigError(f"tiling.shape_buckets[{place}]: the rule has no grid; give grid: [columns, rows]")
    # An empty string keeps the policy's reading order, as in the reference.
    return ShapeBucket(**{key: value for key, value in rule.items() if (key, value) != ("reading_order", "")})


RULES_VERSION = 1
"""Part of every fingerprint; raised whenever a rule gives another plan for the same policy."""

KINDS = ("none", "grid", "shape_buckets", "adaptive", "native")
RESAMPLES = ("bilinear", "bicubic", "lanczos")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingSettings:
    """How pages are cut. Lists become tuples and mappings in `shape_buckets` become `ShapeBucket`s.

    Raises:
        ConfigError: a field has a value that is not allowed; names the field, what was expected and what was found.
    """

    kind: Literal["none", "grid", "shape_buckets", "adaptive", "native"] = "adaptive"
    """none: not cut. grid: `grid`. shape_buckets: the first matching rule, else `grid`. adaptive: see adaptive.py.
    native: another word for shape_buckets with native_resolution; stored as these."""
    native_resolution: bool = False
    """Tiles are the raw crops; tile_size (grid, shape_buckets), padding and upscaling do not apply to them."""
    grid: Size = (2, 3)
    """(columns, rows)."""
    tile_size: int | Size = 1024
    """int: square canvas, crop fitted and padded. (w, h): stretched to it. adaptive: the longest sides of a tile."""
    overlap: float | None = None
    """Part of a cell added on each side, in [0, 0.5); None is 0.1, and 0 for adaptive."""
    min_area: int = 0
    """Pages of fewer pixels (width * height) are one image, without overview and label."""
    overview_size: int | Size | None = None
    """The whole page first: int fitted and padded to a square (adaptive: fitted, no padding), (w, h) stretched."""
    overview_buckets: tuple[Size, ...] | None = None
    """The overview's canvas is chosen from these as in `resize_buckets`; wins over overview_size; empty is none."""
    no_upscale: bool | None = None
    """A crop smaller than its canvas keeps its size. None is True, and False for kind none."""
    pad_color: int | tuple[int, int, int] | str | None = None
    """Colour of padding: name, (r, g, b), Pillow's number; None is black. Stored as (r, g, b)."""
    reading_order: ReadingOrder = "ltr"
    """Order of the tiles within a row."""
    shape_buckets: str | Sequence[ShapeBucket | Mapping[str, Any]] = "ocr_pages"
    """Rules tried in order, or the preset "ocr_pages" ("auto" is the same)."""
    own_labels: bool = False
    """With tile_labels: a label is a token of the model family inside the tile's block, instead of text before it."""
    tile_labels: bool = True
    """Whether tiles carry a text label when a page gives more than one image."""
    resample: str = "bicubic"
    """bilinear, bicubic or lanczos."""
    image_size: int | Size | None = None
    """kind none: int fitted and padded to a square, (w, h) stretched; None keeps the page's size."""
    resize_buckets: tuple[Size, ...] | None = None
    """kind none: canvas chosen from these, fitted and padded; wins over image_size."""
    multiple: int = 28
    """adaptive: sides of a tile are multiples of this, the model family's own size multiple."""
    min_tile_pixels: int = 56 * 56
    """adaptive: the family enlarges images below this, so no tile is smaller (Qwen2.5-VL's min_pixels)."""
    max_tile_pixels: int = 28 * 28 * 16_384
    """adaptive: the family shrinks images above this, so no tile is larger (Qwen2.5-VL's max_pixels)."""
    max_page_pixels: int | None = 28 * 28 * 16_384
    """adaptive: a larger page is shrunk to this before it is cut, as Qwen2.5-VL would; None: never."""

    def __post_init__(self) -> None:
        if self.kind == "native":
            store(self, "kind", "shape_buckets")
            store(self, "native_resolution", True)
        check.choice("kind", self.kind, KINDS)
        check_shared(self, "", {"grid", "tile_size", "min_area", "reading_order"})
        store(self, "native_resolution", check.flag("native_resolution", self.native_resolution))
        store(self, "tile_labels", check.flag("tile_labels", self.tile_labels))
        store(self, "own_labels", check.flag("own_labels", self.own_labels))
        store(self, "resample", check.choice("resample", str(self.resample).lower(), RESAMPLES))
        store(self, "shape_buckets", read_buckets(self.shape_buckets))
        store(self, "multiple", check.whole("multiple", self.multiple, least=1))
        store(self, "min_tile_pixels", check.whole("min_tile_pixels", self.min_tile_pixels, least=1))
        if self.image_size is not None:
            store(self, "image_size", check.size("image_size", self.image_size))
        if self.resize_buckets is not None:
            store(self, "resize_buckets", check.sizes("resize_buckets", self.resize_buckets))
            if not self.resize_buckets:
                raise check.fail("resize_buckets", "at least one (width, height)", [])
        least = max(self.multiple**2, self.min_tile_pixels)
        store(self, "max_tile_pixels", check.whole("max_tile_pixels", self.max_tile_pixels, least=least))
        if self.max_page_pixels is not None:
            store(self, "max_page_pixels", check.whole("max_page_pixels", self.max_page_pixels, least=least))
        if self.overlap is None:
            store(self, "overlap", 0.0 if self.kind == "adaptive" else 0.1)
        if self.no_upscale is None:
            store(self, "no_upscale", self.kind != "none")
        if self.pad_color is None:
            store(self, "pad_color", (0, 0, 0))

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all stored fields and the version of the rules: the same policy gives the same plans."""
        text = json.dumps({"rules": RULES_VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def pixel_fingerprint(self) -> str:
        """32 hex digits over all that decides what tiles show: the same with and without labels."""
        return replace(self, tile_labels=True, own_labels=False).fingerprint

    @property
    def text_labels(self) -> bool:
        """Whether labels are text before tiles."""
        return self.tile_labels and not self.own_labels

    @property
    def ignored_fields(self) -> tuple[str, ...]:
        """Fields that were set but have no effect under this kind: what a run should warn of."""
        plain = TilingSettings(kind=self.kind)
        changed = [
            field.name for field in fields(TilingSettings) if getattr(self, field.name) != getattr(plain, field.name)
        ]
        return tuple(name for name in changed if name in _ONLY_UNDER and self.kind not in _ONLY_UNDER[name])

    @property
    def buckets(self) -> tuple[ShapeBucket, ...]:
        """The rules of `shape_buckets`, whatever form they were given in."""
        return cast(tuple[ShapeBucket, ...], self.shape_buckets)
