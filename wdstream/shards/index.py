"""Building `index/`: one array per column over all shards of a folder, so that a plan needs no other file.

Tars of others are described first (tar_folder.py). Then the meta of all shards is merged: no key twice, one `.npy` per
column.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    Catalog,
    ColumnEntry,
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
from wdstream.storage.atomic import atomic_write, write_file

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
        is_new: False when the index was up to date and nothing was written.
    """

    folder: Path
    catalog: Catalog
    skipped: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, SampleFailure], ...]
    notes: tuple[str, ...] = ()
    is_new: bool

    def print(self, console: Console) -> None:
        """Write a summary, and a line for everything left out."""
        catalog = self.catalog
        gigabytes = sum(shard.bytes for shard in catalog.shards) / 1e9
        state = "written" if self.is_new else "already up to date"
        console.print(
            f"index of {self.folder} {state}: {len(catalog.shards):,} shards, {catalog.num_samples:,} samples, "
            f"{catalog.num_images:,} images, {gigabytes:,.3f} GB, fingerprint {catalog.fingerprint}",
            highlight=False,
        )
        for line in self.remarks():
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for name, reason in self.skipped:
            console.print(f"skipped {name}: {reason}", markup=False, highlight=False)
        for shard, failure in self.failures:
            console.print(f"left out of {shard}: {failure.key}: {failure.reason}", markup=False, highlight=False)

    def remarks(self) -> Iterator[str]:
        """Lines on which metadata are columns and why others did not become one, and `notes`."""
        metadata = self.catalog.metadata
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
                f"earlier wdstream; `wdstream index {self.folder} --rebuild` reads them"
            )
        yield from self.notes


def merge_index(folder: Path) -> IndexReport:
    """Make `folder/index/` from the complete shards in `folder`: tar, idx and meta there and fitting each other.

    An index that is up to date stays as it is. One of the same shards that is damaged, or of an earlier version, is
    written again over itself, and keeps the token columns that are whole. Otherwise `index.json` is removed first and
    written last: a kill leaves no index rather than a wrong one, and running again ends in the same bytes.

    Raises:
        ShardIndexError: when there is no complete shard.
        ShardError: when two samples have one key.
    """
    entries: list[ShardEntry] = []
    hashes: list[NDArray[np.uint64]] = []
    skipped: list[tuple[str, str]] = []
    failures: list[tuple[str, SampleFailure]] = []
    metadata = MetadataMerge()
    num_images = 0
    for tar in shards_in(folder):
        try:
            meta = load_complete(tar)
        except ShardError as error:
            skipped.append((tar.name, str(error)))
            continue
        entries.append(ShardEntry.of(tar.name, meta))
        hashes.append(meta.columns["key_hash"])
        failures += [(tar.name, failure) for failure in meta.failures]
        metadata.add(tar.name, meta.metadata, meta.num_samples)
        num_images += meta.num_images
    if not entries:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skipped)
        raise ShardIndexError(
            f"{folder}: no complete shard to index{reasons or ', no tar at all'}; write shards with "
            f"`wdstream make-shards`, or run `wdstream index {folder}` over tars of others"
        )
    refuse_duplicates(folder, entries, hashes)
    num_samples = sum(entry.samples for entry in entries)
    catalog = Catalog(shards=tuple(entries), num_samples=num_samples, num_images=num_images, metadata=metadata.listed())
    before = IndexBefore.read(folder)
    notes = before.changes(catalog)
    is_new = not before.is_current(catalog)
    catalog = (
        write_index(folder, catalog, metadata, before.kept(catalog)) if is_new else before.without_damaged_tokens()
    )
    return IndexReport(
        folder=folder,
        catalog=catalog,
        skipped=tuple(skipped),
        failures=tuple(failures),
        notes=(*notes, *before.notes),
        is_new=is_new,
    )


def shards_in(folder: Path) -> list[Path]:
    """Tars by name, also those of which only the meta is left, so that the merge reports them."""
    if not folder.is_dir():
        raise ShardIndexError(f"{folder}: no such folder of shards")
    names = {path.name for path in folder.glob("*" + TAR_SUFFIX)}
    names |= {path.name.removesuffix(META_SUFFIX) + TAR_SUFFIX for path in folder.glob("*" + META_SUFFIX)}
    return [folder / name for name in sorted(names)]


def write_index(
    folder: Path, catalog: Catalog, metadata: MetadataMerge, kept: Mapping[str, ColumnEntry] | None
) -> Catalog:
    """Write all columns but those of tokenizers, then `index.json`.

    Args:
        folder: of the shards.
        catalog: of the shards, without columns.
        metadata: that of all shards.
        kept: token columns that stay, of an index of the same shards; None where the index before was of others. That
            one is removed first, with its token columns, so that a kill leaves no index rather than a wrong one.

    Returns:
        The catalog with its columns.

    Raises:
        ShardIndexError: when a shard changes meanwhile.
    """
    index = folder / INDEX_FOLDER
    index.mkdir(exist_ok=True)
    if kept is None:
        (index / INDEX_JSON).unlink(missing_ok=True)
    _remove_others(index, kept or ())
    texts = {name: metadata.texts(name) for name, entry in catalog.metadata.columns.items() if entry.kind == "text"}
    places = {name: {text: place for place, text in enumerate(of_name)} for name, of_name in texts.items()}
    types = {name: dtype for name, (dtype, _) in catalog.column_shapes().items()}
    types |= {metadata_column(name): DTYPES[entry.kind] for name, entry in catalog.metadata.columns.items()}
    types |= {metadata_texts(name): TEXTS_DTYPE for name in texts}
    with ExitStack() as stack:
        writers = {
            name: ColumnWriter(stack.enter_context(atomic_write(index / f"{name}.npy")), dtype)
            for name, dtype in types.items()
        }
        writers["image_start"].write(np.zeros(1, "<i8"))
        for name, of_name in texts.items():
            writers[metadata_texts(name)].write(np.frombuffer(json.dumps(of_name).encode(), TEXTS_DTYPE))
        num_images = 0
        for number, entry in enumerate(catalog.shards):
            meta = load_complete(folder / entry.name)
            if meta.digest != entry.digest:
                raise ShardIndexError(f"{folder / entry.name} changed while it was indexed: run `wdstream index` again")
            columns = _columns_of(meta, number, num_images) | _metadata_of(meta, catalog.metadata, places)
            for name, array in columns.items():
                writers[name].write(array)
            num_images += meta.num_images
        entries = {name: writer.finish() for name, writer in writers.items()}
    catalog = catalog.with_columns({**entries, **(kept or {})})
    write_file(index / INDEX_JSON, catalog.to_json())
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
