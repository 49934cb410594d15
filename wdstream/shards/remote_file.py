"""One file of a remote storage as a stream: read front to back in large blocks, and sought without reading."""

import io
from typing import BinaryIO, cast

from wdstream.errors import ShardError
from wdstream.shards.remote import FsspecStorage
from wdstream.shards.storage import ByteRange

BLOCK_BYTES = 8 << 20
"""Of one request: long enough that its latency does not count."""


def open_remote(url: str) -> BinaryIO:
    """Open `s3://bucket/folder/x.tar`, or a file anywhere else that fsspec reaches, for reading.

    Raises:
        ShardError: it is missing, or the storage does not tell its size; later, that it cannot be read.
        ConfigError: the protocol's plug-in is not installed.
    """
    return cast(BinaryIO, io.BufferedReader(RemoteFile(url), BLOCK_BYTES))


class RemoteFile(io.RawIOBase):
    """The bytes of one file; a request that fails is tried again by FsspecStorage, and never taken for the end."""

    def __init__(self, url: str) -> None:
        folder, _, self._name = url.rpartition("/")
        self._storage = FsspecStorage(folder)
        size = self._storage.size(self._name)
        if size is None:
            raise ShardError(f"{url}: the storage does not tell its size, so that its end would not be known")
        self._url, self._size, self._place = url, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        """Fill the buffer, but at the end of the file.

        Raises:
            ShardError: the storage sent less than it has.
        """
        wanted = max(0, min(len(buffer), self._size - self._place))
        if not wanted:
            return 0
        data = self._storage.read(ByteRange(name=self._name, offset=self._place, length=wanted))
        if len(data) != wanted:
            raise ShardError(f"{self._url}: {wanted} bytes at byte {self._place} asked for, {len(data)} sent")
        buffer[:wanted] = data
        self._place += wanted
        return wanted
