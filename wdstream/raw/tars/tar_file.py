"""One tar on disk, plain or compressed: its members one after the other, and bytes of them at rising places.

A plain tar can be entered at any header. A compressed one is unpacked from its beginning, again for each shard that
has pages of it, and refused where it holds far more than its size lets expect.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from wdstream.errors import ShardError, SourceError
from wdstream.raw.reading import check_link, limits
from wdstream.raw.remote.access import open_raw, raw_state
from wdstream.raw.tars.samples import NO_END, RawSample, read_samples, walk_to_end
from wdstream.shards.layout import KeyRule
from wdstream.shards.tar_header import BLOCK_SIZE, Member, refuse_rest
from wdstream.storage.forward import ForwardReads, unpacked

_MOST_UNPACKED = 200
"""How many times its own size a compressed tar may hold, where that is more than the limit of a file."""


class TarFile:
    """An open tar. Made by `open_tar`."""

    def __init__(self, file: BinaryIO, num_bytes: int, name: str) -> None:
        stream, self.is_plain = unpacked(file, name)
        limit = None if self.is_plain else max(limits().max_file_bytes, _MOST_UNPACKED * num_bytes)
        self._file, self._name = file, name
        self._end = num_bytes if self.is_plain else NO_END
        self._reads = ForwardReads(stream, name, limit=limit)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer only at the end; of a compressed tar, at rising places.

        Raises:
            ShardError: it breaks off, or what is compressed is damaged.
        """
        if self.is_plain:
            self.go_to(offset)
        return self._reads.read(offset, length)

    def go_to(self, offset: int) -> Self:
        """Go to a place in a plain tar, where there may be a jump back; and forward in a compressed one."""
        if self.is_plain:
            self._file.seek(offset)
            self._reads.position = offset
        else:
            self._reads.read(offset, 0)
        return self

    def members(self) -> Iterator[Member]:
        """All members, from the first.

        Raises:
            ShardError: the tar is damaged, or cut short.
        """
        return walk_to_end(self.read, 0, self._end)

    def samples(self, keys: KeyRule) -> Iterator[RawSample]:
        """The samples from here on.

        Raises:
            ShardError: the tar is damaged, or cut short.
        """
        most = limits().max_file_bytes
        return read_samples(self._reads, self._name, keys, end=self._end, max_bytes=most, any_key=True)

    def check_end(self) -> None:
        """Read what follows the last member.

        Raises:
            ShardError: another tar does, or what is compressed is damaged.
        """
        for rest in self._reads.rest():
            refuse_rest(rest)


@contextmanager
def open_tar(path: Path) -> Iterator[TarFile]:
    """Open a tar for the block.

    Raises:
        SourceError: it is no tar, of a compression that is not read, or reached by a link out of the folder.
        OSError: it cannot be read.
        ConfigError: what unpacks it is not installed.
    """
    check_link(path)
    num_bytes = raw_state(path).num_bytes
    if num_bytes < BLOCK_SIZE // 8:
        raise SourceError(f"not a tar: it has {num_bytes} bytes")
    with open_raw(path) as file:
        try:
            tar = TarFile(file, num_bytes, path.name)
        except ShardError as error:
            raise SourceError(str(error).removeprefix(f"{path.name}: ")) from error
        yield tar
