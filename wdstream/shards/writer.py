"""Writing one shard: tar, idx and meta, complete or absent, and the same bytes for the same samples."""

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from wdstream.errors import ShardError
from wdstream.records import Page, Size, TextSegment
from wdstream.shards.layout import ShardPaths, is_image, validate_extension, validate_key
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, SampleFailure, ShardEntry, ShardMeta, hash_key, save_idx
from wdstream.shards.metadata import PageMetadata, ShardMetadata
from wdstream.shards.page_members import starts_with_text
from wdstream.shards.parts import sort_parts
from wdstream.shards.tar_header import BLOCK_SIZE, RECORD_SIZE, make_header
from wdstream.storage.atomic import atomic_write

_NO_METADATA = PageMetadata()
_PADDING = bytes(BLOCK_SIZE)
_BYTES_AT_ONCE = 1 << 20
"""Written at once, which takes a third of the time of a call per sample."""
_MOST_AT_ONCE = 1024
"""Pieces of memory that every system writes in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEntry:
    """What the index keeps of a sample besides where it is.

    Attributes:
        image_sizes: (width, height) of each image in order of appearance, after EXIF rotation.
        text_bytes: UTF-8 bytes of its text, over all segments.
        text_chars: characters of its text.
        starts_with_text: whether text comes first; its first token has nothing before it, so it is not supervised.
        metadata: what can be columns of it.
    """

    image_sizes: Sequence[Size]
    text_bytes: int
    text_chars: int
    starts_with_text: bool = False
    metadata: PageMetadata = _NO_METADATA

    @classmethod
    def of(cls, page: Page, image_sizes: Sequence[Size]) -> "SampleEntry":
        """The entry of a page whose images have these sizes."""
        text = "".join([segment.text for segment in page.segments if isinstance(segment, TextSegment)])
        return cls(
            image_sizes=image_sizes,
            text_bytes=len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")),
            text_chars=len(text),
            starts_with_text=starts_with_text(page),
            metadata=PageMetadata.of(page.meta),
        )


class MetaBuilder:
    """Collects the columns of a shard's meta sample by sample."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.failures: list[SampleFailure] = []
        self._samples: list[tuple[int, ...]] = []
        self._sizes: list[Size] = []
        self._metadata: list[PageMetadata] = []

    def add(self, key: str, offset: int, nbytes: int, crc: int, entry: SampleEntry) -> None:
        """Add a sample: in the order of SAMPLE_COLUMNS."""
        counts = (len(entry.image_sizes), entry.text_bytes, entry.text_chars, int(entry.starts_with_text))
        self._samples.append((offset, nbytes, crc, *counts, hash_key(key)))
        self._sizes.extend(entry.image_sizes)
        self._metadata.append(entry.metadata)
        self.keys.append(key)

    def build(self, tar_bytes: int) -> ShardMeta:
        """The meta of all samples added."""
        rows = list(zip(*self._samples, strict=True)) or [()] * len(SAMPLE_COLUMNS)
        sides = list(zip(*self._sizes, strict=True)) or [()] * len(IMAGE_COLUMNS)
        wanted = list((SAMPLE_COLUMNS | IMAGE_COLUMNS).items())
        columns = {name: np.array(values, dtype) for (name, dtype), values in zip(wanted, rows + sides, strict=True)}
        keys = [key.encode("utf-8") for key in self.keys]
        return ShardMeta(
            tar_bytes=tar_bytes,
            columns=columns,
            key_start=np.cumsum([0, *map(len, keys)], dtype="<i8"),
            key_bytes=np.frombuffer(b"".join(keys), "u1"),
            failures=tuple(self.failures),
            metadata=ShardMetadata.of(self._metadata),
        )


class ShardWriter:
    """Writes the shard `path` (`x.tar`), with `x.tar.idx` and `x.meta.npz` next to it.

    The tar is written under a temporary name and takes its own last, when the other two are in place: a tar that is
    there is complete. A shard of that name from before disappears at the moment of closing. Used as a context manager
    it closes at the end of the block, and leaves nothing when the block raises.

    Attributes:
        summary: of the finished shard; None before it is closed.
    """

    def __init__(self, path: Path) -> None:
        self.summary: ShardEntry | None = None
        self._paths = ShardPaths.of(path)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(atomic_write(path))
        self._meta = MetaBuilder()
        self._seen: set[str] = set()
        self._offsets = [0]
        self._chunks: list[bytes] = []  # that are still to be written
        self._num_written = 0

    @property
    def num_samples(self) -> int:
        """Samples written so far."""
        return len(self._meta.keys)

    @property
    def tar_bytes(self) -> int:
        """Bytes written so far, without the end of the archive."""
        return self._offsets[-1]

    def add(self, key: str, members: Mapping[str, bytes], entry: SampleEntry) -> None:
        """Append a sample; its members are written in order of their extensions.

        Raises:
            ShardError: for a key or an extension that is not allowed, a key written before, or no members. Nothing of
                the sample is written then.
        """
        validate_key(key)
        if key in self._seen:
            raise ShardError(f"{self._paths.tar}: the key {key!r} was written before; keys are unique")
        if not members:
            raise ShardError(f"{self._paths.tar}: the sample {key!r} has no members")
        for extension in members:
            validate_extension(extension)
        num_images = sum(map(is_image, members))  # those of others may have any name
        if len(entry.image_sizes) != num_images and len(entry.image_sizes) != len(sort_parts(members).images):
            raise ShardError(f"sample {key!r}: {len(entry.image_sizes)} image sizes for {num_images} images")
        parts: list[bytes] = []
        for extension in sorted(members):
            data = members[extension]
            parts += make_header(f"{key}.{extension}", len(data)), data, _PADDING[: -len(data) % BLOCK_SIZE]
        nbytes, crc, start = sum(map(len, parts)), 0, self._offsets[-1]
        for part in parts:
            crc = zlib.crc32(part, crc)
        self._meta.add(key, start, nbytes, crc, entry)
        self._seen.add(key)
        self._offsets.append(start + nbytes)
        self._chunks += parts
        if start + nbytes - self._num_written >= _BYTES_AT_ONCE:
            self._write()

    def close(self) -> None:
        """Finish the shard and put its three files in place."""
        with self._stack:
            blocks = self.tar_bytes + 2 * BLOCK_SIZE
            tar_bytes = -(-blocks // RECORD_SIZE) * RECORD_SIZE
            self._chunks.append(bytes(tar_bytes - self.tar_bytes))
            self._write()
            meta = self._meta.build(tar_bytes)
            self._paths.tar.unlink(missing_ok=True)  # an old tar must never be there with new companions
            save_idx(self._paths.idx, self._offsets)
            meta.save(self._paths.meta, is_last=False)  # the tar is
        self.summary = ShardEntry.of(self._paths.tar.name, meta)

    def _write(self) -> None:
        for first in range(0, len(self._chunks), _MOST_AT_ONCE):
            _write_all(self._file.fileno(), self._chunks[first : first + _MOST_AT_ONCE])
        self._chunks, self._num_written = [], self.tar_bytes

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, trace)


def _write_all(descriptor: int, chunks: Sequence[bytes]) -> None:
    """Write pieces of memory in one call, from where they are: images are not copied to be written together."""
    written = os.writev(descriptor, chunks)
    if written == sum(map(len, chunks)):
        return
    for chunk in chunks:  # the system took less than it was given
        rest = memoryview(chunk)[written:]
        written = max(written - len(chunk), 0)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
