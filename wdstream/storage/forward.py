"""Streams that are read front to back: files, downloads and the output of commands, compressed or not.

What is between two reads is passed over. A compressed stream is unpacked as it is read, and nothing of it is kept.
"""

import gzip
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from typing import BinaryIO, cast

from wdstream.errors import ShardError, StorageFailureError
from wdstream.storage.compression import MAGIC_BYTES, compression_of, decompress

_CHUNK = 1 << 20


class ForwardReads:
    """Reads of a stream at rising places.

    Args:
        stream: where it is read from now on.
        name: what errors call it.
        position: the place of the next byte that the stream gives.
        limit: places up to which it is read; None for all.

    Attributes:
        position: the place after the last byte read.
    """

    def __init__(self, stream: BinaryIO, name: str, position: int = 0, *, limit: int | None = None) -> None:
        self._stream, self._name, self.position = stream, name, position
        self._limit = limit

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer only at the end.

        Raises:
            ShardError: the stream breaks off, what is compressed is damaged, or holds more than the limit.
        """
        self._check(offset + length)
        if offset > self.position:
            self._skip(offset - self.position)
        data = _read(self._stream, length, self._name)
        self.position = offset + len(data)
        return data

    def rest(self) -> Iterator[bytes]:
        """All that follows: a checksum of a compressed stream is at the end, and the exit status of a command.

        Raises:
            ShardError: as `read`.
        """
        while chunk := _read(self._stream, _CHUNK, self._name):
            self.position += len(chunk)
            self._check(self.position)
            yield chunk

    def _check(self, end: int) -> None:
        if self._limit is not None and end > self._limit:
            raise ShardError(
                f"{self._name}: unpacks to more than {self._limit:,} bytes, which is far more than it should hold"
            )

    def _skip(self, length: int) -> None:
        if length > _CHUNK and self._stream.seekable():
            self._stream.seek(length, 1)
            return
        while length and (data := _read(self._stream, min(length, _CHUNK), self._name)):
            length -= len(data)


class _Prefixed:
    """A stream of which the first bytes were read to see what it is; enough of a file for what decompresses."""

    closed = False

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        """The first bytes again, then the rest."""
        if not self._head:
            return self._stream.read(size)
        head = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(head) :]
        return head

    def seekable(self) -> bool:
        """Never: what was read is gone."""
        return False


def unpacked(stream: BinaryIO, name: str) -> tuple[BinaryIO, bool]:
    """The bytes that a stream holds, whatever it is compressed with; and whether one can go to a place in them.

    Raises:
        ShardError: it cannot be read, or there is no reader of its compression here.
        ConfigError: the reader of its compression is not installed.
    """
    can_seek = stream.seekable()
    head = _read(stream, MAGIC_BYTES, name)
    if can_seek:
        stream.seek(0)
    else:
        stream = cast(BinaryIO, _Prefixed(head, stream))
    compression = compression_of(head)
    if compression is None:
        return stream, can_seek
    return decompress(stream, compression, name), False


def _read(stream: BinaryIO, length: int, name: str) -> bytes:
    """`length` bytes, fewer only at the end.

    Raises:
        StorageFailureError: the device or the network fails; ShardError: what is compressed is damaged.
    """
    chunks: list[bytes] = []
    try:
        while length and (data := stream.read(length)):
            chunks.append(data)
            length -= len(data)
    except _errors_of_reading() as error:
        raise (StorageFailureError if _may_pass(error) else ShardError)(
            f"{name}: not a readable tar, or cut short ({type(error).__name__}: {error}); bring a whole file"
        ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _errors_of_reading() -> tuple[type[Exception], ...]:
    """What a stream raises; of web servers, what takes long to import."""
    import http.client

    return OSError, EOFError, ValueError, zlib.error, LZMAError, http.client.HTTPException


def _may_pass(error: Exception) -> bool:
    """Whether an error is of a device or a network; bz2 and pyarrow say OSError, without a number, of damaged data."""
    import http.client

    is_damage = isinstance(error, gzip.BadGzipFile) or (type(error) is OSError and error.errno is None)
    return not is_damage and isinstance(error, OSError | http.client.HTTPException)
