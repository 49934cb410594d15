"""Reading `index/`: its columns mapped into memory from a folder, or fetched from a URL."""

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    PARAGRAPH_START_DTYPE,
    TOKEN_DTYPE,
    Catalog,
    catalog_from_json,
    paragraph_files,
    supervised_file,
    token_file,
    token_fingerprints,
)
from wdstream.storage.local import LocalStorage, Storage


class IndexFiles(Protocol):
    """The files of one index."""

    storage: Storage

    def catalog(self) -> Catalog:
        """What `index.json` says. Raises ShardIndexError when there is none."""

    def array(self, name: str) -> NDArray[Any] | None:
        """The array of one file, None when it is missing. Raises ValueError, EOFError or OSError when it is damaged."""

    def names(self) -> list[str]:
        """The files of the index."""


class LocalIndex:
    """The index in `folder/index`."""

    def __init__(self, folder: Path) -> None:
        self.storage: Storage = LocalStorage(folder)
        self._folder = folder

    def catalog(self) -> Catalog:
        """What `index.json` says. Raises ShardIndexError when there is none."""
        source = self._folder / INDEX_FOLDER / INDEX_JSON
        if not source.is_file():
            raise no_index(self._folder)
        return catalog_from_json(source.read_bytes(), str(source))

    def array(self, name: str) -> NDArray[Any] | None:
        """The array of one file, mapped into memory; None when it is missing."""
        path = self._folder / INDEX_FOLDER / name
        if not path.is_file():
            return None
        # a plain view: numpy's memmap class costs a microsecond more at every element
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def names(self) -> list[str]:
        """The files of the index."""
        return sorted(path.name for path in (self._folder / INDEX_FOLDER).iterdir())


class RemoteIndex:
    """The index at `url/index`; its columns are held in memory."""

    def __init__(self, url: str) -> None:
        from wdstream.storage.remote import FsspecStorage  # an optional dependency

        self.storage: Storage = (remote := FsspecStorage(url))
        self._remote = remote
        self._url = url

    def catalog(self) -> Catalog:
        """What `index.json` says. Raises ShardIndexError when there is none."""
        try:
            data = self._remote.read_file(f"{INDEX_FOLDER}/{INDEX_JSON}")
        except ShardError as error:
            raise no_index(self._url) from error
        return catalog_from_json(data, f"{self._url}/{INDEX_FOLDER}/{INDEX_JSON}")

    def array(self, name: str) -> NDArray[Any] | None:
        """The array of one file; None when it cannot be had."""
        try:
            data = self._remote.read_file(f"{INDEX_FOLDER}/{name}")
        except ShardError:
            return None
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        return array

    def names(self) -> list[str]:
        """The files of the index, as far as the storage lists them."""
        try:
            return self._remote.names(INDEX_FOLDER)
        except ShardError:
            return []


def open_index(path: Path | str) -> IndexFiles:
    """The index at a folder, or at a URL such as `s3://bucket/shards`."""
    return RemoteIndex(str(path).rstrip("/")) if "://" in str(path) else LocalIndex(Path(path))


def load_columns(files: IndexFiles, catalog: Catalog) -> dict[str, NDArray[Any]]:
    """All columns that do not depend on a tokenizer.

    Raises:
        ShardIndexError: when one is missing, damaged, or of another type or length than the catalog says.
    """
    shapes = catalog.column_shapes()
    return {name: _checked(files, f"{name}.npy", dtype, length) for name, (dtype, length) in shapes.items()}


def load_tokens(files: IndexFiles, catalog: Catalog, fingerprint: str, path: Path | str) -> NDArray[np.int32]:
    """The token column of one tokenizer, int32 (n,).

    Raises:
        ShardIndexError: when there is none, naming those there are; or when it is damaged or of another index.
    """
    name = token_file(fingerprint)
    if not _is_there(files, name):
        present = ", ".join(token_fingerprints(files.names())) or "none"
        raise ShardIndexError(
            f"{path}: no token counts of the tokenizer with fingerprint {fingerprint}; counted are: {present}. "
            f"Run `wdstream lengths {path} --tokenizer PATH` with the model's folder for PATH"
        )
    return _checked(files, name, TOKEN_DTYPE, catalog.num_samples)


def load_supervised(files: IndexFiles, catalog: Catalog, fingerprint: str) -> NDArray[np.int32] | None:
    """The column of supervised tokens of one tokenizer, int32 (n,); None where all tokens of text are supervised.

    Raises:
        ShardIndexError: when it is damaged or of another index.
    """
    name = supervised_file(fingerprint)
    if not _is_there(files, name):
        return None
    return _checked(files, name, TOKEN_DTYPE, catalog.num_samples)


def load_paragraphs(
    files: IndexFiles, catalog: Catalog, fingerprint: str, path: Path | str
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where each row's paragraphs begin, int64 (n + 1,), and the tokens of each paragraph under one tokenizer, int32.

    Raises:
        ShardIndexError: when there are none, since they are counted only when asked for; or when they are damaged.
    """
    tokens_name, starts_name = paragraph_files(fingerprint)
    if not _is_there(files, starts_name):
        raise ShardIndexError(
            f"{path}: overlength 'split' needs the tokens of paragraphs, which are not counted for the tokenizer with "
            f"fingerprint {fingerprint}. Run `wdstream lengths {path} --tokenizer PATH --paragraphs` with the model's "
            "folder for PATH"
        )
    starts = _checked(files, starts_name, PARAGRAPH_START_DTYPE, catalog.num_samples + 1)
    return starts, _checked(files, tokens_name, TOKEN_DTYPE, int(starts[-1]))


def no_index(path: Path | str) -> ShardIndexError:
    """The error for shards without an index."""
    return ShardIndexError(f"{path} has no {INDEX_FOLDER}/{INDEX_JSON}: run `wdstream index {path}`")


def _is_there(files: IndexFiles, name: str) -> bool:
    """Whether there is such a file, sound or damaged; not every storage lists its files."""
    try:
        return files.array(name) is not None
    except (ValueError, EOFError, OSError):
        return True  # damaged; _checked says how


def _checked(files: IndexFiles, name: str, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    try:
        array = files.array(name)
    except (ValueError, EOFError, OSError) as error:
        raise ShardIndexError(
            f"{name} of the index is damaged: {error}; remove the folder index, index again"
        ) from error
    if array is None:
        raise ShardIndexError(f"{name} of the index is missing: remove the folder index and run `wdstream index`")
    if array.dtype != dtype or array.shape != (length,):
        raise ShardIndexError(
            f"{name} of the index is {array.dtype} of shape {array.shape}, {dtype} of shape ({length},) expected: it "
            "belongs to another index; remove the folder index and run `wdstream index`"
        )
    return array
