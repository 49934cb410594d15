"""Parquet files: their row groups, each read in batches, so that one of any size needs the memory of a few rows.

Only the footer is read when a file is opened. What is kept for other readers, such as pandas' own metadata, is not.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.raw.remote.access import open_raw, raw_state, store_of
from wdstream.raw.tables.blocks import BATCH_BYTES, MOST_ROWS, Block, says_what_is_wrong
from wdstream.raw.tables.columns import check_columns, check_num_rows

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_MAGIC = b"PAR1"
ENCRYPTED_PARQUET_MAGIC = b"PARE"
_BUFFER_BYTES = 1 << 20
_THRIFT_LIMIT = 100_000_000
"""Bytes of one text of the footer, and members of one list."""


class ParquetTable:
    """An open parquet file; made by `open_parquet`."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(
            path if store_of(path) is None else open_raw(path),
            memory_map=False,
            pre_buffer=False,  # pages of columns are read as they are needed, not whole row groups
            buffer_size=_BUFFER_BYTES,
            thrift_string_size_limit=_THRIFT_LIMIT,
            thrift_container_size_limit=_THRIFT_LIMIT,
        )
        self._metadata = self._file.metadata
        check_columns(self._file.schema_arrow)
        check_num_rows(self.num_rows, raw_state(path).num_bytes)

    @property
    def num_rows(self) -> int:
        """Rows of all row groups."""
        return sum(self._metadata.row_group(n).num_rows for n in range(self._metadata.num_row_groups))

    def blocks(self) -> Iterator[Block]:
        """The row groups, each a block."""
        first = 1
        for number in range(self._metadata.num_row_groups):
            num_rows = self._metadata.row_group(number).num_rows
            yield Block(first, num_rows, partial(self._batches, number))
            first += num_rows

    def _batches(self, number: int) -> "Iterator[pa.RecordBatch]":
        group = self._metadata.row_group(number)
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        size = max(1, min(MOST_ROWS, BATCH_BYTES // row_bytes))
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(size, row_groups=[number], use_threads=False)
        return batches

    def close(self) -> None:
        """Close the file, after which no block can be read."""
        self._file.close(force=True)


def open_parquet(path: Path) -> ParquetTable:
    """Open a parquet file.

    Raises:
        SourceError: it is damaged, encrypted, or has columns that have no names of their own.
        OSError: it cannot be read.
    """
    with says_what_is_wrong("parquet"):
        return ParquetTable(path)
