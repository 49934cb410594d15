"""The columns of shards by name, for a few rows at a time; to a plan they are what the shards themselves are."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from numpy.typing import NDArray

from wdstream.shards.by_row.checked import CheckedColumn, CheckedPlaces
from wdstream.shards.catalog import TokenColumn, metadata_column, metadata_texts, token_column
from wdstream.shards.column_values import STARTS, check_values
from wdstream.shards.index_files import IndexFiles, MetadataColumn
from wdstream.shards.meta import Column


class RowColumns:
    """What `Shards` has, its columns checked block by block (checked.py).

    Args:
        files: the index.
        fingerprint: of the shards.
        shard_starts: int64 (shards,), first row of each shard.

    Attributes:
        metadata: columns of the pages' metadata by name.
    """

    def __init__(self, files: IndexFiles, *, fingerprint: str, shard_starts: Column) -> None:
        self._files = files
        self.fingerprint, self.shard_starts = fingerprint, shard_starts
        self._columns: dict[str, CheckedColumn] = {}
        self.metadata = {name: RowMetadata(files, name, self._by_block) for name in files.catalog.metadata.columns}

    def __len__(self) -> int:
        return self._files.catalog.num_samples

    @cached_property
    def places(self) -> CheckedPlaces:
        """Shard, offset, bytes, checksum and hash of the key of a row."""
        return CheckedPlaces([self.shard, self.offset, self.nbytes, self.crc, self.key_hash])

    @cached_property
    def shard(self) -> CheckedColumn:
        """Number of each row's shard, (n,)."""
        return self._by_block("shard")

    @cached_property
    def offset(self) -> CheckedColumn:
        """Where the bytes of each row start in the tar, (n,)."""
        return self._by_block("offset")

    @cached_property
    def nbytes(self) -> CheckedColumn:
        """Bytes of each row in the tar, (n,)."""
        return self._by_block("nbytes")

    @cached_property
    def crc(self) -> CheckedColumn:
        """zlib crc32 of those bytes, (n,)."""
        return self._by_block("crc")

    @cached_property
    def key_hash(self) -> CheckedColumn:
        """Hash of each row's key, (n,)."""
        return self._by_block("key_hash")

    @cached_property
    def num_images(self) -> CheckedColumn:
        """Images of each row, (n,)."""
        return self._by_block("num_images")

    @cached_property
    def image_start(self) -> CheckedColumn:
        """Where the images of a row start in the next two, (n + 1,)."""
        return self._by_block("image_start")

    @cached_property
    def image_width(self) -> CheckedColumn:
        """Pixels, after EXIF rotation, (m,)."""
        return self._by_block("image_width")

    @cached_property
    def image_height(self) -> CheckedColumn:
        """Pixels, after EXIF rotation, (m,)."""
        return self._by_block("image_height")

    @cached_property
    def text_bytes(self) -> CheckedColumn:
        """UTF-8 bytes of all text of each row, (n,)."""
        return self._by_block("text_bytes")

    @cached_property
    def text_chars(self) -> CheckedColumn:
        """Characters of all text of each row, (n,)."""
        return self._by_block("text_chars")

    @cached_property
    def starts_with_text(self) -> CheckedColumn:
        """1 where the first segment of a row is text, (n,)."""
        return self._by_block("starts_with_text")

    @cached_property
    def held_out(self) -> NDArray[Any] | None:
        """1 where a row is held out, (n,); checked as a whole: its digest is part of every plan's state."""
        return self._files.held_out()

    def tokens(self, fingerprint: str) -> CheckedColumn:
        """Tokens of each row's text under one tokenizer, (n,). Raises ShardIndexError where there are none."""
        return self._by_block(self._files.name_of_tokens(fingerprint))

    def supervised(self, fingerprint: str) -> CheckedColumn | None:
        """How many of them are supervised, (n,); None where all are."""
        name = self._files.name_of_supervised(fingerprint)
        return None if name is None else self._by_block(name)

    def paragraphs(self, fingerprint: str) -> tuple[CheckedColumn, CheckedColumn]:
        """Where each row's paragraphs begin, (n + 1,), and the tokens of each. Raises ShardIndexError without them."""
        starts, tokens = self._files.names_of_paragraphs(fingerprint)
        return self._by_block(starts), self._by_block(tokens)

    def why_no_metadata(self, name: str) -> str | None:
        """Why there is no column of this name, though pages have it, as `Shards` says."""
        return self._files.why_no_metadata(name)

    def content_digest(self, tokenizer: str, *, paragraphs: bool, metadata: Sequence[str]) -> str:
        """A digest of the columns of a tokenizer, and of metadata by name, as `index.json` lists them."""
        kinds: list[TokenColumn] = ["tokens", "supervised"]
        kinds += ["paragraph_start", "paragraphs"] if paragraphs else []
        names = [token_column(tokenizer, kind) for kind in kinds]
        for name in metadata:
            names += [metadata_column(name), metadata_texts(name)]
        return self._files.digest(names)

    def _by_block(self, name: str) -> CheckedColumn:
        if name not in self._columns:
            files, entry = self._files, self._files.catalog.columns[name]
            array = files.unchecked(name)
            self._columns[name] = CheckedColumn(
                files.column(name) if array is None else array,
                entry,
                is_sound=partial(is_sound, name, files, self._by_block),
                whole=partial(files.column, name),
                is_checked=array is None,
            )
        return self._columns[name]


class RowMetadata(MetadataColumn):
    """Metadata of one name, its entries checked block by block."""

    def __init__(self, files: IndexFiles, name: str, by_block: Callable[[str], CheckedColumn]) -> None:
        super().__init__(files, name)
        self._by_block = by_block

    def _entries(self) -> CheckedColumn:
        return self._by_block(metadata_column(self._name))


def is_sound(name: str, files: IndexFiles, by_block: Callable[[str], CheckedColumn], start: int, end: int) -> bool:
    """Whether entries of a column, from one to another (exclusive), can be true (column_values.py)."""

    def column(other: str) -> Column:
        if other.partition(".")[0] == "metadata":  # the list of its texts
            return files.column(other)
        found: Column = by_block(other)[start : end + 1][: end - start]
        return found

    array = by_block(name).entries(start, end + (name.partition(".")[0] in STARTS))
    return check_values(name, array, files.catalog, column, first=start) is None
