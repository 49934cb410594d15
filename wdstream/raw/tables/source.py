"""Parquet and Arrow as raw files: a row of a table is a row of any form (wdstream/text/row_forms.py).

    train-00000-of-00012.parquet           with images as {"bytes", "path"}, bytes, lists of these, or names of files
    data-00000-of-00004.arrow              as `datasets` saves to a disk
    pages.feather

What a file is, its first bytes say, not its name. It is read by pyarrow, whose extra is `tables`; nothing in a file is
unpickled or run.
"""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import SourceError, needs_extra
from wdstream.raw.kept import kept_reader
from wdstream.raw.remote.access import open_raw
from wdstream.raw.row_pages import FileRow, RowFileSource
from wdstream.raw.source import PageRange
from wdstream.text.not_text import FETCH_LFS, LFS_POINTER

if TYPE_CHECKING:
    from wdstream.raw.tables.arrow import ArrowTable
    from wdstream.raw.tables.parquet import ParquetTable

_MAGIC_BYTES = 8


class TableSource(RowFileSource):
    """Parquet files, Arrow files and streams: a row is a page."""

    kind = "table"
    suffixes = (".parquet", ".pq", ".arrow", ".feather")
    companions = ("state.json", "dataset_info.json", "dataset_dict.json")  # of `datasets`

    def check_installed(self) -> None:
        """Check that pyarrow is installed."""
        with needs_extra("reading parquet and Arrow files", "tables"):
            import pyarrow.parquet  # noqa: F401

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of rows."""
        table = open_table(path)
        try:
            return table.num_rows, ()
        finally:
            table.close()

    def rows(self, pages: PageRange, path: Path) -> Generator[tuple[int, FileRow]]:
        """The rows of the range."""
        from wdstream.raw.tables.blocks import TableReader

        with kept_reader(path, pages.first, TableReader, lambda path: TableReader(open_table(path))) as reader:
            yield from reader.rows(pages.first, pages.count)

    def metadata(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Metadata with the values that JSON has."""
        from wdstream.raw.tables.values import json_metadata

        return json_metadata(fields)


def open_table(path: Path) -> "ArrowTable | ParquetTable":
    """Open a parquet or Arrow file, whatever its name.

    Raises:
        SourceError: it is neither, or cannot be read, with what to do.
        OSError: as well.
    """
    from wdstream.raw.tables.arrow import OLD_FEATHER_MAGIC, open_arrow
    from wdstream.raw.tables.parquet import ENCRYPTED_PARQUET_MAGIC, PARQUET_MAGIC, open_parquet

    with open_raw(path) as file:
        head = file.read(_MAGIC_BYTES)
    if not head:
        raise SourceError("file is empty")
    if head.startswith(PARQUET_MAGIC):
        return open_parquet(path)
    if LFS_POINTER.startswith(head):
        raise SourceError(f"file {FETCH_LFS}")
    if head.startswith(ENCRYPTED_PARQUET_MAGIC):
        raise SourceError("parquet file is encrypted: decrypt it, or write the table again without encryption")
    if head.startswith(OLD_FEATHER_MAGIC):
        raise SourceError("Feather of version 1 is not read: write it with pyarrow.feather.write_feather(table, path)")
    return open_arrow(path)
