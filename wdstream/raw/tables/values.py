"""Values of tables: as metadata, which are JSON, and as bytes, for digests.

| in the table | in the metadata |
| --- | --- |
| texts, integers, booleans, lists, objects | the same |
| a float that is not a number, or infinite | null, which JSON has in its place; null at the top is left out |
| a timestamp, date or time | its ISO 8601 text: "2024-05-01T12:00:00+00:00" |
| a duration | seconds |
| a decimal | a number up to 15 digits, which JSON's readers keep; else a text |
| bytes | a text, if it is one in UTF-8, else base64 |
| a map | a list of pairs |
| anything else | its text: a UUID, say |
"""

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from wdstream.errors import RowError

_MOST_DIGITS = 15
_MOST_BYTES = 1 << 16
_MAX_DEPTH = 64
_PLAIN = frozenset({type(None), bool, int, str})


def json_metadata(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields with the values that JSON has.

    Raises:
        RowError: a field holds bytes, and more of them than metadata should.
    """
    values = ((name, _json_value(value, name, 0)) for name, value in fields.items())
    return {name: value for name, value in values if value is not None}


def _json_value(value: object, where: str, depth: int) -> object:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return _text_of_bytes(bytes(value), where)
    if depth > _MAX_DEPTH:
        raise RowError(f"{where} is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, list | tuple):
        return [_json_value(inner, where, depth + 1) for inner in value]
    if isinstance(value, Mapping):
        return {str(name): _json_value(inner, f"{where}.{name}", depth + 1) for name, inner in value.items()}
    return _json_scalar(value)


def _json_scalar(value: object) -> object:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal) and value.is_finite() and len(value.as_tuple().digits) <= _MOST_DIGITS:
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _text_of_bytes(data: bytes, where: str) -> str:
    if len(data) > _MOST_BYTES:
        raise RowError(
            f"column {where!r} holds {len(data):,} bytes that are not an image; metadata have {_MOST_BYTES:,} at most: "
            "write the table again without this column, or with its images as images"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
    is_text = all(char.isprintable() or char in "\n\r\t" for char in text)
    return text if is_text else base64.b64encode(data).decode()


def row_content(fields: Mapping[str, object]) -> bytes:
    """Names and values of a row as bytes, so that different rows have different bytes."""
    pieces: list[bytes] = []
    _add_content(fields, pieces)
    return b"".join(pieces)


def _add_content(value: object, pieces: list[bytes]) -> None:
    if isinstance(value, bytes):
        pieces += (b"b%d:" % len(value), value)
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        pieces += (b"s%d:" % len(data), data)
    elif isinstance(value, dict):
        pieces.append(b"{%d:" % len(value))
        for name, inner in value.items():
            _add_content(name, pieces)
            _add_content(inner, pieces)
    elif isinstance(value, list | tuple):
        pieces.append(b"[%d:" % len(value))
        for inner in value:
            _add_content(inner, pieces)
    else:
        data = f"{type(value).__name__} {value}".encode("utf-8", "surrogatepass")
        pieces += (b"o%d:" % len(data), data)
