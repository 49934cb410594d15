"""One block of a file as a file of the cache: a head that says of what it is, with a checksum over both.

    MAGIC, key of the block (16 bytes), number of bytes, crc32 of key and bytes, then these

A file that is not exactly the block looked for (damaged, cut short, another's) is not taken for it, and is removed.
"""

import logging
import os
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wdstream.storage.local import read_exactly

KEY_BYTES = 16
_MAGIC = b"wdblock1"
_HEAD = struct.Struct(f"<8s{KEY_BYTES}sII")
_USED_AGAIN_S = 60.0
"""A block that was used within this time is not marked as used once more: marking costs as much as a read."""

_log = logging.getLogger("wdstream")


def block_file(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The bytes of a block's file, in two pieces."""
    return _HEAD.pack(_MAGIC, key, len(data), zlib.crc32(data, zlib.crc32(key))), data


def read_block(path: str, key: Callable[[], bytes], *, start: int, stop: int, seen: int) -> tuple[bytes, int] | None:
    """Bytes `start` to `stop` of a block, and the stamp of its file; None when it is not there, or not whole.

    Args:
        path: of its file.
        key: of the block; called where its checksum is compared.
        start, stop: which bytes.
        seen: the stamp of the file whose checksum this process compared before. Any write or replacement gives another
            one, and the checksum is compared again.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        stamp = (status.st_mtime_ns * 31 + status.st_ino) & (1 << 64) - 1
        if stamp != seen and not _is_whole(descriptor, key(), status.st_size):
            _log.warning("%s is damaged: thrown away, and fetched again", path)
            remove_block(Path(path))
            return None
        if abs(time.time() - status.st_atime) > _USED_AGAIN_S:
            with suppress(OSError):  # of another user: it counts as unused
                os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))
        data = read_exactly(descriptor, _HEAD.size + start, stop - start)
        return (data, stamp) if len(data) == stop - start else None
    except OSError as error:
        _log.warning("%s cannot be read (%s): fetched again", path, error)
        return None
    finally:
        os.close(descriptor)


def remove_block(path: Path) -> None:
    """Remove the file of a block; one that is gone, or may not be removed, is left to others."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _is_whole(descriptor: int, key: bytes, size: int) -> bool:
    data = memoryview(read_exactly(descriptor, 0, size))
    if len(data) < _HEAD.size:
        return False
    body = data[_HEAD.size :]
    return data[: _HEAD.size] == _HEAD.pack(_MAGIC, key, len(body), zlib.crc32(body, zlib.crc32(key)))
