"""One file read front to back in large ranges, the next of them asked for while one is used.

For whoever walks through a file in small reads at mostly rising places, which would be a request each.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from wdstream.errors import StorageFailureError
from wdstream.storage.local import ByteRange
from wdstream.storage.tries import come_twice

AHEAD_BYTES = 8 << 20
"""Of one request: its latency counts little, and a retry costs little."""
BLOCKS_AHEAD = 2
BLOCKS_KEPT = 4
"""Blocks read before that stay, so that what was passed can be looked at again."""


class ReadAhead:
    """Reads of one file; memory is bounded by a few blocks, whatever its size. For one thread.

    Args:
        read: a range of a storage.
        name: of the file.
        size: bytes of the file.
        block_bytes: of one request.
        is_in_clear: whether nothing below notices a byte that is changed on its way: each block is read until the same
            bytes come twice.
    """

    def __init__(
        self,
        read: Callable[[ByteRange], bytes],
        name: str,
        size: int,
        *,
        block_bytes: int = AHEAD_BYTES,
        is_in_clear: bool = False,
    ) -> None:
        self._read_range, self._name, self._size, self._block_bytes = read, name, size, block_bytes
        self._is_in_clear = is_in_clear
        self._pool = ThreadPoolExecutor(1 + BLOCKS_AHEAD)
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer only at the end.

        Raises:
            ShardError: the storage does not give them.
        """
        end = min(offset + length, self._size)
        parts: list[bytes] = []
        while offset < end:
            number, start = divmod(offset, self._block_bytes)
            part = self._block(number)[start : start + end - offset]
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _block(self, number: int) -> bytes:
        last = -(-self._size // self._block_bytes) - 1
        for wanted in range(number, min(number + BLOCKS_AHEAD, last) + 1):
            if wanted not in self._blocks:
                self._blocks[wanted] = self._pool.submit(self._fetch, wanted)
        self._blocks.move_to_end(number)
        data = self._blocks[number].result()
        while len(self._blocks) > 1 + BLOCKS_AHEAD + BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return data

    def _fetch(self, number: int) -> bytes:
        offset = number * self._block_bytes
        wanted = ByteRange(name=self._name, offset=offset, length=min(self._block_bytes, self._size - offset))
        return read_twice(self._read_range, wanted) if self._is_in_clear else read_whole(self._read_range, wanted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def read_whole(read: Callable[[ByteRange], bytes], wanted: ByteRange) -> bytes:
    """A range, all of it.

    Raises:
        StorageFailureError: the answer is too short, also when it is asked for again.
    """
    for _ in range(2):  # a short answer may be a fault that passes
        data = read(wanted)
        if len(data) == wanted.length:
            return data
    raise StorageFailureError(
        f"{wanted.name}: {wanted.length} bytes at byte {wanted.offset} asked for, {len(data)} sent: it was cut off or "
        "replaced while it was read, or the storage fails; run the same command again"
    )


def read_twice(read: Callable[[ByteRange], bytes], wanted: ByteRange) -> bytes:
    """A range, asked for until the same bytes come twice: what is changed on its way is not changed so again.

    Raises:
        StorageFailureError: they do not; or as `read_whole`.
    """
    what = f"{wanted.name}: {wanted.length} bytes at byte {wanted.offset}"
    return come_twice(lambda: read_whole(read, wanted), what)
