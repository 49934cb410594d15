"""Rows of a table by number, read forward: in blocks, a block in batches, a batch in slices of Python values.

A block is what a format reads together: a row group of parquet, a record batch of Arrow. Whatever goes wrong inside of
one costs the rest of its rows, with the reason, and the next block is read all the same. Memory is that of one batch.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wdstream.errors import PageError, RowError, SourceError, WdstreamError
from wdstream.raw.reading import limits
from wdstream.raw.tables.values import row_content
from wdstream.text.characters import short_name
from wdstream.text.row_fields import unambiguous

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 8 << 20
"""Of values that are decoded, or made Python's, at a time; a row may be larger."""
MOST_ROWS = 64
"""Decoded at a time, however small they say they are: a dictionary may hold one large value for all of them."""
_MOST_MESSAGE = 300
_JSON_TYPE = "extension<arrow.json>"


@dataclass(frozen=True, slots=True)
class Block:
    """Rows `first` to `first + num_rows - 1`, from 1, of a table; `batches` reads them, in order."""

    first: int
    num_rows: int
    batches: Callable[[], Iterator["pa.RecordBatch"]]

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.first + self.num_rows


class Table(Protocol):
    """An open table of any format, in blocks of rows."""

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order; read when their batches are asked for."""

    def close(self) -> None:
        """Close its file, after which no block can be read."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table, or why it cannot be read."""

    values: Mapping[str, object]
    error: PageError | None = None

    def content(self) -> bytes:
        """Names and values of its columns, as bytes that differ where these do."""
        return row_content(self.values) if self.error is None else b""

    def fields(self) -> Mapping[str, object]:
        """Its columns with their values, by name."""
        if self.error is not None:
            raise self.error
        return self.values


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows `first` to `end - 1`; `rows` is the reason where they cannot be read."""

    first: int
    end: int
    rows: "pa.RecordBatch | PageError"


class TableReader:
    """Reads the rows of an open table forward."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._wanted = 1
        self._batches = self._read_batches()
        self._batch = _Batch(1, 1, SourceError("nothing is read yet"))

    def can_read(self, first: int) -> bool:
        """Whether row `first` is not passed yet."""
        return self._batch.first <= first

    def rows(self, first: int, count: int) -> Iterator[tuple[int, TableRow]]:
        """Rows `first` to `first + count - 1` by number, or fewer where the table ends."""
        number, end = first, first + count
        while number < end:
            self._wanted = number
            while self._batch.end <= number:
                batch = next(self._batches, None)
                if batch is None:
                    return
                self._batch = batch
            for row in _rows(self._batch, number, min(end, self._batch.end)):
                yield number, row
                number += 1

    def close(self) -> None:
        """Close the table, after which no row can be read."""
        self._batches.close()
        self._table.close()

    def _read_batches(self) -> Generator[_Batch]:
        for block in self._table.blocks():
            if block.end > self._wanted:
                yield from _batches_of(block)


def _batches_of(block: Block) -> Iterator[_Batch]:
    """The batches of a block, and what is left of its rows where it cannot be read further."""
    first = block.first
    reason, cause = "its rows end before", None
    try:
        for batch in block.batches():
            batch.validate()
            end = min(first + batch.num_rows, block.end)
            yield _Batch(first, end, batch)
            first = end
    except PageError as error:
        yield _Batch(first, block.end, error)
        return
    except Exception as error:  # pyarrow raises what it likes, MemoryError for lengths that are not true
        reason, cause = trouble(error), error if _is_of_reading(error) else None
    if first < block.end:
        where = f"rows {block.first} to {block.end - 1}"
        lost = SourceError(f"{where} cannot be read from row {first} on: {reason}")
        lost.__cause__ = cause
        yield _Batch(first, block.end, lost)


def _is_of_reading(error: Exception) -> bool:
    """Whether an error is the system's or the store's, which may pass, and not what pyarrow says of damage."""
    return isinstance(error, WdstreamError) or (isinstance(error, OSError) and bool(error.errno))


def _rows(batch: _Batch, first: int, end: int) -> Iterator[TableRow]:
    """Rows `first` to `end - 1` of a batch."""
    if isinstance(batch.rows, PageError):
        yield from (TableRow({}, batch.rows) for _ in range(first, end))
        return
    size = max(1, num_bytes(batch.rows) // max(1, batch.rows.num_rows))
    step = max(1, min(MOST_ROWS, BATCH_BYTES // size))
    for start in range(first, end, step):
        yield from _values(batch.rows.slice(start - batch.first, min(step, end - start)))


def _values(rows: "pa.RecordBatch") -> Iterator[TableRow]:
    """A few rows as Python values; one that is too large, or has a value that Python does not have, costs itself."""
    most = limits().max_line_bytes
    try:
        rows.validate(full=True)  # values of a damaged file must not be looked up elsewhere in memory
        rows = _plain(rows)
        if num_bytes(rows) <= most:
            yield from map(TableRow, _parsed(rows.to_pylist(), _json_columns(rows.schema)))
            return
        reason = f"row is above the limit of {most} bytes (--max-line-bytes)"
    except Exception as error:
        reason = f"row holds what cannot be read: {trouble(error)}"
    if rows.num_rows == 1:
        yield TableRow({}, RowError(reason))
        return
    for number in range(rows.num_rows):
        yield from _values(rows.slice(number, 1))


def _plain(rows: "pa.RecordBatch") -> "pa.RecordBatch":
    """Rows whose columns hold their values, not places in a dictionary, and no times that Python does not have."""
    import pyarrow as pa

    for number, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(number, field.name, rows.column(number).dictionary_decode())
        elif pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            whole = pa.timestamp("us", field.type.tz)
            rows = rows.set_column(number, field.name, rows.column(number).cast(whole, safe=False))
    return rows


def _json_columns(schema: "pa.Schema") -> list[str]:
    """Columns of JSON as text, which `datasets` writes for values of several kinds."""
    return [field.name for field in schema if str(field.type) == _JSON_TYPE]


def _parsed(rows: list[dict[str, object]], names: list[str]) -> list[dict[str, object]]:
    """Rows with the values of these columns in place of their text."""
    for row in rows if names else ():
        for name in names:
            text = row[name]
            if isinstance(text, str):
                row[name] = json.loads(text, object_pairs_hook=unambiguous)
    return rows


def num_bytes(rows: "pa.RecordBatch") -> int:
    """What the values of rows take, or may take at most."""
    try:
        return int(rows.nbytes)
    except Exception:  # not known of every type
        return int(rows.get_total_buffer_size())


def trouble(error: Exception) -> str:
    """What an error of pyarrow says, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    more = "; write the table again without encryption" if "decrypt" in lines[0] else ""
    return short_name(lines[0], most=_MOST_MESSAGE) + more


@contextmanager
def says_what_is_wrong(what: str) -> Iterator[None]:
    """Errors of pyarrow inside of the block become one; those of the system stay.

    Raises:
        SourceError: the file is not readable as `what`.
    """
    try:
        yield
        return
    except Exception as error:  # pyarrow raises ValueError, KeyError, OSError without a number and others
        if _is_of_reading(error):
            raise
        reason = f"not readable as {what}: {trouble(error)}"
    raise SourceError(reason)
