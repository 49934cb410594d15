"""Building `index/`: one array per column over all shards of a folder, so that a plan needs no other file.

Tars of others are described first (tar_folder.py). Then the meta of all shards is merged: no key twice, one `.npy` per
column.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from wdstream.errors import ShardError, ShardIndexError
from wdstream.plan.held_out import HeldOutCounts, HoldOut, HoldOutRule
from wdstream.shards.apart.tar_list import TarList
from wdstream.shards.catalog import (
    HELD_OUT_DTYPE,
    INDEX_FOLDER,
    INDEX_JSON,
    Catalog,
    ColumnEntry,
    catalog_from_json,
    held_out_column,
    metadata_column,
    metadata_files,
    metadata_texts,
    token_files,
)
from wdstream.shards.column_files import ColumnWriter
from wdstream.shards.index_before import IndexBefore
from wdstream.shards.layout import META_SUFFIX, TAR_SUFFIX
from wdstream.shards.meta import (
    IMAGE_COLUMNS,
    SAMPLE_COLUMNS,
    Column,
    SampleFailure,
    ShardEntry,
    ShardMeta,
    load_complete,
)
from wdstream.shards.metadata import DTYPES, TEXTS_DTYPE, MetadataList, MetadataMerge, values_in
from wdstream.shards.repeated import refuse_duplicates
from wdstream.shards.samples.documents import DocumentTable, LoadMeta
from wdstream.shards.token_columns import keep_rule, remove_other_splits, write_split
from wdstream.storage.atomic import atomic_write, write_file
from wdstream.storage.json_lines import write_lines
from wdstream.text.characters import one_line

LEFT_OUT = "left_out.jsonl"
_MOST_HELD = 32 << 20
"""Bytes of metas that are kept in memory while shards are merged."""
_MAX_LEFT_OUT = 10
"""Names of metadata that a report gives the reasons of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What an index was made of.

    Attributes:
        folder: the folder of the shards.
        catalog: what the index holds.
        skipped: (file name, reason) of shards that are incomplete, so not in the index.
        failures: (shard, failure) of samples that cannot be used, so not in the index.
        notes: what was found wrong with the index before, and what became of its token columns.
        held_out: what is held out; None where nothing is.
        is_new: False when the index was up to date, and nothing of it but what is held out was written.
        address: of the set for people, where `folder` is a copy.
    """

    folder: Path
    catalog: Catalog
    skipped: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, SampleFailure], ...]
    notes: tuple[str, ...] = ()
    held_out: HeldOutCounts | None = None
    is_new: bool
    address: str = ""

    def print(self, console: Console) -> None:
        """Write a summary, and a line for everything left out."""
        catalog = self.catalog
        gigabytes = sum(shard.bytes for shard in catalog.shards) / 1e9
        state = "written" if self.is_new else "already up to date"
        where = self.address or self.folder
        console.print(
            f"index of {where} {state}: {len(catalog.shards):,} shards, {catalog.num_samples:,} samples, "
            f"{catalog.num_images:,} images, {gigabytes:,.3f} GB, fingerprint {catalog.fingerprint}",
            highlight=False,
        )
        for line in self.remarks():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        left_out = [f"skipped {name}: {reason}" for name, reason in self.skipped]
        left_out += [f"left out of {shard}: {failure.key}: {failure.reason}" for shard, failure in self.failures]
        for line in left_out:
            console.print(one_line(line), markup=False, highlight=False)

    def remarks(self) -> Iterator[str]:
        """Lines on what is held out, which metadata are columns and why others did not become one, and `notes`."""
        metadata = self.catalog.metadata
        yield from () if self.held_out is None else self.held_out.lines()
        if metadata.columns:
            shown = [
                name + (f" (absent in {entry.absent:,})" if entry.absent else "")
                for name, entry in metadata.columns.items()
            ]
            yield f"metadata columns: {', '.join(shown)}"
        for name, reason in list(metadata.left_out.items())[:_MAX_LEFT_OUT]:
            yield f"metadata {name!r} did not become a column: {reason}"
        if len(metadata.left_out) > _MAX_LEFT_OUT:
            yield f"... and {len(metadata.left_out) - _MAX_LEFT_OUT:,} other names, listed in {INDEX_JSON}"
        if metadata.unread:
            yield (
                f"no metadata columns: {metadata.unread:,} of {len(self.catalog.shards):,} shards were described by an "
                f"earlier wdstream; `wdstream index {self.address or self.folder} --rebuild` reads them"
            )
        yield from self.notes


def merge_index(folder: Path, hold_out: HoldOut | None = None, tars: TarList | None = None) -> IndexReport:
    """Make `folder/index/` from the complete shards in `folder`: tar, idx and meta there and fitting each other.

    An index that is up to date stays as it is. One of the same shards that is damaged, or of an earlier version, is
    written again over itself, and keeps the token columns that are whole. Otherwise `index.json` is removed first and
    written last: a kill leaves no index rather than a wrong one, and running again ends in the same bytes.

    Args:
        folder: of the shards.
        hold_out: pages to hold out; None keeps the rule that there is. So does a request that the rule answers.
        tars: those of the shards, where they are not in `folder`.

    Raises:
        ConfigError: `hold_out` would hold out nothing, or everything; the index stays as it is.
        ShardIndexError: when there is no complete shard.
        ShardError: when two samples have one key.
    """
    before, load = IndexBefore.read(folder), _held(metas_in(folder, tars))
    documents = DocumentTable(str(folder), before.rule(), hold_out, load)
    found = _FoundShards()
    for name in shards_in(folder, tars):
        found.read(name, load, documents)
    if not found.entries:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in found.skipped)
        raise ShardIndexError(
            f"{folder}: no complete shard to index{reasons or ', no tar at all'}; write shards with "
            f"`wdstream make-shards`, or run `wdstream index {folder}` over tars of others"
        )
    refuse_duplicates(folder, found.entries, found.hashes, load)
    held_out = documents.finish()
    catalog = found.catalog(documents.rule, read_map(folder), "" if tars is None else tars.address)
    notes = before.changes(catalog)
    is_new = not before.is_current(catalog)
    rows = None if documents.rule is None else documents.column
    if is_new:
        catalog = write_index(folder, catalog, found.metadata, before.kept(catalog), load, held_out=rows)
    else:
        before.without_damaged_tokens()
        catalog = write_split(folder, documents.rule, rows)
    if catalog.field_map and _stored_map(folder) != catalog.field_map:
        write_file(folder / INDEX_FOLDER / MAP_FILE, f"{catalog.field_map}\n".encode())
    return IndexReport(
        folder=folder,
        catalog=catalog,
        skipped=tuple(found.skipped),
        failures=tuple(found.failures),
        notes=(*notes, *before.notes),
        held_out=held_out,
        is_new=is_new,
    )


class _FoundShards:
    """What the shards of a folder hold, as they are read."""

    def __init__(self) -> None:
        self.entries: list[ShardEntry] = []
        self.hashes: list[NDArray[np.uint64]] = []
        self.skipped: list[tuple[str, str]] = []
        self.failures: list[tuple[str, SampleFailure]] = []
        self.metadata = MetadataMerge()
        self._num_images = 0

    def read(self, name: str, load: LoadMeta, documents: DocumentTable) -> None:
        """Take in a shard, or the reason why it is skipped."""
        try:
            meta = load(name)
        except ShardError as error:
            self.skipped.append((name, str(error).removeprefix(f"{name}: ")))
            return
        self.entries.append(ShardEntry.of(name, meta))
        self.hashes.append(meta.columns["key_hash"])
        self.failures += [(name, failure) for failure in meta.failures]
        self.metadata.add(name, meta.metadata, meta.num_samples)
        documents.add(name, meta)
        self._num_images += meta.num_images

    def catalog(self, split: HoldOutRule | None, field_map: str, tars: str) -> Catalog:
        """Of all of them, without columns."""
        return Catalog(
            shards=tuple(self.entries),
            num_samples=sum(entry.samples for entry in self.entries),
            num_images=self._num_images,
            metadata=self.metadata.listed(),
            split=split,
            field_map=field_map,
            tars=tars,
        )


MAP_FILE = "map.txt"
"""Of an index: the map of its samples, there before the first of them is described by it."""


def read_map(folder: Path) -> str:
    """The map by which the tars of a folder are described, of `index.json`; where that cannot be read, of the copy next
    to it. Empty where there is none."""
    listed = folder / INDEX_FOLDER / INDEX_JSON
    with suppress(FileNotFoundError, NotADirectoryError, ShardIndexError):
        return catalog_from_json(listed.read_bytes(), str(listed), str(folder)).field_map
    return _stored_map(folder)


def _stored_map(folder: Path) -> str:
    path = folder / INDEX_FOLDER / MAP_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def shards_in(folder: Path, tars: TarList | None = None) -> list[str]:
    """Names of tars, sorted; also of those of which only the meta is left, so that the merge reports them."""
    if not folder.is_dir():
        raise ShardIndexError(f"{folder}: no such folder of shards")
    names = {path.name for path in folder.glob("*" + TAR_SUFFIX)} if tars is None else set(tars.sizes)
    names |= {path.name.removesuffix(META_SUFFIX) + TAR_SUFFIX for path in folder.glob("*" + META_SUFFIX)}
    return sorted(names)


def metas_in(folder: Path, tars: TarList | None = None, described_in: Path | None = None) -> LoadMeta:
    """How the meta of a shard is read, which has to fit its tar; see `load_complete`."""

    def load(name: str) -> ShardMeta:
        if tars is not None and name not in tars.sizes:
            raise ShardError(f"{name}: it is not at {tars.at}")
        return load_complete(folder / name, described_in, tar_bytes=None if tars is None else tars.sizes[name])

    return load


def _held(load: LoadMeta) -> LoadMeta:
    """The same, which keeps what it read of the first shards, as far as that is little: it is asked for twice."""
    held: dict[str, ShardMeta] = {}
    num_bytes = 0

    def load_once(name: str) -> ShardMeta:
        nonlocal num_bytes
        if name in held:
            return held[name]
        meta = load(name)
        num_bytes += meta.bytes_in_memory if num_bytes < _MOST_HELD else 0
        if num_bytes < _MOST_HELD:
            held[name] = meta
        return meta

    return load_once


def write_index(
    folder: Path,
    catalog: Catalog,
    metadata: MetadataMerge,
    kept: Mapping[str, ColumnEntry] | None,
    load: LoadMeta,
    *,
    held_out: Column | None = None,
) -> Catalog:
    """Write all columns but those of tokenizers, then `index.json`.

    Args:
        folder: of the shards.
        catalog: of the shards, without columns.
        metadata: that of all shards.
        kept: token columns that stay, of an index of the same shards; None where the index before was of others. That
            one is removed first, with its token columns, so that a kill leaves no index rather than a wrong one.
        load: reads what describes a shard.
        held_out: which rows are, by the catalog's rule; None where it has none.

    Returns:
        The catalog with its columns.

    Raises:
        ShardIndexError: when a shard changes meanwhile.
    """
    index = folder / INDEX_FOLDER
    index.mkdir(exist_ok=True)
    keep_rule(index, catalog.split)  # a kill leaves it where there is no index
    if kept is None:
        (index / INDEX_JSON).unlink(missing_ok=True)
    _remove_others(index, kept or ())
    texts = {name: metadata.texts(name) for name, entry in catalog.metadata.columns.items() if entry.kind == "text"}
    places = {name: {text: place for place, text in enumerate(of_name)} for name, of_name in texts.items()}
    types = {name: dtype for name, (dtype, _) in catalog.column_shapes().items()}
    types |= {metadata_column(name): DTYPES[entry.kind] for name, entry in catalog.metadata.columns.items()}
    types |= {metadata_texts(name): TEXTS_DTYPE for name in texts}
    types |= {} if catalog.split is None else {held_out_column(catalog.split): HELD_OUT_DTYPE}
    with ExitStack() as stack:
        writers = {
            name: ColumnWriter(stack.enter_context(atomic_write(index / f"{name}.npy")), dtype)
            for name, dtype in types.items()
        }
        writers["image_start"].write(np.zeros(1, "<i8"))
        if catalog.split is not None and held_out is not None:
            writers[held_out_column(catalog.split)].write(held_out)
        for name, of_name in texts.items():
            writers[metadata_texts(name)].write(np.frombuffer(json.dumps(of_name).encode(), TEXTS_DTYPE))
        num_images = 0
        for number, entry in enumerate(catalog.shards):
            meta = load(entry.name)
            if meta.digest != entry.digest:
                raise ShardIndexError(f"{folder / entry.name} changed while it was indexed: run `wdstream index` again")
            columns = _columns_of(meta, number, num_images) | _metadata_of(meta, catalog.metadata, places)
            for name, array in columns.items():
                writers[name].write(array)
            num_images += meta.num_images
        entries = {name: writer.finish() for name, writer in writers.items()}
    catalog = catalog.with_columns({**entries, **(kept or {})})
    write_file(index / INDEX_JSON, catalog.to_json())
    remove_other_splits(index, catalog.split)
    return catalog


def _remove_others(index: Path, kept: Collection[str]) -> None:
    """Remove token and metadata columns that are not to stay, or are written again."""
    names = [path.name for path in index.iterdir()]
    for name in (*token_files(names), *metadata_files(names)):
        if name.removesuffix(".npy") not in kept:
            (index / name).unlink(missing_ok=True)


def _columns_of(meta: ShardMeta, number: int, first_image: int) -> dict[str, Column]:
    """The rows of one shard, column by column."""
    columns = {name: meta.columns[name] for name in (*SAMPLE_COLUMNS, *IMAGE_COLUMNS)}
    ends = first_image + np.cumsum(meta.columns["num_images"], dtype="<i8")
    return columns | {"shard": np.full(meta.num_samples, number, "<i4"), "image_start": ends}


def _metadata_of(meta: ShardMeta, metadata: MetadataList, places: Mapping[str, Mapping[str, int]]) -> dict[str, Column]:
    """The rows of one shard in the columns of metadata; `places` are those of each column's texts."""
    found: dict[str, Column] = {}
    for name, entry in metadata.columns.items():
        assert meta.metadata is not None, "where the metadata of one shard was not read, nothing is listed"
        found[metadata_column(name)] = values_in(
            meta.metadata, name, entry.kind, num_samples=meta.num_samples, places=places.get(name, {})
        )
    return found


def write_left_out(report: IndexReport) -> None:
    """Write the list of what the index leaves out, or remove that of an index before."""
    path = report.folder / INDEX_FOLDER / LEFT_OUT
    lines: list[dict[str, object]] = [{"shard": name, "key": None, "reason": reason} for name, reason in report.skipped]
    lines += [{"shard": shard, "key": bad.key, "reason": bad.reason} for shard, bad in report.failures]
    if lines:
        write_lines(path, lines)
    else:
        path.unlink(missing_ok=True)
