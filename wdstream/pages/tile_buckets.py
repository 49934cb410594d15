"""Shape buckets: rules on a page's aspect (height / width), each with its grid and its own settings."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from wdstream.errors import ConfigError
from wdstream.pages import tile_checks as check
from wdstream.records import Size

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
