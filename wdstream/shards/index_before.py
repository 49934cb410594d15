"""The index that is there before shards are merged: whether it is up to date, and which of its columns may stay.

Nothing that is damaged stays. Columns that every index has are written again from the shards; a token column can only
be counted again, so one that is damaged is removed, and named.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, get_args

import numpy as np

from wdstream.errors import AbsentFileError, ShardIndexError, load_json
from wdstream.plan.held_out import HoldOutRule
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    PARAGRAPH_START_DTYPE,
    SPLIT_JSON,
    TOKEN_DTYPE,
    Catalog,
    ColumnEntry,
    OldIndexError,
    TokenColumn,
    catalog_from_json,
    token_files,
)
from wdstream.shards.column_files import damaged_blocks, entry_of, map_column, show_ranges
from wdstream.shards.column_values import check_values, unit_of
from wdstream.shards.meta import Column
from wdstream.shards.token_columns import list_columns

_SHOWN_SHARDS = 5
_LARGEST_TOKENS_PER_BYTE = 8
_LARGEST_TEMPLATE = 1 << 16
"""Tokens that a chat template may add to a row; with the rate above, a bound that only a damaged count exceeds."""


@dataclass(slots=True, kw_only=True)
class IndexBefore:
    """What is at `folder/index`.

    Attributes:
        folder: of the shards.
        catalog: what its `index.json` says; None where there is none that can be read.
        is_old: whether it is of version 1, which listed no columns.
        notes: what was found, for the report.
    """

    folder: Path
    catalog: Catalog | None
    is_old: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `index.json`, if there is one."""
        path = folder / INDEX_FOLDER / INDEX_JSON
        try:
            return cls(folder=folder, catalog=catalog_from_json(path.read_bytes(), str(path), str(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return cls(folder=folder, catalog=None)
        except OldIndexError as error:
            return cls(folder=folder, catalog=error.catalog, is_old=True)
        except ShardIndexError as error:
            return cls(folder=folder, catalog=None, notes=[f"written again: {error}"])

    def rule(self) -> HoldOutRule | None:
        """The rule by which pages are held out, of `index.json`; where that cannot be read, of the copy next to it.

        Raises:
            ShardIndexError: there is a copy alone, and it cannot be read.
        """
        if self.catalog is not None:
            return self.catalog.split
        return read_rule(self.folder / INDEX_FOLDER / SPLIT_JSON)

    def changes(self, now: Catalog) -> list[str]:
        """Shards that are not as they were indexed, in one line; none where nothing is known or nothing differs."""
        if self.catalog is None:
            return []
        known = {shard.name: shard.digest for shard in self.catalog.shards}
        here = {shard.name: shard.digest for shard in now.shards}
        changed = [name for name in sorted(known) if here.get(name, known[name]) != known[name]]
        gone = sorted(known.keys() - here.keys())
        return [
            f"{len(names)} shards {what}: {', '.join(names[:_SHOWN_SHARDS])}"
            + (f" and {len(names) - _SHOWN_SHARDS} more" if len(names) > _SHOWN_SHARDS else "")
            for names, what in (
                (changed, "are not as the index before listed them"),
                (gone, "of the index before are not there"),
            )
            if names
        ]

    def is_current(self, now: Catalog) -> bool:
        """Whether it is of these shards, and all columns but those of tokenizers and of a split are whole."""
        if self.catalog is None or self.is_old or self.catalog.shards != now.shards:
            return False
        if self.catalog.metadata != now.metadata or self.catalog.tars != now.tars:
            return False
        found = [self._trouble(name) for name in self.catalog.columns if not _is_optional(name)]
        troubles = [trouble for trouble in found if trouble is not None]
        self.notes += [f"written again from the shards: {trouble}" for trouble in troubles]
        return not troubles

    def kept(self, now: Catalog) -> dict[str, ColumnEntry] | None:
        """The token columns that stay; None where the index before is of other shards, or there is none."""
        if self.catalog is None or self.catalog.shards != now.shards:
            return None
        return self._old_tokens() if self.is_old else self._whole_tokens()

    def without_damaged_tokens(self) -> Catalog:
        """Of an index that is current: take damaged token columns off its list, and remove them."""
        assert self.catalog is not None
        whole = self._whole_tokens()
        optional = {name for name in self.catalog.columns if _is_of_tokenizer(name)}
        damaged = sorted(optional - whole.keys())
        list_columns(self.folder, dict.fromkeys(damaged))
        for name in damaged:
            (self.folder / INDEX_FOLDER / f"{name}.npy").unlink(missing_ok=True)
        return self.catalog.with_columns(dict.fromkeys(damaged))

    def _trouble(self, name: str) -> str | None:
        """What is wrong with a listed column, its file named; None when it is whole."""
        assert self.catalog is not None
        entry, file = self.catalog.columns[name], f"{name}.npy"
        try:
            array = map_column(self.folder / INDEX_FOLDER / file, entry)
        except AbsentFileError:
            return f"{file} was not there"
        except ShardIndexError as error:
            return f"{file} {error}"
        runs = damaged_blocks(array, entry)
        return f"{file} was damaged in {show_ranges(runs, unit_of(name))}" if runs else None

    def _whole_tokens(self) -> dict[str, ColumnEntry]:
        """Token columns that are listed and whole; with a damaged one goes the other that is written with it."""
        assert self.catalog is not None
        optional = {name: entry for name, entry in self.catalog.columns.items() if _is_of_tokenizer(name)}
        damaged = set()
        for name in sorted(optional):
            trouble = self._trouble(name)
            if trouble is not None:
                damaged.add(_written_together(name))
                self.notes.append(self._removed(name.partition(".")[2], trouble))
        return {name: entry for name, entry in optional.items() if _written_together(name) not in damaged}

    def _old_tokens(self) -> dict[str, ColumnEntry]:
        """Token columns of an index of version 1: nothing vouches for their bytes, so they are checked as far as types,
        lengths and possible values go."""
        index = self.folder / INDEX_FOLDER
        kept: dict[str, ColumnEntry] = {}
        names = [name.removesuffix(".npy") for name in token_files([path.name for path in index.iterdir()])]
        for fingerprint in sorted({name.partition(".")[2] for name in names}):
            group = [name for name in names if name.partition(".")[2] == fingerprint]
            try:
                arrays = {name: _load(index / f"{name}.npy") for name in group}
                self._check_old(fingerprint, arrays)
            except (ShardIndexError, ValueError, EOFError, OSError) as error:
                self.notes.append(self._removed(fingerprint, str(error)))
                continue
            kept |= {name: entry_of(array) for name, array in arrays.items()}
            self.notes.append(
                f"token columns of {fingerprint} kept as they are: they had no digest until now. `wdstream lengths "
                f"{self.folder} --tokenizer PATH` counts again and writes what differs"
            )
        return kept

    def _removed(self, fingerprint: str, trouble: str) -> str:
        return (
            f"token columns of {fingerprint} removed: {trouble}; count again with `wdstream lengths {self.folder} "
            "--tokenizer PATH`, and --paragraphs where they were wanted"
        )

    def _check_old(self, fingerprint: str, arrays: dict[str, Column]) -> None:
        """Refuse columns that cannot be true."""
        assert self.catalog is not None
        num_samples = self.catalog.num_samples
        tokens = arrays.get(f"tokens.{fingerprint}")
        starts = arrays.get(f"paragraph_start.{fingerprint}")
        if tokens is None or (starts is None) != (f"paragraphs.{fingerprint}" not in arrays):
            raise ShardIndexError("one of them is not there")
        for name, array in arrays.items():
            kind = name.partition(".")[0]
            dtype = PARAGRAPH_START_DTYPE if kind == "paragraph_start" else TOKEN_DTYPE
            length = {"paragraph_start": num_samples + 1, "paragraphs": len(array)}.get(kind, num_samples)
            if array.dtype != dtype or array.shape != (length,):
                raise ShardIndexError(
                    f"{name} is {array.dtype} of shape {array.shape}, {dtype} of ({length},) expected"
                )
        listed = self.catalog.with_columns({name: entry_of(array) for name, array in arrays.items()})
        for name, array in arrays.items():
            trouble = check_values(name, array, listed, arrays.__getitem__)
            if trouble is not None:
                raise ShardIndexError(f"{name} {trouble}")
        text_bytes = np.load(self.folder / INDEX_FOLDER / "text_bytes.npy", allow_pickle=False)
        too_many = tokens > text_bytes.astype(np.int64) * _LARGEST_TOKENS_PER_BYTE + _LARGEST_TEMPLATE
        if too_many.any():
            row = int(np.argmax(too_many))
            raise ShardIndexError(
                f"tokens.{fingerprint} counts {tokens[row]} tokens in the {text_bytes[row]} bytes of row {row}"
            )


def read_rule(path: Path) -> HoldOutRule | None:
    """The rule in the file `split.json`; None where there is none.

    Raises:
        ShardIndexError: it cannot be read.
    """
    try:
        return HoldOutRule.from_json(load_json(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ShardIndexError(
            f"{path} says which pages are held out, and is damaged ({error!r}): bring it back from a copy; or remove "
            "it, and hold pages out again with `wdstream split`: of a number of pages, others may be chosen"
        ) from error


def _is_optional(name: str) -> bool:
    return _is_of_tokenizer(name) or name.startswith("held_out.")


def _is_of_tokenizer(name: str) -> bool:
    return name.partition(".")[0] in get_args(TokenColumn)


def _written_together(name: str) -> tuple[bool, str]:
    """What is the same for columns of one tokenizer that are written together."""
    kind, _, fingerprint = name.partition(".")
    return kind.startswith("paragraph"), fingerprint


def _load(path: Path) -> Column:
    """The array of a file that is not listed."""
    with path.open("rb") as file:
        array: Column = np.load(file, allow_pickle=False)
    return array
