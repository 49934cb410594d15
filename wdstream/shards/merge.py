"""The merge itself: no key twice, and one `.npy` a column over all shards."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.atomic import atomic_write
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    INDEX_JSON,
    Catalog,
    ShardEntry,
    paragraph_files,
    supervised_file,
    token_file,
    token_fingerprints,
)
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, ShardMeta, load_complete


def refuse_duplicates(folder: Path, entries: Sequence[ShardEntry], hashes: Sequence[NDArray[np.uint64]]) -> None:
    """Check that keys are unique over all shards; equal hashes are settled by the keys themselves.

    Args:
        folder: where the shards lie.
        entries: the shards.
        hashes: each shard's column `key_hash`.

    Raises:
        ShardError: naming the first key found twice, and both shards.
    """
    everything = np.concatenate(hashes)
    order = np.argsort(everything, kind="stable")
    ranked = everything[order]
    starts = np.cumsum([0] + [entry.samples for entry in entries])
    metas: dict[int, ShardMeta] = {}

    def key_of(row: int) -> tuple[str, str]:
        shard = int(np.searchsorted(starts, row, side="right")) - 1
        if shard not in metas:
            metas[shard] = load_complete(folder / entries[shard].name)
        return metas[shard].key(row - int(starts[shard])), entries[shard].name

    for value in np.unique(ranked[1:][ranked[1:] == ranked[:-1]]):
        first = int(np.searchsorted(ranked, value))
        last = int(np.searchsorted(ranked, value, side="right"))
        seen: dict[str, str] = {}
        for row in order[first:last].tolist():
            key, shard = key_of(row)
            if key in seen:
                raise ShardError(
                    f"the key {key!r} stands in {seen[key]} and in {shard}: keys are unique over all shards of "
                    f"{folder}; rename one, or move one shard away"
                )
            seen[key] = shard


def is_current(index: Path, catalog: Catalog) -> bool:
    """Whether the index there is the one of this catalog, with all its columns."""
    source = index / INDEX_JSON
    if not source.is_file() or source.read_bytes() != catalog.to_json():
        return False
    return all((index / f"{name}.npy").is_file() for name in catalog.column_shapes())


def write_index(folder: Path, catalog: Catalog) -> None:
    """Write all columns, then `index.json`; token columns of the index before are removed.

    Raises:
        ShardIndexError: when a shard changes meanwhile.
    """
    index = folder / INDEX_FOLDER
    index.mkdir(exist_ok=True)
    (index / INDEX_JSON).unlink(missing_ok=True)
    for fingerprint in token_fingerprints([path.name for path in index.iterdir()]):
        (index / token_file(fingerprint)).unlink()  # rows of another index
        for name in (supervised_file(fingerprint), *paragraph_files(fingerprint)):
            (index / name).unlink(missing_ok=True)
    with ExitStack() as stack:
        files = {name: stack.enter_context(atomic_write(index / f"{name}.npy")) for name in catalog.column_shapes()}
        for name, (dtype, length) in catalog.column_shapes().items():
            header = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
            np.lib.format.write_array_header_1_0(files[name], header)
        files["image_start"].write(np.zeros(1, "<i8").tobytes())
        num_images = 0
        for number, entry in enumerate(catalog.shards):
            meta = load_complete(folder / entry.name)
            if meta.digest != entry.digest:
                raise ShardIndexError(f"{folder / entry.name} changed while it was indexed: run `wdstream index` again")
            for name, array in _columns_of(meta, number, num_images).items():
                files[name].write(array.tobytes())
            num_images += meta.num_images
    with atomic_write(index / INDEX_JSON) as file:
        file.write(catalog.to_json())


def _columns_of(meta: ShardMeta, number: int, first_image: int) -> dict[str, NDArray[Any]]:
    """The rows of one shard, column by column."""
    columns = {name: meta.columns[name] for name in (*SAMPLE_COLUMNS, *IMAGE_COLUMNS)}
    ends = first_image + np.cumsum(meta.columns["num_images"], dtype="<i8")
    return columns | {"shard": np.full(meta.num_samples, number, "<i4"), "image_start": ends}
