"""Arrow files and streams: their record batches, found by the messages before them, each read when it is asked for.

A file (Feather, `.arrow` of `pyarrow`) is a stream between two marks, with a footer that is not needed; `datasets`
writes streams. Bodies of messages are passed over by their lengths, so that a file of any size is counted in no time,
and a file that was cut is read up to there.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wdstream.errors import SourceError
from wdstream.raw.remote.access import open_raw
from wdstream.raw.tables.blocks import Block, says_what_is_wrong
from wdstream.raw.tables.columns import check_columns, check_num_rows

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_MAGIC = b"ARROW1\0\0"
OLD_FEATHER_MAGIC = b"FEA1"
_CONTINUES = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of a message
_MOST_HEADER = 64 << 20
_END_OF_STREAM = struct.pack("<II", _CONTINUES, 0)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message in a file: what it is, where it starts, its bytes with its body, and the rows of a batch."""

    kind: int
    start: int
    num_bytes: int
    num_rows: int


class ArrowTable:
    """An open Arrow file or stream; made by `open_arrow`."""

    def __init__(self, file: BinaryIO) -> None:
        import pyarrow as pa

        self._file = file
        self._size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._start = len(ARROW_MAGIC) if self._file.read(len(ARROW_MAGIC)) == ARROW_MAGIC else 0
        self._head: list[_Message] = []
        first = next(self._messages(), None)
        if first is None or first.kind != _SCHEMA:
            raise SourceError("not readable as Arrow: it does not start with a schema")
        self._head = [first]
        with pa.ipc.open_stream(self._bytes_of(first) + _END_OF_STREAM) as stream:
            check_columns(stream.schema)

    @property
    def num_rows(self) -> int:
        """Rows of all record batches; one more, which says why there are no others, where the file is damaged."""
        blocks = list(self.blocks())
        num_rows = blocks[-1].end - 1 if blocks else 0
        check_num_rows(num_rows, self._size)
        return num_rows

    def blocks(self) -> Iterator[Block]:
        """The record batches, and a last row where the file is damaged or was cut."""
        row, dictionaries = 1, list[_Message]()
        try:
            for message in self._messages():
                if message.kind == _DICTIONARY:
                    dictionaries.append(message)
                elif message.kind == _BATCH:
                    needed = [*self._head, *dictionaries, message]
                    yield Block(row, message.num_rows, partial(self._batches, needed))
                    row += message.num_rows
        except SourceError as error:
            reason = f"all rows from here on are lost: {error}"
        else:
            return
        yield Block(row, 1, partial(_refusing, reason))

    def close(self) -> None:
        """Close the file, after which no block can be read."""
        self._file.close()

    def _messages(self) -> Iterator[_Message]:
        """All messages up to the end of the stream.

        Raises:
            SourceError: the file ends before, or a message is none.
        """
        start = self._start
        while (message := self._message(start)) is not None:
            yield message
            start += message.num_bytes

    def _message(self, start: int) -> _Message | None:
        self._file.seek(start)
        prefix = self._file.read(8)
        if not prefix and self._start == 0:  # streams may end without a mark
            return None
        if len(prefix) < 4:
            raise SourceError(f"file ends in the middle, after {start:,} bytes")
        length = int.from_bytes(prefix[:4], "little")
        taken = 4
        if length == _CONTINUES:  # files of before version 0.15 do without
            length, taken = int.from_bytes(prefix[4:], "little"), 8
        if length == 0:
            return None
        if length > _MOST_HEADER:
            raise SourceError(f"no message of Arrow at byte {start:,}")
        self._file.seek(start + taken)
        return self._parsed(start, taken + length, self._file.read(length))

    def _parsed(self, start: int, num_bytes: int, header: bytes) -> _Message:
        try:
            root = _Flat(header, struct.unpack_from("<I", header)[0])
            kind, body = root.number(_HEADER_TYPE, "B"), root.number(_BODY_LENGTH, "q")
            num_rows = root.inner(_HEADER).number(0, "q") if kind == _BATCH else 0
        except struct.error:
            kind = body = num_rows = -1
        if kind < 1 or body < 0 or num_rows < 0:
            raise SourceError(f"no message of Arrow at byte {start:,}")
        if start + num_bytes + body > self._size:
            raise SourceError(f"file ends in the middle of a record batch, after {self._size:,} bytes")
        return _Message(kind, start, num_bytes + body, num_rows)

    def _bytes_of(self, message: _Message) -> bytes:
        self._file.seek(message.start)
        return self._file.read(message.num_bytes)

    def _batches(self, messages: list[_Message]) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        stream = b"".join([*map(self._bytes_of, messages), _END_OF_STREAM])
        with pa.ipc.open_stream(stream) as batches:
            yield batches.read_next_batch()


class _Flat:
    """A table of a flatbuffer: fields by number, absent ones are 0. Reading outside of it is a struct.error."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        self._fields = place - struct.unpack_from("<i", data, place)[0]
        if self._fields < 0:
            raise struct.error("outside")
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    def _place_of(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, self._fields + slot)[0] if slot + 2 <= self._size else 0
        return self._place + offset if offset else 0

    def number(self, field: int, code: str) -> int:
        place = self._place_of(field)
        found: int = struct.unpack_from(f"<{code}", self._data, place)[0] if place else 0
        return found

    def inner(self, field: int) -> "_Flat":
        place = self._place_of(field)
        return _Flat(self._data, place + self.number(field, "I"))


def _refusing(reason: str) -> "Iterator[pa.RecordBatch]":
    """Batches of a block that is not there."""
    raise SourceError(reason)


def open_arrow(path: Path) -> ArrowTable:
    """Open an Arrow file or stream.

    Raises:
        SourceError: it is none, or has columns that have no names of their own.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_raw(path))
        with says_what_is_wrong("Arrow"):
            table = ArrowTable(file)
        stack.pop_all()
        return table
