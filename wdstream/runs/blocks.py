"""Files of columns that grow by blocks: each block is complete or absent, and holds the rows of some steps.

    block = head (sign, first and last step, size and checksum) + columns (npz, compressed by zlib)

As with files of growing lines (storage/json_lines.py), a kill may tear the last block, and a power cut may leave zeros
in its place, which readers take for an end that was never written; damage with a sound block after it is an error; and
a run that continues cuts the file back to the steps that its checkpoint has.
"""

import io
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import DamagedFileError
from wdstream.storage.atomic import atomic_write, naming
from wdstream.storage.npz import Arrays, read_npz, write_npz

_SIGN = b"WDSBLCK1"
_HEAD = struct.Struct("<8sQQQI")
_CRC_BYTES = 4
_LEVEL = 1  # of zlib: the columns shrink to a third in a millisecond
STEP_COLUMN = "step"
"""The column that every block has, and that blocks are in the order of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A block of a file.

    Attributes:
        start, end: its bytes in the file.
        first, last: steps of its rows.
    """

    start: int
    end: int
    first: int
    last: int


def append_block(path: Path, columns: Arrays) -> None:
    """Write rows, at least one, after those of a file; they reach the operating system in one write.

    Only one process may append, and what a kill left at the end is cut off first (`cut_blocks`).
    """
    with naming(path), path.open("ab") as file:
        file.write(_encode(columns))


def read_blocks(path: Path, *, first: int = 0, last: int | None = None) -> Iterator[Arrays]:
    """The columns of each block that has rows of steps `first` to `last`, oldest first; of other steps there are some.

    Raises:
        DamagedFileError: a block is damaged, and one after it is not; says where.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for block in _blocks(file, path):
            if block.last >= first and (last is None or block.first <= last):
                yield _decode(file, block)


def cut_blocks(path: Path, *, next_step: int) -> None:
    """Keep only the rows of steps before `next_step`, the first that will be computed again; a damaged end goes too.

    Raises:
        DamagedFileError: see `read_blocks`.
    """
    if not path.exists():
        return
    end, cut = 0, None
    with path.open("rb") as file:
        for block in _blocks(file, path):
            if block.last >= next_step:
                cut = block
                break
            end = block.end
        if cut is not None and cut.first < next_step:
            columns = _decode(file, cut)
            kept = columns[STEP_COLUMN] < next_step
            _replace_end(path, end, _encode({name: column[kept] for name, column in columns.items()}))
            return
    if path.stat().st_size > end:
        os.truncate(path, end)


def _replace_end(path: Path, end: int, data: bytes) -> None:
    with path.open("rb") as before, atomic_write(path) as file:
        shutil.copyfileobj(before, file)
        file.truncate(end)
        file.seek(end)
        file.write(data)


def _blocks(file: BinaryIO, path: Path) -> Iterator[StoredBlock]:
    """The sound blocks of a file up to its damaged end, if it has one."""
    start, size = 0, file.seek(0, os.SEEK_END)
    while start < size:
        block = _block_at(file, start)
        if block is None:
            _require_end(file, path, start)
            return
        yield block
        start = block.end


def _block_at(file: BinaryIO, start: int) -> StoredBlock | None:
    """The sound block that begins at a byte; None where none does."""
    file.seek(start)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    sign, first, last, size, crc = _HEAD.unpack(head)
    if sign != _SIGN:
        return None
    left = file.seek(0, os.SEEK_END) - start - _HEAD.size
    if size > left:
        return None
    file.seek(start + _HEAD.size)
    if zlib.crc32(file.read(size), zlib.crc32(head[:-_CRC_BYTES])) != crc:
        return None
    return StoredBlock(start=start, end=start + _HEAD.size + size, first=first, last=last)


def _require_end(file: BinaryIO, path: Path, start: int) -> None:
    """Refuse a damaged block with a sound one after it."""
    file.seek(start)
    rest = file.read()
    at = rest.find(_SIGN, 1)
    while at >= 0:
        if _block_at(file, start + at) is not None:
            raise DamagedFileError(
                f"{path}: the block at byte {start} is damaged, and the one at byte {start + at} is not, so this is "
                "not an end that was cut off; bring it back from a copy, or remove it if you can do without it"
            )
        at = rest.find(_SIGN, at + 1)


def _decode(file: BinaryIO, block: StoredBlock) -> Arrays:
    file.seek(block.start + _HEAD.size)
    return read_npz(zlib.decompress(file.read(block.end - block.start - _HEAD.size)))


def _encode(columns: Arrays) -> bytes:
    stored = io.BytesIO()
    write_npz(stored, columns)
    data = zlib.compress(stored.getvalue(), _LEVEL)
    steps = columns[STEP_COLUMN]
    fields = (_SIGN, int(steps.min()), int(steps.max()), len(data))
    head = _HEAD.pack(*fields, 0)[:-_CRC_BYTES]
    return _HEAD.pack(*fields, zlib.crc32(data, zlib.crc32(head))) + data
