"""A column of which a block is checked when one of its rows is first asked for.

A plan of 100 million pages reads 33 bytes of each, but a first step reads those of some thousand: to check all columns
before it would take as long as to read 3 GB. What is checked is the same, and nothing is used unchecked; only damage
far away is found when the run comes there (`wdstream verify` and `wdstream plan` read everything).
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Bools
from wdstream.shards.catalog import ColumnEntry
from wdstream.shards.column_files import BLOCK, give_back
from wdstream.shards.meta import Column

_SHIFT = BLOCK.bit_length() - 1
_NUMBERS = (int, np.integer)
_ROWS_KEPT = 1 << 20
"""Rows read until the memory of the mapped file is given back: what a process keeps resident does not grow."""


class CheckedColumn:
    """Rows of a column, checked block by block.

    Args:
        array: the entries, perhaps mapped.
        entry: what `index.json` lists of them.
        is_sound: whether entries from a first one to a last one (exclusive) can be true (column_values.py).
        whole: the column checked as a whole; where a block is not what was written, it says so, or finds that it is.
        is_checked: the column has been checked.

    Attributes:
        array: all entries, which may not be checked yet.
    """

    def __init__(
        self,
        array: Column,
        entry: ColumnEntry,
        *,
        is_sound: Callable[[int, int], bool],
        whole: Callable[[], Column],
        is_checked: bool,
    ) -> None:
        self.array, self._wanted = array, bytes.fromhex(entry.checks)
        self._is_sound, self._whole = is_sound, whole
        self._is_checked: Bools = np.full(-(-len(array) // BLOCK), is_checked, dtype=np.bool_)
        self._num_read = 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Any:
        """Entries by number, by numbers (an array), or of a range (a slice): as an array has them.

        Raises:
            ShardIndexError: they are not what was written.
        """
        if isinstance(rows, _NUMBERS):
            self.one(row := range(len(self.array))[int(rows)])
            return self.array[row]
        numbers = np.arange(*rows.indices(len(self.array))) if isinstance(rows, slice) else np.asarray(rows)
        if len(numbers):
            seen = np.zeros(len(self._is_checked), dtype=np.bool_)
            seen[(numbers + len(self.array) * (numbers < 0)) >> _SHIFT] = True
            for number in np.flatnonzero(seen & ~self._is_checked).tolist():
                self._check(number)
        found: NDArray[Any] = self.array[numbers]
        self._count(len(numbers))
        return found

    def one(self, row: int) -> Any:
        """The entry of a row, which is counted from the first: a number of Python, for those who read a row at a time.

        Raises:
            ShardIndexError: it is not what was written.
        """
        if not self._is_checked[row >> _SHIFT]:
            self._check(row >> _SHIFT)
        self._count(1)
        return self.array.item(row)

    def entries(self, start: int, end: int) -> Column:
        """Entries from one to another (exclusive), fewer at the end; perhaps not yet checked."""
        return self.array[start:end]

    def _check(self, number: int) -> None:
        start, end = number * BLOCK, min((number + 1) * BLOCK, len(self.array))
        found = zlib.crc32(self.array[start:end].data).to_bytes(4, "big")
        if found == self._wanted[4 * number : 4 * number + 4] and self._is_sound(start, end):
            self._is_checked[number] = True
            return
        self.array = self._whole()
        self._is_checked[:] = True

    def _count(self, num_rows: int) -> None:
        self._num_read += num_rows
        if self._num_read >= _ROWS_KEPT:
            self._num_read = 0
            give_back(self.array)


class CheckedPlaces:
    """Five columns of samples, of which a row is asked for at once: in a third of the time that one by one takes.

    Args:
        columns: shard, offset, nbytes, crc, key_hash; all of one length.
    """

    def __init__(self, columns: Sequence[CheckedColumn]) -> None:
        self._columns = columns
        self._is_checked = bytearray(-(-len(columns[0]) // BLOCK))
        self._num_read = 0

    def __getitem__(self, row: int) -> tuple[int, int, int, int, int]:
        """The entries of a row, which is counted from the first.

        Raises:
            ShardIndexError: one is not what was written.
        """
        shard, offset, nbytes, crc, key_hash = self._columns
        if not self._is_checked[row >> _SHIFT]:
            for column in self._columns:
                column.one(row)
            self._is_checked[row >> _SHIFT] = True
        self._num_read += 1
        if self._num_read >= _ROWS_KEPT:
            self._num_read = 0
            for column in self._columns:
                give_back(column.array)
        return (
            shard.array.item(row),
            offset.array.item(row),
            nbytes.array.item(row),
            crc.array.item(row),
            key_hash.array.item(row),
        )
