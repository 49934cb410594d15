"""Files of columns: written with a digest and a checksum per block, opened by mapping, and checked by both.

A column is a `.npy` of one dimension. Opening and checking are two things: opening compares type, length and
size, which reads one page of the file; checking reads it all, about 4 GB/s of a mapped file, and happens when a column
is first used.
"""

import hashlib
import io
import mmap
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.catalog import ColumnEntry
from wdstream.shards.meta import Column
from wdstream.storage.local import file_error

BLOCK = 1 << 14
"""Entries that one checksum covers. Part of the format of index.json."""
_SHOWN_RANGES = 3


class ColumnWriter:
    """Writes one column as its entries come. The file's header is written last: no count is needed beforehand.

    Args:
        file: empty, to be written and sought in.
        dtype: of the column.
    """

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any]) -> None:
        self._file, self._dtype = file, dtype
        self._length = self._crc = 0
        self._checks: list[str] = []
        self._digest = _digest_of(dtype)
        file.write(_header(dtype, 0))

    def write(self, array: NDArray[Any]) -> None:
        """Append entries, of the column's type."""
        assert array.dtype == self._dtype
        data, size = memoryview(array.tobytes()), self._dtype.itemsize
        self._file.write(data)
        self._digest.update(data)
        start = 0
        while start < len(array):
            count = min(BLOCK - self._length % BLOCK, len(array) - start)
            self._crc = zlib.crc32(data[start * size : (start + count) * size], self._crc)
            self._length, start = self._length + count, start + count
            if self._length % BLOCK == 0:
                self._end_block()

    def finish(self) -> ColumnEntry:
        """Write the header, and say what was written."""
        if self._length % BLOCK:
            self._end_block()
        self._file.seek(0)
        self._file.write(_header(self._dtype, self._length))
        return ColumnEntry(
            dtype=self._dtype.str, length=self._length, digest=self._digest.hexdigest(), checks="".join(self._checks)
        )

    def _end_block(self) -> None:
        self._checks.append(f"{self._crc:08x}")
        self._crc = 0


def entry_of(array: NDArray[Any]) -> ColumnEntry:
    """What `index.json` says of a column with these entries."""
    writer = ColumnWriter(io.BytesIO(), array.dtype)
    writer.write(array)
    return writer.finish()


def map_column(path: Path, entry: ColumnEntry) -> Column:
    """The column at `path`, mapped into memory and not yet checked.

    Raises:
        AbsentFileError, ForbiddenFileError, StorageFailureError: it cannot be read.
        ShardIndexError: it is of another type or length than listed.
    """
    try:
        with path.open("rb") as file:
            start = len(_header(np.dtype(entry.dtype), entry.length))
            head, size = file.read(start), os.fstat(file.fileno()).st_size
            _check_head(head, size, entry)
            if not entry.length:
                return np.empty(0, entry.dtype)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise file_error(path, error) from error
    return np.frombuffer(mapped, entry.dtype, entry.length, start)


def column_of_bytes(data: bytes, entry: ColumnEntry) -> Column:
    """The column that these bytes of a file hold, not yet checked.

    Raises:
        ShardIndexError: it is of another type or length than listed.
    """
    start = len(_header(np.dtype(entry.dtype), entry.length))
    _check_head(data[:start], len(data), entry)
    return np.frombuffer(data, entry.dtype, entry.length, start)


def damaged_blocks(array: Column, entry: ColumnEntry) -> list[tuple[int, int]]:
    """(first, last) entry of each run of blocks whose entries are not those that were written."""
    wanted = bytes.fromhex(entry.checks)
    starts = range(0, len(array), BLOCK)
    found = b"".join(zlib.crc32(array[start : start + BLOCK].data).to_bytes(4, "big") for start in starts)
    give_back(array)
    if found == wanted:
        return []
    runs: list[tuple[int, int]] = []
    for number, start in enumerate(starts):
        if found[4 * number : 4 * number + 4] == wanted[4 * number : 4 * number + 4]:
            continue
        end = min(start + BLOCK, len(array)) - 1
        if runs and runs[-1][1] == start - 1:
            runs[-1] = runs[-1][0], end
        else:
            runs.append((start, end))
    return runs or [(0, max(len(array) - 1, 0))]  # the list of checks itself is too long or too short


def file_bytes(entry: ColumnEntry) -> int:
    """Bytes of a column's file."""
    dtype = np.dtype(entry.dtype)
    return len(_header(dtype, entry.length)) + entry.length * dtype.itemsize


def is_whole(path: Path, entry: ColumnEntry) -> bool:
    """Whether a file is the column that is listed."""
    try:
        return not damaged_blocks(map_column(path, entry), entry)
    except ShardError:
        return False


def show_ranges(runs: list[tuple[int, int]], unit: str) -> str:
    """`rows 0 to 16383, 32768 to 49151`, not more than a few of them."""
    shown = ", ".join(f"{first} to {last}" for first, last in runs[:_SHOWN_RANGES])
    return f"{unit} {shown}" + (f" and {len(runs) - _SHOWN_RANGES} more ranges" if len(runs) > _SHOWN_RANGES else "")


def give_back(array: Column) -> None:
    """Give back the memory of a mapped file that was read through; its pages stay in the system's cache."""
    base: object = array.base
    if isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap):
        base.obj.madvise(mmap.MADV_DONTNEED)


def _digest_of(dtype: np.dtype[Any]) -> "hashlib.blake2b":
    return hashlib.blake2b(dtype.str.encode(), digest_size=16)


def _header(dtype: np.dtype[Any], length: int) -> bytes:
    """The format leaves room for a longer number, so headers of one type have one length."""
    file = io.BytesIO()
    header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _check_head(head: bytes, size: int, entry: ColumnEntry) -> None:
    """Compare the file's header and size with what is listed."""
    dtype = np.dtype(entry.dtype)
    expected = _header(dtype, entry.length)
    expected_size = len(expected) + entry.length * dtype.itemsize
    if head == expected and size == expected_size:
        return
    if head == expected:
        raise ShardIndexError(f"is damaged: {expected_size} bytes expected, found {size}")
    try:
        file = io.BytesIO(head)
        np.lib.format.read_magic(file)
        shape, _, found = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy, ast and tokenize raise whatever their parsing raises
        raise ShardIndexError(f"is damaged: it has no header of an array ({type(error).__name__})") from error
    if (shape, found) == ((entry.length,), dtype):
        raise ShardIndexError("is damaged in its header")
    raise ShardIndexError(f"is {found} of shape {shape}, {dtype} of shape ({entry.length},) expected")
