"""Compressed tars: what they are compressed with, by their first bytes, and their bytes as a stream.

Names do not tell: `s.tar` may be gzip all the same, and is not read as a shard, whose samples are found by their place.
"""

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import BinaryIO, cast

from wdstream.errors import ShardError, needs_extra

MAGIC_BYTES = 6
_MAGIC: tuple[tuple[str, bytes], ...] = (
    ("gzip", b"\x1f\x8b"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\x00"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("compress", b"\x1f\x9d"),
    ("zip", b"PK\x03\x04"),
    ("7z", b"7z\xbc\xaf\x27\x1c"),
)


def _by_arrow(codec: str) -> Callable[[BinaryIO], object]:
    """Opens a stream by pyarrow, which brings its own libraries of some compressions."""

    def opened(stream: BinaryIO) -> object:
        with needs_extra(f"unpacking {codec}", "tables"):
            import pyarrow
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), codec)

    return opened


_OPENERS: dict[str, Callable[[BinaryIO], object]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": _by_arrow("zstd"),
    "lz4": _by_arrow("lz4"),
}
STREAMED_SUFFIXES = (
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz"),
    *(".tar.zst", ".tzst", ".tar.zstd", ".tar.lz4"),
)
"""Of compressed tars that are streamed."""
COMPRESSED_SUFFIXES = (
    *STREAMED_SUFFIXES,
    ".tar.lzma",
    ".tar.z",
    ".tar.br",
)
"""Of compressed tars, whether they can be streamed or not; to be compared in lower case."""


def compression_of(head: bytes) -> str | None:
    """The name of what a file is compressed with, from its first `MAGIC_BYTES` bytes; None for none that is known."""
    return next((name for name, magic in _MAGIC if head.startswith(magic)), None)


def decompress(stream: BinaryIO, compression: str, name: str) -> BinaryIO:
    """The bytes that a compressed stream holds.

    Raises:
        ShardError: there is no reader of this compression here.
        ConfigError: it is not installed.
    """
    opener = _OPENERS.get(compression)
    if opener is None:
        raise ShardError(
            f"{name}: compressed with {compression}, which is not read here (read are {', '.join(_OPENERS)}): unpack "
            "it, or stream it through a command, such as pipe:7z x -so x.7z"
        )
    return cast(BinaryIO, opener(stream))
