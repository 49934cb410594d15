"""Shards for reading: columns mapped into memory, and samples by one range read each, verified."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import (
    AbsentFileError,
    DamagedSampleError,
    ForbiddenFileError,
    PageError,
    ShardError,
    ShardIndexError,
    StorageFailureError,
)
from wdstream.records import Page
from wdstream.shards.by_row.columns import RowColumns
from wdstream.shards.catalog import absent_tar
from wdstream.shards.index_files import IndexFiles, MetadataColumn
from wdstream.shards.layout import KEY_RULES, split_name
from wdstream.shards.meta import hash_key, indexed_key
from wdstream.shards.page_members import page_from_members
from wdstream.shards.samples.columns import SampleColumns
from wdstream.shards.samples.plain import split_checked
from wdstream.shards.tar_header import walk
from wdstream.storage.cache.cached import CachedStorage, through_cache
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.forks import ForkSafeLock
from wdstream.storage.local import ByteRange, Storage, file_error
from wdstream.storage.settings import ReadSettings
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

_OF_STORAGE = (AbsentFileError, ForbiddenFileError, StorageFailureError)
_Place = tuple[ByteRange, int, int]
"""Where a sample is, its checksum, and the hash of its key."""
_MOST_ASKED = 4
"""Times that the bytes of a sample are asked for again, each time other ones came."""


class Shards(SampleColumns):
    """A folder of shards with an index: n samples in rows 0 to n - 1, m images. Safe to read from many threads.

    Attributes:
        path: of the folder or URL, as it was passed in.
        catalog: what `index.json` says.
        fingerprint: 32 hexadecimal digits of the content, wherever it is.
        shard_names: file name of each shard, in order of rows.
        shard_starts: int64 (shards,), first row of each shard.
        rules: how samples are read: by the map of the index, if it has one.
        metadata: columns of the pages' metadata by name; `metadata[name][rows]` is masked where a page lacks it.

    The other columns are checked against `index.json` when they are first used; one that is not what was written is a
    ShardIndexError that names it.
    """

    def __init__(
        self,
        path: Path | str,
        storage: Storage | None = None,
        *,
        reading: ReadSettings | None = None,
        cache: CacheSettings | None = None,
    ) -> None:
        """`Shards.open` says more."""
        if not isinstance(path, str | Path):
            raise TypeError(f"Shards: expected a folder or URL of shards, got {type(path).__name__}: {path!r:.80}")
        try:
            is_file = Path(path).is_file()
        except OSError as error:  # the folder around it may not be looked into
            raise file_error(path, error) from error
        if is_file:
            raise ShardIndexError(f"{path}: expected a folder of shards with an index, found a file")
        self.path = path
        self._files = IndexFiles(path, reading=reading, cache=cache)
        self.catalog = catalog = self._files.catalog
        self.fingerprint = catalog.fingerprint
        self.shard_names = tuple(shard.name for shard in catalog.shards)
        self.shard_starts = np.cumsum([0] + [shard.samples for shard in catalog.shards], dtype=np.int64)[:-1]
        self.rules = rules_with_map(DEFAULT_RULES, catalog.field_map)
        self.metadata: Mapping[str, MetadataColumn] = self._files.metadata()
        source = self._files.tar_source() if storage is None else storage
        self._storage = through_cache(source, cache, {shard.name: shard.digest for shard in catalog.shards})
        self._checked: set[int] = set()  # shards whose size was compared with the index
        self._tokens: dict[str, NDArray[np.int32]] = {}
        self._by_hash: NDArray[np.int64] | None = None
        self._lock = ForkSafeLock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        storage: Storage | None = None,
        *,
        reading: ReadSettings | None = None,
        cache: CacheSettings | None = None,
    ) -> "Shards":
        """Open the shards at `path`. They may be used in any process: pickled, in forked children, by many threads.

        Args:
            path: a folder, or a URL that fsspec understands (`s3://bucket/shards`), whose columns are read into memory.
            storage: of the tars, when they are not next to the index.
            reading: how a URL is read: requests at once, patience; None for the defaults.
            cache: where this machine keeps what it reads from a URL; its columns are then mapped, as a folder's are.

        Raises:
            ShardIndexError: when there is no index, or it is damaged or of another version.
            TypeError: when `path` is neither text nor a Path.
        """
        return cls(path, storage, reading=reading, cache=cache)

    @cached_property
    def by_row(self) -> RowColumns:
        """The columns for a few rows at a time, each block checked when it is first used: for plans and reading."""
        return RowColumns(self._files, fingerprint=self.fingerprint, shard_starts=self.shard_starts)

    def __len__(self) -> int:
        return self.catalog.num_samples

    def __repr__(self) -> str:
        return (
            f"Shards({str(self.path)!r}: {len(self.shard_names):,} shards, {len(self):,} samples, "
            f"{self.catalog.num_images:,} images, fingerprint {self.fingerprint})"
        )

    def __reduce__(self) -> tuple[Callable[..., "Shards"], tuple[Path | str, Storage]]:
        opened = partial(Shards, reading=self._files.reading, cache=self.cache)
        return opened, (self.path, self._storage)  # opened again where it is unpickled: arrays and files do not travel

    @property
    def cache(self) -> CacheSettings | None:
        """Where this machine keeps what is read from a URL."""
        return self._files.cache

    @property
    def storage(self) -> Storage:
        """Where the tars are."""
        return self._storage

    @property
    def index_storage(self) -> Storage:
        """Where the index is, and what is next to it: descriptions of the tars, lists of what was left out."""
        return self._files.storage

    @property
    def tars(self) -> str:
        """Folder or URL of the tars: that of the index, or another."""
        return self._files.tars

    def rows_of_shard(self, shard: int) -> range:
        """The rows of shard number `shard`."""
        start = int(self.shard_starts[shard])
        return range(start, start + self.catalog.shards[shard].samples)

    def tokens(self, fingerprint: str) -> NDArray[np.int32]:
        """The token column of one tokenizer: int32 (n,), tokens of each row's text segments.

        Raises:
            ShardIndexError: when there is none, naming those there are.
        """
        if fingerprint not in self._tokens:
            self._tokens[fingerprint] = self._files.tokens(fingerprint)
        return self._tokens[fingerprint]

    def supervised(self, fingerprint: str) -> NDArray[np.int32] | None:
        """Supervised tokens of each row's text under one tokenizer, int32 (n,); None where all tokens of text are
        supervised.

        In a row whose first segment is text that is not supervised, one more is counted: the plan takes one off for a
        first token, which nothing predicts.

        Raises:
            ShardIndexError: when the column is damaged or of another index.
        """
        return self._files.supervised(fingerprint)

    def content_digest(self, tokenizer: str, *, paragraphs: bool, metadata: Sequence[str]) -> str:
        """A digest of the columns that `fingerprint` does not cover: those of a tokenizer, and metadata by name."""
        return self.by_row.content_digest(tokenizer, paragraphs=paragraphs, metadata=metadata)

    def why_no_metadata(self, name: str) -> str | None:
        """Why pages have metadata of this name, or may have, and there is no column; None where no page has any."""
        return self._files.why_no_metadata(name)

    def paragraphs(self, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Tokens of each paragraph of the pages that may be split, under one tokenizer (text/paragraphs.py).

        Returns:
            int64 (n + 1,), where each row's paragraphs begin in the other; int32 (paragraphs,), tokens of each.

        Raises:
            ShardIndexError: when there are none, since they are counted only when asked for; or when they are damaged.
        """
        return self._files.paragraphs(fingerprint)

    def read(self, row: int) -> tuple[str, dict[str, bytes]]:
        """Key and members (extension to bytes) of one row, by one read, verified against the index.

        Raises:
            ShardError: when the shard is missing, cut off, or not what the index says.
            DamagedSampleError: when the shard has its size, but this sample's checksum is another.
        """
        place = self._place(row)
        try:
            data = self._storage.read(place[0])
        except AbsentFileError as error:
            raise absent_tar(error, self.catalog, self.path) from error
        return self._sample_or_again(row, place, data)

    def read_page(self, row: int) -> Page:
        """One row as a page.

        Raises:
            ShardError: as `read`.
            RowError: when its members are not a page.
        """
        (page,) = self.read_pages([row])
        if isinstance(page, PageError):
            raise page
        return page

    def read_pages(self, rows: Sequence[int]) -> list[Page | PageError]:
        """Several rows as pages, in the order asked for; from a remote storage in few requests at a time.

        Returns:
            For a row whose bytes are damaged or are not a page, its error instead.

        Raises:
            ShardError: when a shard is missing, cut off, or not what the index says.
        """
        pages: list[Page | PageError] = []
        for row, sample in zip(rows, self.read_many(rows), strict=True):
            try:
                if isinstance(sample, PageError):
                    raise sample
                pages.append(page_from_members(*sample, text_chars=self.by_row.text_chars.one(row), rules=self.rules))
            except PageError as error:
                pages.append(error)
        return pages

    def read_many(self, rows: Sequence[int]) -> list[tuple[str, dict[str, bytes]] | PageError]:
        """Keys and members of several rows, as `read_pages` reads pages."""
        samples: list[tuple[str, dict[str, bytes]] | PageError] = []
        places = [self._place(row) for row in rows]
        for row, place, data in zip(rows, places, self._fetched([place[0] for place in places]), strict=True):
            try:
                samples.append(self._sample_or_again(row, place, data))
            except PageError as error:
                samples.append(error)
        return samples

    def fetch(self, rows: Sequence[int]) -> None:
        """Bring the bytes of rows into this machine's cache, if there is one."""
        if isinstance(self._storage, CachedStorage):
            self._storage.fetch([self._place(row)[0] for row in rows])

    def key(self, row: int) -> str:
        """The key of a row, from its tar header, verified by its hash.

        Raises:
            ShardError: when the header is not there or names another key, also when it is asked for again.
        """
        try:
            return self._key(row)
        except (ShardIndexError, *_OF_STORAGE):
            raise
        except ShardError:  # the answer may have been damaged on its way
            self._storage.forget(self._place(row)[0])
            return self._key(row)

    def _key(self, row: int) -> str:
        wanted, _, key_hash = self._place(row)

        def read(offset: int, length: int) -> bytes:
            return self._storage.read(ByteRange(name=wanted.name, offset=offset, length=length))

        try:
            members = walk(read, wanted.offset, wanted.offset + wanted.length)
            names = [member.name for member in members if member.is_file]
            splits = [split_name(name, rule) for name in names for rule in KEY_RULES]
        except (ShardIndexError, *_OF_STORAGE):
            raise  # it is not the shard that is at fault
        except ShardError as error:
            raise self._changed(row, str(error)) from error
        keys = list(dict.fromkeys(split[0] for split in splits if split is not None))
        for name in keys:
            if key := indexed_key(name, wanted.name, key_hash):
                return key
        raise self._changed(row, f"it has the key {next(iter(keys), '')!r}, the index another")

    def shard_name(self, row: int) -> str:
        """The file name of the tar that holds a row."""
        return self.shard_names[int(self.by_row.shard.one(row))]

    def find(self, key: str) -> int | None:
        """The row of a key, None when no sample has it. The first call sorts the key hashes, 8 bytes per row.

        Raises:
            ShardError: as `key`, for a row whose hash is the same.
        """
        with self._lock:
            if self._by_hash is None:
                self._by_hash = np.argsort(self.key_hash, kind="stable")
        first = int(np.searchsorted(self.key_hash, np.uint64(hash_key(key)), sorter=self._by_hash))
        for row in self._by_hash[first:]:
            if self.by_row.key_hash.one(row) != hash_key(key):
                break
            if self.key(int(row)) == key:
                return int(row)
        return None

    def _place(self, row: int) -> _Place:
        """Where a row is; the shard's size is compared with the index at the first row read from it."""
        if not 0 <= row < self.catalog.num_samples:
            raise IndexError(f"row {row} of {self.catalog.num_samples} rows of {self.path}")
        shard, offset, nbytes, crc, key_hash = self.by_row.places[row]
        if shard not in self._checked:
            expected, actual = self.catalog.shards[shard].bytes, self._size(self.shard_names[shard])
            if actual is not None and actual != expected:
                raise self._changed(row, f"{expected} bytes expected, found {actual}")
            self._checked.add(shard)
        return ByteRange(self.shard_names[shard], offset, nbytes), crc, key_hash

    def _size(self, tar: str) -> int | None:
        try:
            return self._storage.size(tar)
        except AbsentFileError as error:
            raise absent_tar(error, self.catalog, self.path) from error

    def _fetched(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        try:
            return self._storage.read_many(wanted)
        except AbsentFileError as error:
            raise absent_tar(error, self.catalog, self.path) from error

    def _sample_or_again(self, row: int, place: _Place, data: bytes) -> tuple[str, dict[str, bytes]]:
        """A sample, its bytes asked for again where they are short or damaged, which may be the answer's fault: until
        the same come twice."""
        for _ in range(_MOST_ASKED):
            try:
                return self._sample(row, place, data)
            except ShardError:
                self._storage.forget(place[0])
                again = self._storage.read(place[0])
                if again == data:
                    raise
                data = again
        return self._sample(row, place, data)

    def _sample(self, row: int, place: _Place, data: bytes) -> tuple[str, dict[str, bytes]]:
        wanted, expected, key_hash = place
        if len(data) != wanted.length:
            raise self._changed(row, f"{wanted.length} bytes at byte {wanted.offset} expected, found {len(data)}")
        crc = zlib.crc32(data)
        if crc != expected:
            what = f"checksum {expected:08x} expected, found {crc:08x}"
            raise DamagedSampleError(str(self._changed(row, what)))
        try:
            return split_checked(data, wanted.name, key_hash)
        except ShardIndexError:
            raise  # the index is at fault, not the shard
        except ShardError as error:
            raise self._changed(row, str(error)) from error

    def _changed(self, row: int, what: str) -> ShardError:
        name = self.shard_name(row)
        return ShardError(
            f"{self.tars}/{name}, row {row}: {what}. The shard was changed, cut off or damaged after it was indexed: "
            "bring the right file back from a copy, or make it again with `wdstream make-shards`"
        )
