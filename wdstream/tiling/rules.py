"""The settings that hold for one page: the policy's, with those of the first matching shape bucket on top.

Aspect limits are compared exactly, as fractions: height * denominator against width * numerator, in whole numbers.
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache

from wdstream.records import Size
from wdstream.tiling.checks import RGB
from wdstream.tiling.settings import ReadingOrder, ShapeBucket, TilingSettings

MAX_SIDE = 1 << 24
"""Longest side of a page; keeps every product of the tiling rules inside 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The resolved settings of one page; fields as in TilingSettings."""

    grid: Size
    tile_size: int | Size
    overlap: float
    min_area: int
    overview_size: int | Size | None
    overview_buckets: tuple[Size, ...] | None
    no_upscale: bool
    pad_color: RGB
    reading_order: ReadingOrder

    @property
    def wants_overview(self) -> bool:
        """Whether a page that is cut also gives an overview."""
        return bool(self.overview_buckets) or self.overview_size is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRules:
    """A shape bucket ready to use: limits as fractions (None is no limit), and the settings of its pages."""

    low: Fraction | None
    high: Fraction | None
    rules: Rules

    def matches(self, width: int, height: int) -> bool:
        """Whether low <= height / width < high."""
        above = self.low is None or height * self.low.denominator >= width * self.low.numerator
        return above and (self.high is None or height * self.high.denominator < width * self.high.numerator)


@lru_cache(maxsize=256)
def base_rules(policy: TilingSettings) -> Rules:
    """The policy's own settings, used where no bucket matches."""
    return Rules(**{field.name: getattr(policy, field.name) for field in fields(Rules)})


@lru_cache(maxsize=256)
def bucket_rules(policy: TilingSettings) -> tuple[BucketRules, ...]:
    """The shape buckets in the order they are tried; empty unless the policy's kind is shape_buckets."""
    if policy.kind != "shape_buckets":
        return ()
    return tuple(
        BucketRules(
            low=_limit(bucket.min_aspect_ratio), high=_limit(bucket.max_aspect_ratio), rules=_merge(policy, bucket)
        )
        for bucket in policy.buckets
    )


def rules_for(width: int, height: int, policy: TilingSettings) -> Rules:
    """The settings of a page of this size: the first matching bucket's, or the policy's own."""
    for bucket in bucket_rules(policy):
        if bucket.matches(width, height):
            return bucket.rules
    return base_rules(policy)


def _merge(policy: TilingSettings, bucket: ShapeBucket) -> Rules:
    names = [field.name for field in fields(Rules)]
    values = {name: getattr(bucket, name) for name in names if getattr(bucket, name) is not None}
    return Rules(**{name: values.get(name, getattr(policy, name)) for name in names})


def _limit(value: float | None) -> Fraction | None:
    # The decimal the user wrote, 0.9 is 9/10; or the fraction a long decimal stands for, 0.8333333333333334 is 5/6.
    return None if value is None else Fraction(repr(value)).limit_denominator(1_000_000)


def check_side(width: int, height: int) -> None:
    """Refuse sizes that no image has.

    Raises:
        ValueError: a side is not in [1, MAX_SIDE].
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"page of {width}x{height}: sides must lie in [1, {MAX_SIDE}]")
