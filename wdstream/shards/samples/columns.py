"""The columns of an index, each checked when it is first used; n samples in rows, m images."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdstream.shards.index_files import IndexFiles


class SampleColumns:
    """What an index has of every sample and image, as arrays."""

    _files: IndexFiles

    @cached_property
    def shard(self) -> NDArray[np.int32]:
        """Number of each row's shard, (n,)."""
        return self._files.column("shard")

    @cached_property
    def offset(self) -> NDArray[np.int64]:
        """Where the bytes of each row start in the tar, (n,)."""
        return self._files.column("offset")

    @cached_property
    def nbytes(self) -> NDArray[np.int64]:
        """Bytes of each row in the tar, headers and padding included, (n,)."""
        return self._files.column("nbytes")

    @cached_property
    def crc(self) -> NDArray[np.uint32]:
        """zlib crc32 of those bytes, (n,)."""
        return self._files.column("crc")

    @cached_property
    def num_images(self) -> NDArray[np.int32]:
        """Images of each row, (n,)."""
        return self._files.column("num_images")

    @cached_property
    def image_start(self) -> NDArray[np.int64]:
        """Where the images of a row start in the next two, (n + 1,)."""
        return self._files.column("image_start")

    @cached_property
    def image_width(self) -> NDArray[np.int32]:
        """Pixels, after EXIF rotation, (m,)."""
        return self._files.column("image_width")

    @cached_property
    def image_height(self) -> NDArray[np.int32]:
        """Pixels, after EXIF rotation, (m,)."""
        return self._files.column("image_height")

    @cached_property
    def text_bytes(self) -> NDArray[np.int32]:
        """UTF-8 bytes of all text segments of each row, (n,)."""
        return self._files.column("text_bytes")

    @cached_property
    def text_chars(self) -> NDArray[np.int32]:
        """Characters of all text segments of each row, (n,)."""
        return self._files.column("text_chars")

    @cached_property
    def starts_with_text(self) -> NDArray[np.uint8]:
        """1 where the first segment of a row is text, (n,)."""
        return self._files.column("starts_with_text")

    @cached_property
    def held_out(self) -> NDArray[np.uint8] | None:
        """1 where a row is held out (plan/held_out.py), (n,); None where the index holds out none."""
        return self._files.held_out()

    @cached_property
    def key_hash(self) -> NDArray[np.uint64]:
        """`wdstream.shards.meta.hash_key` of each row's key, (n,)."""
        return self._files.column("key_hash")
