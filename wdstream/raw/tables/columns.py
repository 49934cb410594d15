"""What the columns of a table have to be, checked once for a file."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wdstream.errors import SourceError
from wdstream.text.characters import short_name

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_DEPTH = 32
_MOST_FIELDS = 10_000
_ROWS_OF_ANY_FILE = 1_000_000


def check_columns(schema: "pa.Schema") -> None:
    """Check that columns, and fields of objects in them, have names of their own, and are not nested without end.

    Raises:
        SourceError: names the column.
    """
    _check_names([field.name for field in schema], "")
    num_fields = sum(1 for field in schema for _ in _checked(field, field.name, 1))
    if num_fields > _MOST_FIELDS:
        raise SourceError(f"table has {num_fields:,} fields; at most {_MOST_FIELDS:,} are read")


def check_num_rows(num_rows: int, num_bytes: int) -> None:
    """Check that a file can have this number of rows.

    Raises:
        SourceError: it says so, but each of them would have less than a byte.
    """
    if num_rows > _ROWS_OF_ANY_FILE + num_bytes:
        raise SourceError(f"file of {num_bytes:,} bytes says that it has {num_rows:,} rows; it is damaged")


def _checked(field: "pa.Field", where: str, depth: int) -> "Iterator[pa.Field]":
    """A field and all below it, each checked."""
    yield field
    if depth > _MAX_DEPTH:
        raise SourceError(f"column {short_name(where)!r} is nested more than {_MAX_DEPTH} deep")
    inner = [field.type.field(n) for n in range(field.type.num_fields)]
    if str(field.type).startswith("struct"):
        _check_names([child.name for child in inner], where)
    for child in inner:
        yield from _checked(child, f"{where}.{child.name}", depth + 1)


def _check_names(names: list[str], where: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        inside = f" of {short_name(where)!r}" if where else ""
        raise SourceError(f"column {short_name(twice[0])!r}{inside} is there twice; give each a name of its own")
