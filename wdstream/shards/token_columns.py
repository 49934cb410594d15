"""Writing the columns of a tokenizer, or of what is held out, into an index, while nothing else changes in it.

A column that is to change is first taken off the list in `index.json`, then its file is written, then it is listed
again: a kill leaves it unlisted, so that it is counted again, and never listed with other bytes. Columns that would be
written as they are stay untouched.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdstream.errors import ShardIndexError
from wdstream.plan.held_out import HoldOutRule
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    PARAGRAPH_START_DTYPE,
    SPLIT_JSON,
    TOKEN_DTYPE,
    Catalog,
    ColumnEntry,
    TokenColumn,
    held_out_column,
    held_out_files,
    token_column,
)
from wdstream.shards.column_files import ColumnWriter, entry_of, is_whole
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.meta import Column
from wdstream.storage.atomic import atomic_write, write_file
from wdstream.storage.lock import folder_lock


class ParagraphWriter:
    """Takes the rows of an index, in order."""

    def __init__(self, file: BinaryIO) -> None:
        """Used by `write_paragraphs`."""
        self._writer = ColumnWriter(file, TOKEN_DTYPE)
        self._counts: list[NDArray[np.int64]] = []

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        """Tokens of each paragraph of the next rows; an empty sequence for a row that is not to be split.

        Raises:
            ShardIndexError: a paragraph has more tokens than a column holds.
        """
        tokens = np.array([count for row in rows for count in row], dtype=np.int64)
        _check_range(tokens, "paragraphs")
        self._writer.write(tokens.astype(TOKEN_DTYPE))
        self._counts.append(np.array([len(row) for row in rows], dtype=PARAGRAPH_START_DTYPE))

    def finish(self) -> tuple[ColumnEntry, NDArray[np.int64]]:
        """End the file; returns its entry, and where each row begins in it: int64 (rows + 1,)."""
        starts: NDArray[np.int64] = np.concatenate([np.zeros(1, PARAGRAPH_START_DTYPE), *self._counts]).cumsum()
        return self._writer.finish(), starts


@contextmanager
def write_paragraphs(folder: Path, fingerprint: str) -> Iterator[ParagraphWriter]:
    """Write both files of a tokenizer into the index of `folder`; complete at the end of the block, or not at all.

    Raises:
        ShardIndexError: there is no index, or other rows were added than it has.
    """
    names = [token_column(fingerprint, column) for column in ("paragraphs", "paragraph_start")]
    tokens_file, starts_file = (folder / INDEX_FOLDER / f"{name}.npy" for name in names)
    num_samples = IndexFiles(folder).catalog.num_samples
    with atomic_write(tokens_file) as file:
        writer = ParagraphWriter(file)
        yield writer
        entry, starts = writer.finish()
        if len(starts) != num_samples + 1:
            raise ShardIndexError(f"paragraphs of {len(starts) - 1} rows; {num_samples} expected, those of {folder}")
        entries = dict(zip(names, (entry, entry_of(starts)), strict=True))
        list_columns(folder, dict.fromkeys(names) if not _are_listed(folder, entries) else {})
    _write_column(starts_file, starts)
    list_columns(folder, entries)


def write_token_column(folder: Path, fingerprint: str, counts: ArrayLike, supervised: ArrayLike | None = None) -> Path:
    """Write the tokens of each sample's text for one tokenizer, next to the other columns.

    Args:
        folder: a folder of shards with an index.
        fingerprint: the tokenizer's, lower-case hexadecimal.
        counts: (n,) tokens of each row's text segments, row by row.
        supervised: (n,) how many of them are supervised (`Shards.supervised`); None means all, and needs no column.

    Returns:
        The file with the tokens.

    Raises:
        ShardIndexError: when there is no index, or `counts` does not fit it.
    """
    catalog = IndexFiles(folder).catalog
    given: dict[TokenColumn, ArrayLike | None] = {"tokens": counts, "supervised": supervised}
    arrays = {
        token_column(fingerprint, column): None if values is None else _as_counts(values, catalog, folder)
        for column, values in given.items()
    }
    entries = {name: None if array is None else entry_of(array) for name, array in arrays.items()}
    index = folder / INDEX_FOLDER
    if not _are_whole(folder, entries):
        list_columns(folder, dict.fromkeys(entries))
        for name, array in arrays.items():
            if array is None:
                (index / f"{name}.npy").unlink(missing_ok=True)
            else:
                _write_column(index / f"{name}.npy", array)
        list_columns(folder, entries)
    return index / f"{token_column(fingerprint)}.npy"


def _as_counts(values: ArrayLike, catalog: Catalog, folder: Path) -> NDArray[np.int32]:
    """One count per sample, as a column has them."""
    counts = np.asarray(values)
    if counts.shape != (catalog.num_samples,) or not np.issubdtype(counts.dtype, np.integer):
        raise ShardIndexError(
            f"token counts are {counts.dtype} of shape {counts.shape}; integers of shape ({catalog.num_samples},) "
            f"expected, one per sample of {folder}"
        )
    _check_range(counts, "samples")
    return counts.astype(TOKEN_DTYPE)


def _check_range(counts: NDArray[np.integer], what: str) -> None:
    if len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) <= np.iinfo(TOKEN_DTYPE).max:
        raise ShardIndexError(f"{what} of {counts.min()} to {counts.max()} tokens do not fit a column of tokens")


def _write_column(path: Path, array: NDArray[np.integer]) -> None:
    with atomic_write(path) as file:
        writer = ColumnWriter(file, array.dtype)
        writer.write(array)
        writer.finish()


def write_split(folder: Path, rule: HoldOutRule | None, held_out: Column | None) -> Catalog:
    """List which rows are held out, or with None that none is, while nothing else changes in the index.

    The column's file has a name of its own under each rule, and `index.json` is replaced at once: a kill leaves the
    index as it was, or as it is to be.
    """
    index = folder / INDEX_FOLDER
    changes: dict[str, ColumnEntry | None] = {}
    if rule is not None and held_out is not None:
        entry = entry_of(held_out)
        path = index / f"{held_out_column(rule)}.npy"
        if not is_whole(path, entry):
            _write_column(path, held_out)
        changes = {held_out_column(rule): entry}
    with folder_lock(index):  # tokens may be counted meanwhile, which lists them
        before = IndexFiles(folder, opens_columns=False).catalog
        others: dict[str, ColumnEntry | None] = {name: None for name in before.columns if name.startswith("held_out.")}
        catalog = replace(before.with_columns({**others, **changes}), split=rule)
        if catalog != before:
            write_file(index / INDEX_JSON, catalog.to_json())
        keep_rule(index, rule)
        remove_other_splits(index, rule)
    return catalog


def keep_rule(index: Path, rule: HoldOutRule | None) -> None:
    """The rule in a file of its own, for the time without `index.json`."""
    path = index / SPLIT_JSON
    if rule is None:
        path.unlink(missing_ok=True)
    else:
        write_file(path, rule_file(rule))


def rule_file(rule: HoldOutRule) -> bytes:
    """The bytes of that file."""
    return json.dumps(rule.to_json(), indent=1).encode() + b"\n"


def remove_other_splits(index: Path, rule: HoldOutRule | None) -> None:
    """Remove columns of what other rules than this one hold out."""
    kept = None if rule is None else f"{held_out_column(rule)}.npy"
    for name in held_out_files([path.name for path in index.iterdir()]):
        if name != kept:
            (index / name).unlink(missing_ok=True)


def list_columns(folder: Path, changes: Mapping[str, ColumnEntry | None]) -> None:
    """List columns in index.json, or, with None, take them off; written only where that changes it."""
    with folder_lock(folder / INDEX_FOLDER):
        catalog = IndexFiles(folder).catalog
        changed = catalog.with_columns(changes)
        if changed != catalog:
            write_file(folder / INDEX_FOLDER / INDEX_JSON, changed.to_json())


def _are_listed(folder: Path, entries: Mapping[str, ColumnEntry | None]) -> bool:
    listed = IndexFiles(folder).catalog.columns
    return all(listed.get(name) == entry for name, entry in entries.items())


def _are_whole(folder: Path, entries: Mapping[str, ColumnEntry | None]) -> bool:
    """Whether these columns are listed so, and their files are what is listed."""
    if not _are_listed(folder, entries):
        return False
    index = folder / INDEX_FOLDER
    return all(is_whole(index / f"{name}.npy", entry) for name, entry in entries.items() if entry is not None)
