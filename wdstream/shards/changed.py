"""What is known of shards from before, and how a tar differs from it: indexing again never makes an index of damage.

A shard is known when `index.json` lists it, or when make-shards recorded it. Its tar may be read otherwise than before
(other rules for keys, another version of wdstream) as long as every byte that was described is as it was.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wdstream.errors import ShardError
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON
from wdstream.shards.index_before import IndexBefore
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.layout import META_SUFFIX, TAR_SUFFIX, ShardPaths
from wdstream.shards.meta import SAMPLE_COLUMNS, Column, ShardMeta, hash_key, load_meta
from wdstream.shards.tar_header import ReadAt

_SHOWN_SAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownShards:
    """The shards of a folder that were described before.

    Attributes:
        digests: by file name, those that a shard's meta may have.
        listed: names that the index lists, so that their tars must be there.
    """

    digests: Mapping[str, frozenset[str]]
    listed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, folder: Path, recorded: Mapping[str, str]) -> "KnownShards":
        """What `index.json` lists; where that is damaged, what is next to the tars.

        Args:
            folder: of the shards.
            recorded: digests by file name, of who made the shards.
        """
        catalog = IndexBefore.read(folder).catalog
        digests = {} if catalog is None else {shard.name: shard.digest for shard in catalog.shards}
        listed = frozenset(digests)
        if catalog is None and (folder / INDEX_FOLDER / INDEX_JSON).exists():
            digests = _digests_of_metas(folder)
        names = digests.keys() | recorded.keys()
        return cls(
            digests={name: frozenset(known[name] for known in (digests, recorded) if name in known) for name in names},
            listed=listed,
        )

    def of(self, tar: Path) -> frozenset[str]:
        """The digests that the meta of this tar may have; empty where nothing is known of it."""
        return self.digests.get(tar.name, frozenset())

    def gone(self, there: Collection[str]) -> dict[str, str]:
        """Listed shards whose tar is not among those that are there, with a line on each."""
        return {name: "is not there" for name in sorted(self.listed.difference(there))}


NOTHING_KNOWN = KnownShards(digests={})


def describe_changed(folder: Path, changed: Mapping[str, str]) -> str:
    """The message about shards that are not as they were, by name with what differs."""
    lines = [f"\n  {name}: {line.strip()}" for name in sorted(changed) for line in changed[name].split("\n")]
    return (
        f"{folder}: {len(changed):,} shards are not as they were when they were indexed or made, so the index was left "
        f"as it is:{''.join(lines)}\n"
        "bring the files back from a copy, or make the shards again from their raw files. Only for what somebody "
        "changed on purpose there is --accept-changed, which takes these tars as they are now"
    )


def what_changed(tar: Path, found: ShardMeta, known: Collection[str], read: ReadAt) -> tuple[str, ...]:
    """What of a tar is not as it was described before, a line each; none where every byte is.

    Args:
        tar: its file.
        found: what it is described as now.
        known: digests of what it was described as.
        read: reads its bytes.
    """
    if not known or found.digest in known:
        return ()
    before = _described_before(tar, known)
    if before is None:
        return (f"its content has the digest {found.digest}, {' or '.join(sorted(known))} expected",)
    lines = []
    if found.tar_bytes != before.num_bytes:
        lines.append(f"{before.num_bytes} bytes expected, found {found.tar_bytes}")
    changed = _changed_samples(read, found, before)
    lines += changed[:_SHOWN_SAMPLES]
    if len(changed) > _SHOWN_SAMPLES:
        lines.append(f"and {len(changed) - _SHOWN_SAMPLES:,} more samples")
    return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What a tar was described as: its size, the columns of SAMPLE_COLUMNS of its samples, keys by their hashes."""

    num_bytes: int
    rows: Mapping[str, Column]
    keys: Mapping[int, str]


def _digests_of_metas(folder: Path) -> dict[str, str]:
    digests = {}
    for path in folder.glob("*" + META_SUFFIX):
        try:
            digests[path.name.removesuffix(META_SUFFIX) + TAR_SUFFIX] = load_meta(path).digest
        except ShardError:
            continue
    return digests


def _described_before(tar: Path, known: Collection[str]) -> _Before | None:
    """By the meta next to the tar, or else by the columns of the index; None where both are not what was written."""
    for described_by in (_by_meta, _by_index):
        try:
            before = described_by(tar, known)
        except ShardError:
            continue
        if before is not None:
            return before
    return None


def _by_meta(tar: Path, known: Collection[str]) -> _Before | None:
    meta = load_meta(ShardPaths.of(tar).meta)
    if meta.digest not in known:
        return None
    keys = {hash_key(key): key for key in map(meta.key, range(meta.num_samples))}
    return _Before(num_bytes=meta.tar_bytes, rows=meta.columns, keys=keys)


def _by_index(tar: Path, known: Collection[str]) -> _Before | None:
    files = IndexFiles(tar.parent, opens_columns=False)
    first = 0
    for shard in files.catalog.shards:
        if shard.name == tar.name and shard.digest in known:
            rows = {name: files.column(name)[first : first + shard.samples] for name in SAMPLE_COLUMNS}
            return _Before(num_bytes=shard.bytes, rows=rows, keys={})
        first += shard.samples
    return None


def _changed_samples(read: ReadAt, found: ShardMeta, before: _Before) -> list[str]:
    """A line for each sample whose bytes are not those of before; its name as before, or as it is now."""
    now = {(int(offset), int(nbytes)): int(crc) for offset, nbytes, crc in _ranges(found.columns)}
    names = {hash_key(key): key for key in map(found.key, range(found.num_samples))} | dict(before.keys)
    lines = []
    for row, (offset, nbytes, crc) in enumerate(_ranges(before.rows)):
        found_crc = now.get((offset, nbytes))
        if found_crc is None:  # read otherwise, or not at all
            found_crc = zlib.crc32(read(offset, nbytes))
        if found_crc != crc:
            name = names.get(int(before.rows["key_hash"][row]), f"sample {row}")
            lines.append(
                f"{name}: checksum {crc:08x} expected of {nbytes} bytes at byte {offset}, {found_crc:08x} found"
            )
    return lines


def _ranges(rows: Mapping[str, Column]) -> list[tuple[int, int, int]]:
    """(offset, bytes, checksum) of each sample."""
    columns = (np.asarray(rows[name]).tolist() for name in ("offset", "nbytes", "crc"))
    return list(zip(*columns, strict=True))
