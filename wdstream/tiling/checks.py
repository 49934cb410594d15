"""Checks of tiling settings: each takes a field's name and its raw value, and returns the value in its one stored form.

Raises ConfigError naming the field, what was expected and what was found. YAML lists become tuples here.
"""

import math
from collections.abc import Sequence
from typing import Any

from wdstream.errors import ConfigError
from wdstream.records import Size

RGB = tuple[int, int, int]


def fail(field: str, expected: str, found: object) -> ConfigError:
    """The error of one setting, to be raised by the caller."""
    return ConfigError(f"tiling.{field}: expected {expected}, found {found!r}")


def whole(field: str, value: Any, *, least: int) -> int:
    """A whole number of at least `least`; bools and floats are refused, digits in a string are read."""
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise fail(field, f"a whole number of at least {least}", value)
    return value


def pair(field: str, value: Any, meaning: str) -> tuple[int, int]:
    """Two positive whole numbers, such as (columns, rows)."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise fail(field, f"two positive whole numbers {meaning}", value)
    return whole(field, value[0], least=1), whole(field, value[1], least=1)


def size(field: str, value: Any) -> int | Size:
    """A side of a square canvas, or (width, height) to stretch to."""
    return whole(field, value, least=1) if isinstance(value, int | float) else pair(field, value, "(width, height)")


def sizes(field: str, value: Any) -> tuple[Size, ...]:
    """A list of (width, height)."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise fail(field, "a list of (width, height)", value)
    return tuple(pair(f"{field}[{place}]", item, "(width, height)") for place, item in enumerate(value))


def number(field: str, value: Any, *, least: float, below: float) -> float:
    """A finite number in [least, below); numbers in a string are read."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not least <= result < below:
        raise fail(field, f"a number in [{least:g}, {below:g})", value)
    return result


def flag(field: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise fail(field, "true or false", value)
    return value


def choice(field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of a few names."""
    if value not in allowed:
        raise fail(field, "one of " + ", ".join(allowed), value)
    return str(value)


def color(field: str, value: Any) -> RGB:
    """A colour as (red, green, blue): a triple, a name, #rrggbb, or Pillow's number red + 256 green + 65536 blue."""
    if isinstance(value, str):
        from PIL import ImageColor

        try:
            red, green, blue = ImageColor.getrgb(value)[:3]
        except ValueError:
            raise fail(field, "a colour such as white or #ffffff", value) from None
        return red, green, blue
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFF:
        return value & 255, value >> 8 & 255, value >> 16
    if isinstance(value, Sequence) and len(value) == 3:
        bands = [whole(field, band, least=0) for band in value]
        if max(bands) <= 255:
            return bands[0], bands[1], bands[2]
    raise fail(field, "a name, a number up to 0xffffff, or three numbers of 0 to 255", value)
