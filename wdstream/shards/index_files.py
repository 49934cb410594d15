"""Opening an index: its columns mapped or fetched, each checked against `index.json` when it is first used.

Four things can keep a column from being used, and each is an error of its own: it is listed and absent, it is
forbidden, storage or network fail, or it is not what was written. A column that is not listed is not there, so a fault
is never taken for an optional column that is missing.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import AbsentFileError, ForbiddenFileError, ShardError, ShardIndexError, StorageFailureError
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    Catalog,
    OldIndexError,
    TokenColumn,
    catalog_from_json,
    held_out_column,
    how_to_index,
    is_read_only,
    metadata_column,
    metadata_texts,
    token_column,
)
from wdstream.shards.column_files import (
    column_of_bytes,
    damaged_blocks,
    file_bytes,
    is_whole,
    map_column,
    show_ranges,
)
from wdstream.shards.column_values import check_values, unit_of
from wdstream.shards.meta import Column
from wdstream.shards.metadata import TOO_MANY_NAMES, absent_of
from wdstream.storage.addresses import shown_url
from wdstream.storage.cache.block_files import remove_block
from wdstream.storage.cache.cached import CachedStorage, through_cache
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.cache.whole import kept_whole, path_of_whole
from wdstream.storage.forks import ForkSafeLock
from wdstream.storage.local import ByteRange, Storage, read_local
from wdstream.storage.remote import open_storage
from wdstream.storage.settings import ReadSettings

_MOST_ASKED = 3
"""Times that a damaged column is asked for again."""


class IndexFiles:
    """The index at `path`, a folder of shards or a URL: folders are mapped into memory, what is at a URL is held in it.

    Opening a folder opens all columns that every index has, and checks none; from a URL they are fetched and checked.
    With a cache, a URL's are fetched once on this machine, and opened by each process as those of a folder.

    Args:
        path: the folder or URL.
        opens_columns: False opens none of them before it is asked for.
        reading: how a URL is read.
        cache: where what is at a URL is kept.

    Attributes:
        storage: the folder or URL, for what is next to the index, through the cache if there is one.
        source: the same without the cache.
        catalog: what `index.json` says.
        reading, cache: as given.

    Raises:
        ShardIndexError: there is no `index.json`, or it is damaged or of another version; a column is absent, or of
            another type or length.
        ForbiddenFileError, StorageFailureError: one of them cannot be read.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        opens_columns: bool = True,
        reading: ReadSettings | None = None,
        cache: CacheSettings | None = None,
    ) -> None:
        self.reading, self.cache = reading, cache
        self.source = open_storage(path, reading)
        self.storage = through_cache(self.source, cache, digests={})
        self._path = path
        self._lock = ForkSafeLock()
        self._opened: dict[str, Column] = {}
        self._checked: dict[str, Column] = {}
        self.catalog = self._read_catalog()
        self._is_local = self.storage.local_path(INDEX_FOLDER) is not None
        for name in self.catalog.column_shapes() if opens_columns else ():
            if self._is_local or cache is not None:
                self._open(name)
            else:
                self.column(name)

    def column(self, name: str) -> Column:
        """A column that is listed, checked: read through once, when it is first asked for.

        Raises:
            ShardIndexError: it is absent, not what was written, or holds what it cannot; says which, where, and what
                to do.
            ForbiddenFileError, StorageFailureError: it cannot be read.
        """
        with self._lock:
            if name not in self._checked:
                array = self._open(name)
                runs = damaged_blocks(array, self.catalog.columns[name])
                for _ in range(0 if self._is_local else _MOST_ASKED):  # an answer may have been damaged on its way
                    if not runs:
                        break
                    del self._opened[name]
                    self._forget(name)
                    array = self._open(name)
                    runs = damaged_blocks(array, self.catalog.columns[name])
                if runs:
                    raise self._error(name, f"is damaged in {show_ranges(runs, unit_of(name))}: not what was written")
                trouble = check_values(name, array, self.catalog, self.column)
                if trouble is not None:
                    raise self._error(name, trouble)
                self._checked[name] = array
            return self._checked[name]

    @property
    def tars(self) -> str:
        """Folder or URL of the tars: that of the index, or the one that the index names."""
        return self.catalog.tars or str(self._path)

    def tar_source(self) -> Storage:
        """Where the tars are read, without the cache."""
        return open_storage(self.catalog.tars, self.reading) if self.catalog.tars else self.source

    def unchecked(self, name: str) -> Column | None:
        """A column that is mapped and listed, for who checks it block by block; None of one to be taken as a whole."""
        with self._lock:
            is_mapped = self._is_local or self.cache is not None
            return self._open(name) if is_mapped and name not in self._checked else None

    def tokens(self, fingerprint: str) -> NDArray[np.int32]:
        """The token column of one tokenizer, int32 (n,). Raises as `name_of_tokens`, and as `column`."""
        return self.column(self.name_of_tokens(fingerprint))

    def name_of_tokens(self, fingerprint: str) -> str:
        """The name of that column. Raises ShardIndexError: there is none, with those there are."""
        name = token_column(fingerprint)
        if not self._is_listed(name):
            raise ShardIndexError(
                f"{self._path}: no token counts of the tokenizer with fingerprint {fingerprint}; counted are: "
                f"{', '.join(self.catalog.token_fingerprints()) or 'none'}. Run `wdstream lengths {self._path} "
                "--tokenizer PATH` with the model's folder for PATH, and an --allow-token for each of text.allow_tokens"
            )
        return name

    def supervised(self, fingerprint: str) -> NDArray[np.int32] | None:
        """The column of supervised tokens of one tokenizer, int32 (n,); None where all are. Raises as `column`."""
        name = self.name_of_supervised(fingerprint)
        return None if name is None else self.column(name)

    def name_of_supervised(self, fingerprint: str) -> str | None:
        """The name of that column, if there is one."""
        name = token_column(fingerprint, "supervised")
        if not self._is_listed(token_column(fingerprint)):  # of columns that are written together
            return None
        return name if name in self.catalog.columns else None

    def paragraphs(self, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Where each row's paragraphs begin, int64 (n + 1,), and the tokens of each, int32; raises as the next."""
        starts, tokens = self.names_of_paragraphs(fingerprint)
        return self.column(starts), self.column(tokens)

    def names_of_paragraphs(self, fingerprint: str) -> tuple[str, str]:
        """The names of these columns. Raises ShardIndexError: they are not counted, since nobody asked for it."""
        starts, tokens = (token_column(fingerprint, column) for column in ("paragraph_start", "paragraphs"))
        if not self._is_listed(starts):
            raise ShardIndexError(
                f"{self._path}: overlength 'split' needs the tokens of paragraphs, which are not counted for the "
                f"tokenizer with fingerprint {fingerprint}. Run `wdstream lengths {self._path} --tokenizer PATH "
                "--paragraphs` with the model's folder for PATH, and an --allow-token for each of text.allow_tokens"
            )
        return starts, tokens

    def held_out(self) -> Column | None:
        """Which rows are held out, uint8 (n,); None where the index holds out none.

        Raises:
            ShardIndexError: as `column`.
        """
        rule = self.catalog.split
        return None if rule is None else self.column(held_out_column(rule))

    def _read_catalog(self) -> Catalog:
        for _ in range(_MOST_ASKED if self.storage.local_path("") is None else 0):
            try:
                return self._fetch_catalog()
            except (OldIndexError, AbsentFileError, ForbiddenFileError, StorageFailureError):
                raise
            except ShardIndexError:  # an answer may have been damaged on its way
                self.storage.forget(ByteRange(name=f"{INDEX_FOLDER}/{INDEX_JSON}", offset=0, length=sys.maxsize))
        return self._fetch_catalog()

    def _fetch_catalog(self) -> Catalog:
        path = self.storage.local_path(f"{INDEX_FOLDER}/{INDEX_JSON}")
        try:
            # a folder's is opened again each time: a storage keeps files open, and this one may be replaced
            data = self.storage.read_file(f"{INDEX_FOLDER}/{INDEX_JSON}") if path is None else read_local(path)
        except AbsentFileError as error:
            if path is not None and not path.parents[1].exists():
                raise ShardIndexError(
                    f"{self._path}: there is no such folder of shards here; `wdstream make-shards RAW {self._path} "
                    "--tokenizer MODEL` writes one (a path is relative to the working directory)"
                ) from error
            where = shown_url(str(self._path))
            raise ShardIndexError(f"{where} has no {INDEX_FOLDER}/{INDEX_JSON}: {how_to_index(where)}") from error
        return catalog_from_json(data, f"{self._path}/{INDEX_FOLDER}/{INDEX_JSON}", str(self._path))

    def _is_listed(self, name: str) -> bool:
        """Whether there is an optional column; the list is read again for one that may have been written meanwhile."""
        with self._lock:
            if name not in self.catalog.columns:
                now = self._read_catalog()
                if now.shards == self.catalog.shards:
                    self.catalog = now.with_columns(self.catalog.columns)
            return name in self.catalog.columns

    def metadata(self) -> dict[str, "MetadataColumn"]:
        """The columns of metadata by name, each read when it is first asked for values."""
        return {name: MetadataColumn(self, name) for name in self.catalog.metadata.columns}

    def why_no_metadata(self, name: str) -> str | None:
        """Why pages have metadata of this name, or may have, and there is no column; None where no page has any."""
        metadata = self.catalog.metadata
        if metadata.unread:
            return (
                f"{metadata.unread:,} of {len(self.catalog.shards):,} shards of {self._path} were described by an "
                f"earlier wdstream, without metadata; `wdstream index {self._path} --rebuild` reads them"
            )
        reason = metadata.left_out.get(name, metadata.left_out.get(TOO_MANY_NAMES))
        return None if reason is None else f"in {self._path} {reason}"

    def digest(self, names: Sequence[str]) -> str:
        """16 hexadecimal digits over the digests of these columns, as `index.json` lists them, or does not."""
        listed = [self.catalog.columns.get(name) for name in names]
        lines = [f"{name} {entry.digest if entry else None}" for name, entry in zip(names, listed, strict=True)]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()

    def _open(self, name: str) -> Column:
        """A listed column, its type and length compared with the list."""
        if name in self._opened:
            return self._opened[name]
        try:
            array = self._load(name)
        except AbsentFileError as error:
            raise self._error(name, f"is listed in {INDEX_JSON} and is not there") from error
        except (ForbiddenFileError, StorageFailureError):
            raise
        except ShardIndexError as error:
            raise self._error(name, str(error)) from error
        self._opened[name] = array
        return array

    def _load(self, name: str) -> Column:
        entry, path = self.catalog.columns[name], self._column_path(name)
        try:
            if path is not None:
                return map_column(path, entry)
        except ShardError:
            if self._is_local:
                raise
            self._forget(name)
            path = self._column_path(name)
        if path is not None:
            return map_column(path, entry)
        for _ in range(_MOST_ASKED):  # an answer may have been damaged on its way, in the header, too
            with suppress(ShardIndexError):
                return column_of_bytes(self.source.read_file(f"{INDEX_FOLDER}/{name}.npy"), entry)
        return column_of_bytes(self.source.read_file(f"{INDEX_FOLDER}/{name}.npy"), entry)

    def _column_path(self, name: str) -> Path | None:
        """The file of a column, in the cache if there is one; None where it is elsewhere, and kept nowhere."""
        file, entry = f"{INDEX_FOLDER}/{name}.npy", self.catalog.columns[name]
        if not isinstance(self.storage, CachedStorage):
            return self.storage.local_path(file)

        def is_right(path: Path) -> bool:
            return is_whole(path, entry)

        return kept_whole(self.storage, file, digest=entry.digest, size=file_bytes(entry), is_right=is_right)

    def _forget(self, name: str) -> None:
        """Throw away what the cache has of a column."""
        if isinstance(self.storage, CachedStorage):
            remove_block(path_of_whole(self.storage, self.catalog.columns[name].digest))

    def _error(self, name: str, trouble: str) -> ShardIndexError:
        """What is wrong with a column's file, and how it is made again from what it was made of."""
        kind, _, fingerprint = name.partition(".")
        if is_read_only(str(self._path)):
            remedy = f"copy {INDEX_FOLDER}/ again from the folder that it was written to"
        elif kind in get_args(TokenColumn):
            more = " --paragraphs" if kind.startswith("paragraph") else ""
            remedy = (
                f"count again with `wdstream lengths {self._path} --tokenizer PATH{more}` (the tokenizer of "
                f"fingerprint {fingerprint}), which reads the texts in the tars"
            )
        else:
            remedy = f"run `wdstream index {self._path}`, which makes it again from the shards"
        return ShardIndexError(f"{name}.npy of the index of {self._path} {trouble}; {remedy}")


class MetadataColumn:
    """Metadata of one name over all rows: `column[rows]` is a masked array, masked where a page lacks the name.

    Texts come as an array of str objects.

    Attributes:
        absent: pages that lack the name.
    """

    def __init__(self, files: IndexFiles, name: str) -> None:
        self._files, self._name = files, name
        entry = files.catalog.metadata.columns[name]
        self._kind, self.absent = entry.kind, entry.absent
        self._texts: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return self._files.catalog.num_samples

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[Any]:
        """Values of these rows.

        Raises:
            ShardIndexError: the column is not what was written.
        """
        values = self._entries()[rows]
        is_absent = absent_of(values, self._kind)
        if self._kind == "text":
            values = self._all_texts()[values]
        elif self._kind == "bool":
            values = values == 1
        masked: NDArray[Any] = np.ma.masked_array(values, is_absent)
        return masked

    def _entries(self) -> Any:
        """What `index` holds of all rows."""
        return self._files.column(metadata_column(self._name))

    @property
    def has_numbers(self) -> bool:
        """Whether its values are numbers, rather than texts, or true and false."""
        return self._kind in ("int", "float")

    def numbers(self) -> NDArray[Any]:
        """Of a column of numbers, those of the pages that have one.

        Raises:
            ShardIndexError: the column is not what was written.
        """
        values = self._files.column(metadata_column(self._name))
        return values[~absent_of(values, self._kind)] if self.absent else values

    def counts(self) -> dict[str, int]:
        """Of a column of texts, or of true and false, how many pages have each.

        Raises:
            ShardIndexError: the column is not what was written.
        """
        values = self._files.column(metadata_column(self._name))
        if self._kind == "bool":
            names, places = ["false", "true"], values.astype(np.int64)
        else:
            names, places = self.texts(), values[values >= 0]
        found = np.bincount(places, minlength=len(names)).tolist()
        return {name: count for name, count in zip(names, found, strict=False) if count}  # absent is beyond the last

    def texts(self) -> list[str]:
        """Of a column of texts, all that there are, sorted; of any other, none."""
        return self._all_texts()[:-1].tolist() if self._kind == "text" else []

    def rows_of(self, texts: Collection[str]) -> NDArray[np.int64]:
        """Of a column of texts, the rows that have one of these, rising."""
        wanted = np.flatnonzero(np.isin(self._all_texts()[:-1], list(texts)))
        return np.flatnonzero(np.isin(self._files.column(metadata_column(self._name)), wanted))

    def _all_texts(self) -> NDArray[np.object_]:
        """The column's texts in the order of their numbers, and one more for the rows without."""
        if self._texts is None:
            listed = json.loads(self._files.column(metadata_texts(self._name)).tobytes())
            self._texts = np.array([*listed, ""], dtype=np.object_)
        return self._texts
