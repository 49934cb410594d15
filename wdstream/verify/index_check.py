"""The index: `index.json` and every column that it lists; and what is in the folder that it does not list."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import AbsentFileError, ForbiddenFileError, ShardError, StorageFailureError
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON, SPLIT_JSON
from wdstream.shards.index import MAP_FILE
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.layout import TAR_SUFFIX
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, ShardEntry
from wdstream.shards.token_columns import rule_file
from wdstream.storage.local import Storage
from wdstream.storage.remote import FsspecStorage, open_storage
from wdstream.verify.findings import Finding

TEMPORARY_SUFFIX = ".tmp"


@dataclass(slots=True, kw_only=True)
class CheckedIndex:
    """What the index is good for.

    Attributes:
        shards: as listed; empty where there is no index that can be read.
        columns: those that are whole, by name.
        findings: what is wrong with it.
        field_map: by which its samples are read, as text.
        tars: folder or URL of its tars.
    """

    shards: tuple[ShardEntry, ...] = ()
    columns: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    field_map: str = ""
    tars: str = ""

    def rows_of(self, shard: int) -> dict[str, NDArray[np.generic]] | None:
        """The rows of one shard in the columns that every index has; None where one of those is damaged."""
        if not {*SAMPLE_COLUMNS, *IMAGE_COLUMNS, "image_start"} <= set(self.columns):
            return None
        first = sum(entry.samples for entry in self.shards[:shard])
        samples = slice(first, first + self.shards[shard].samples)
        starts = self.columns["image_start"]
        images = slice(int(starts[samples.start]), int(starts[samples.stop]))
        rows = {name: np.array(self.columns[name][samples]) for name in SAMPLE_COLUMNS}
        return rows | {name: np.array(self.columns[name][images]) for name in IMAGE_COLUMNS}

    def tokens_of(self, shard: int, column: str) -> NDArray[np.int32] | None:
        """The rows of one shard in a token column; None where it is damaged or not listed."""
        if column not in self.columns:
            return None
        first = sum(entry.samples for entry in self.shards[:shard])
        return np.array(self.columns[column][first : first + self.shards[shard].samples], np.int32)


def check_index(path: Path | str) -> CheckedIndex:
    """Read `index.json` and all columns, and say all that is wrong with them."""
    checked = CheckedIndex(tars=str(path))
    json_file = f"{INDEX_FOLDER}/{INDEX_JSON}"
    try:
        files = IndexFiles(path, opens_columns=False)
    except ShardError as error:
        checked.findings.append(Finding(kind=_kind_of(error, "index"), file=json_file, what=str(error)))
        return checked
    checked.shards, checked.field_map = files.catalog.shards, files.catalog.field_map
    checked.tars = files.tars
    if files.storage.read_file(json_file) != files.catalog.to_json():
        what = "says what it should, but its bytes are not those that were written"
        checked.findings.append(Finding(kind="index", file=json_file, what=what))
    checked.findings += _differing_copies(files)
    for name in files.catalog.columns:
        try:
            checked.columns[name] = files.column(name)
        except ShardError as error:
            kind = _kind_of(error, "column")
            checked.findings.append(Finding(kind=kind, file=f"{INDEX_FOLDER}/{name}.npy", what=str(error)))
    return checked


def _differing_copies(files: IndexFiles) -> Iterator[Finding]:
    """Files next to `index.json` that say again what it says, for the time without it, and say something else."""
    split, field_map = files.catalog.split, files.catalog.field_map
    copies = {SPLIT_JSON: rule_file(split) if split else b"", MAP_FILE: f"{field_map}\n".encode() if field_map else b""}
    for name, expected in copies.items():
        file = f"{INDEX_FOLDER}/{name}"
        try:
            differs = bool(expected) and files.storage.read_file(file) != expected
        except AbsentFileError:
            continue  # index.json has it
        except ShardError as error:
            yield Finding(kind="not readable", file=file, what=str(error))
            continue
        if differs:
            yield Finding(kind="index", file=file, what=f"says something else than {INDEX_JSON}, of which it is a copy")


def _kind_of(error: ShardError, damage: str) -> str:
    """A storage that fails says nothing of what it stores."""
    return "not readable" if isinstance(error, ForbiddenFileError | StorageFailureError) else damage


def check_folder(path: Path | str, index: CheckedIndex) -> tuple[list[str], list[Finding]]:
    """Tars that the index does not list, and what else is in the folder that should not be.

    Returns:
        Names of the tars, sorted; what was found. Nothing of a URL that cannot be listed, or of tars elsewhere.
    """
    listed = {entry.name for entry in index.shards}
    names = _names_at(path)
    tars = [name for name in names if name.endswith(TAR_SUFFIX) and name not in listed]
    known = {f"{INDEX_FOLDER}/{name}.npy" for name in index.columns}
    known |= {found.file for found in index.findings}
    findings = []
    for name in names:
        if name in tars and index.shards:
            findings.append(Finding(kind="not indexed", file=name, what="a tar that the index does not list"))
        elif name.endswith(TEMPORARY_SUFFIX):
            findings.append(Finding(kind="left over", file=name, what="a file that was not finished"))
        elif name.startswith(INDEX_FOLDER) and name.endswith(".npy") and name not in known and index.shards:
            findings.append(Finding(kind="left over", file=name, what="a column that index.json does not list"))
    return tars, findings


def _names_at(path: Path | str) -> list[str]:
    """Files of a set and of its index, sorted."""
    storage = open_storage(path)
    folder = storage.local_path("")
    if folder is not None:
        names = sorted(file.name for file in folder.iterdir() if file.is_file())
        inside = folder / INDEX_FOLDER
        return names + (sorted(f"{INDEX_FOLDER}/{file.name}" for file in inside.iterdir()) if inside.is_dir() else [])
    inside_names = _listed(open_storage(f"{str(path).rstrip('/')}/{INDEX_FOLDER}"))
    return [*_listed(storage), *(f"{INDEX_FOLDER}/{name}" for name in inside_names)]


def _listed(storage: Storage) -> list[str]:
    """Files of a folder at a URL, sorted; none where they cannot be listed, as on web servers."""
    try:
        return sorted(storage.listing()) if isinstance(storage, FsspecStorage) else []
    except ShardError:
        return []
