"""`index/index.json`: which shards, which columns, and what the columns' files must hold.

index/index.json                         written last: an index without it is not there
index/<column>.npy                       one array per column; s shards, n samples, m images

Of one tokenizer, written any time. Paragraphs are what `overlength: split` cuts by; they are counted only where that
was asked for (make_shards/token_counts.py says why):

index/tokens.<fingerprint>.npy           int32 (n,), tokens of each sample's text
index/supervised.<fingerprint>.npy       int32 (n,), how many of them are supervised; not listed where all are
index/paragraphs.<fingerprint>.npy       int32 (paragraphs,), tokens of each paragraph by itself, row after row
index/paragraph_start.<fingerprint>.npy  int64 (n + 1,), where each row's paragraphs begin in it

Of the metadata of pages (metadata.py):

index/metadata.<name>.npy                (n,), uint8, int64, float64, or int32 numbers of texts
index/metadata.<name>.text.npy           uint8, a JSON list of these texts

Where pages are held out (plan/held_out.py). The name is that of the rule, so that another rule's column is never
taken for it, and index.json goes from one to the other at once:

index/held_out.<fingerprint>.npy         uint8 (n,), 1 for a page that is held out
index/split.json                         the rule again: what is known while there is no index.json, or a damaged one

`index.json` lists every column with its type, length, digest and a checksum per block of entries. A column that is
listed must be there and be what was written; one that is not listed is not there, whatever files there are.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wdstream.errors import AbsentFileError, ShardIndexError, load_json
from wdstream.plan.held_out import HoldOutRule
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, DType, ShardEntry
from wdstream.shards.metadata import DTYPES, TEXTS_DTYPE, MetadataEntry, MetadataList

INDEX_FOLDER = "index"
INDEX_JSON = "index.json"
SPLIT_JSON = "split.json"
INDEX_VERSION = 2
"""Of index.json. Version 1 listed the shards alone."""
SHARD_DTYPE = np.dtype("<i4")
IMAGE_START_DTYPE = np.dtype("<i8")
TOKEN_DTYPE = np.dtype("<i4")
PARAGRAPH_START_DTYPE = np.dtype("<i8")
HELD_OUT_DTYPE = np.dtype("u1")
_CONTENT_VERSION = 1
"""Part of the fingerprint, which states of runs carry: raised when the same shards would give other rows."""
_NO_METADATA = MetadataList()
_FINGERPRINT = re.compile(r"[0-9a-f]{8,128}")

TokenColumn = Literal["tokens", "supervised", "paragraphs", "paragraph_start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEntry:
    """What `index.json` says of one column.

    Attributes:
        dtype: numpy's text for it, such as "<i4".
        length: entries of its array.
        digest: 32 hexadecimal digits over type and entries; part of the fingerprints of a plan that reads it.
        checks: zlib crc32 of each block of entries (column_files.BLOCK), 8 hexadecimal digits each, in order.
    """

    dtype: str
    length: int
    digest: str
    checks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What `index.json` says.

    Attributes:
        shards: in order of their names, which is the order of the rows.
        num_samples: n.
        num_images: m.
        columns: by name, which is that of the file without `.npy`.
        metadata: which metadata of the pages are columns.
        split: the rule by which pages are held out; None where none are.
        field_map: which part of a sample is what, as text; empty where none was given.
        tars: folder or URL of the tars; empty where they are next to the index. Not part of the fingerprint.
    """

    shards: tuple[ShardEntry, ...]
    num_samples: int
    num_images: int
    columns: Mapping[str, ColumnEntry] = field(default_factory=dict)
    metadata: MetadataList = _NO_METADATA
    split: HoldOutRule | None = None
    field_map: str = ""
    tars: str = ""

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the content: names and digests of the shards, not where they are."""
        digest = hashlib.blake2b(f"index {_CONTENT_VERSION}".encode(), digest_size=16)
        for shard in self.shards:
            digest.update(f"\n{shard.digest} {shard.name}".encode())
        if self.field_map:
            digest.update(f"\nmap {self.field_map}".encode())
        return digest.hexdigest()

    def column_shapes(self) -> dict[str, tuple[DType, int]]:
        """Type and length of each column that every index has.

        `shard` is the number of a sample's shard, `image_start` its first image.
        """
        samples = {name: (dtype, self.num_samples) for name, dtype in SAMPLE_COLUMNS.items()}
        images = {name: (dtype, self.num_images) for name, dtype in IMAGE_COLUMNS.items()}
        images["shard"] = SHARD_DTYPE, self.num_samples
        images["image_start"] = IMAGE_START_DTYPE, self.num_samples + 1
        return samples | images

    def token_fingerprints(self) -> list[str]:
        """The tokenizers whose tokens are listed, sorted."""
        return sorted(name.partition(".")[2] for name in self.columns if name.startswith("tokens."))

    def with_columns(self, changes: Mapping[str, ColumnEntry | None]) -> "Catalog":
        """This catalog with columns listed, or, with None, not listed."""
        merged = {**self.columns, **changes}
        return replace(self, columns={name: entry for name, entry in sorted(merged.items()) if entry is not None})

    def to_json(self) -> bytes:
        """The bytes of `index.json`."""
        value: dict[str, Any] = {
            "schema_version": INDEX_VERSION,
            "fingerprint": self.fingerprint,
            "num_samples": self.num_samples,
            "num_images": self.num_images,
            "shards": [asdict(shard) for shard in self.shards],
            "columns": {name: asdict(self.columns[name]) for name in sorted(self.columns)},
            "metadata": asdict(self.metadata),
        }
        if self.split is not None:  # an index without one is as it always was
            value["split"] = self.split.to_json()
        value |= {"field_map": self.field_map} if self.field_map else {}
        value |= {"tars": self.tars} if self.tars else {}
        return json.dumps(value | {"digest": _digest(value)}, indent=1).encode() + b"\n"


class OldIndexError(ShardIndexError):
    """The index is of version 1, which lists no columns.

    Attributes:
        catalog: what it says of the shards.
    """

    def __init__(self, message: str, catalog: Catalog) -> None:
        super().__init__(message)
        self.catalog = catalog


def catalog_from_json(data: bytes, where: str, folder: str) -> Catalog:
    """Read `index.json`.

    Args:
        data: its bytes.
        where: they come from, for messages.
        folder: of the shards, or a URL, for messages.

    Raises:
        OldIndexError: it is of version 1.
        ShardIndexError: when it is damaged or of another version.
    """
    if is_read_only(folder):
        advice = f"copy {INDEX_FOLDER}/ again from the folder that it was written to"
    else:
        advice = f"build it again from the shards with `wdstream index {folder}`"
    try:
        value = load_json(data)
        version = value["schema_version"]
        if version not in (1, INDEX_VERSION):
            raise ShardIndexError(f"{where}: schema version {version}, this program reads {INDEX_VERSION}; {advice}")
        catalog = _catalog(value)
        if catalog.fingerprint != value["fingerprint"]:
            raise ShardIndexError(
                f"{where}: its fingerprint is {value['fingerprint']}, its shards give {catalog.fingerprint}; {advice}"
            )
        if sum(shard.samples for shard in catalog.shards) != catalog.num_samples:
            raise ShardIndexError(f"{where}: its shards do not add up to {catalog.num_samples} samples; {advice}")
        if version == 1:
            raise OldIndexError(
                f"{where} is of an earlier wdstream and lists no digests of its columns, so that damage would not be "
                f"seen: run `wdstream index {folder}`, which takes seconds and keeps the token counts (of a copy on a "
                "web server: run it on the folder that was copied, and copy its index again)",
                catalog,
            )
        digest = value.pop("digest")
        if digest != _digest(value):
            raise ShardIndexError(f"{where} is damaged: its digest is {digest}, {_digest(value)} found; {advice}")
        _check_shapes(catalog, where, advice)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardIndexError(f"{where} is damaged: {error!r}; {advice}") from error
    return catalog


def _catalog(value: Mapping[str, Any]) -> Catalog:
    """A catalog from the JSON object, of any version."""
    return Catalog(
        shards=tuple(ShardEntry(**entry) for entry in value["shards"]),
        num_samples=int(value["num_samples"]),
        num_images=int(value["num_images"]),
        columns={str(name): ColumnEntry(**entry) for name, entry in value.get("columns", {}).items()},
        metadata=_metadata(value.get("metadata", {"columns": {}, "left_out": {}, "unread": len(value["shards"])})),
        split=HoldOutRule.from_json(value["split"]) if "split" in value else None,
        field_map=str(value.get("field_map", "")),
        tars=str(value.get("tars", "")),
    )


def _metadata(value: Mapping[str, Any]) -> MetadataList:
    """The list of metadata; an index that has none was made of shards whose metadata was not read."""
    return MetadataList(
        columns={str(name): MetadataEntry(**entry) for name, entry in value["columns"].items()},
        left_out={str(name): str(reason) for name, reason in value["left_out"].items()},
        unread=int(value["unread"]),
    )


def _check_shapes(catalog: Catalog, where: str, advice: str) -> None:
    """Columns that every index has are listed, others with those they belong to; all of their type and length."""
    wanted = catalog.column_shapes()
    if catalog.split is not None:
        wanted[held_out_column(catalog.split)] = HELD_OUT_DTYPE, catalog.num_samples
    for name, metadata in catalog.metadata.columns.items():
        wanted[metadata_column(name)] = DTYPES[metadata.kind], catalog.num_samples
        if metadata.kind == "text":
            texts = catalog.columns.get(metadata_texts(name))
            wanted[metadata_texts(name)] = TEXTS_DTYPE, 0 if texts is None else texts.length
    for name in catalog.columns:
        kind, _, fingerprint = name.partition(".")
        if kind in ("tokens", "supervised"):
            wanted |= dict.fromkeys((name, f"tokens.{fingerprint}"), (TOKEN_DTYPE, catalog.num_samples))
        elif kind == "paragraph_start":
            wanted[name] = PARAGRAPH_START_DTYPE, catalog.num_samples + 1
            tokens = catalog.columns.get(f"paragraphs.{fingerprint}")
            wanted[f"paragraphs.{fingerprint}"] = TOKEN_DTYPE, 0 if tokens is None else tokens.length
    for name, (dtype, length) in wanted.items():
        entry = catalog.columns.get(name)
        if entry is None:
            raise ShardIndexError(f"{where} does not list the column {name}; {advice}")
        if (entry.dtype, entry.length) != (dtype.str, length):
            raise ShardIndexError(
                f"{where}: the column {name} is {entry.dtype} of length {entry.length}, {dtype.str} of length "
                f"{length} expected; {advice}"
            )


def is_read_only(address: str) -> bool:
    """Whether nothing can be written at an address: that of a web server."""
    return address.startswith(("http://", "https://"))


def how_to_index(address: str) -> str:
    """What to do where there is no index at an address, in words that are right for it."""
    if is_read_only(address):
        return f"run `wdstream index {address} --out FOLDER_OR_URL`, and give that folder or URL in its place"
    copied = ", or copy index/, too, where the tars were copied from a folder with one" if "://" in address else ""
    return f"run `wdstream index {address}`{copied}"


def absent_tar(error: AbsentFileError, catalog: Catalog, place: Path | str) -> AbsentFileError:
    """That a tar of the index at `place` is not there, and what to do; tars that are elsewhere may have moved."""
    moved = f"; if they moved: `wdstream index NEW --out {place}`"
    where = f". The index says that its tars are at {catalog.tars}{moved}" if catalog.tars else ""
    return AbsentFileError(
        f"{error}, though the index lists it: bring it back from a copy, or make it again with `wdstream make-shards`"
        f"{where}"
    )


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def held_out_column(rule: HoldOutRule) -> str:
    """The column that says which pages this rule holds out."""
    return f"held_out.{rule.fingerprint}"


def metadata_column(name: str) -> str:
    """The column of metadata of this name."""
    return f"metadata.{name}"


def metadata_texts(name: str) -> str:
    """The column of the bytes of its texts: a JSON list."""
    return f"metadata.{name}.text"


def token_column(fingerprint: str, column: TokenColumn = "tokens") -> str:
    """The name of one of the columns of a tokenizer.

    Raises:
        ShardIndexError: when `fingerprint` is not lower-case hexadecimal.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ShardIndexError(
            f"the tokenizer fingerprint {fingerprint!r} is not 8 to 128 lower-case hexadecimal digits"
        )
    return f"{column}.{fingerprint}"


def token_file(fingerprint: str, column: TokenColumn = "tokens") -> str:
    """The file name of one of the columns of a tokenizer."""
    return token_column(fingerprint, column) + ".npy"


def token_files(names: Sequence[str]) -> list[str]:
    """The token columns among these files of an index, sorted."""
    pattern = re.compile(rf"(tokens|supervised|paragraphs|paragraph_start)\.({_FINGERPRINT.pattern})\.npy")
    return sorted(name for name in names if pattern.fullmatch(name))


def held_out_files(names: Sequence[str]) -> list[str]:
    """The columns of what is held out among these files of an index, sorted; rules before may have left one."""
    return sorted(name for name in names if name.startswith("held_out.") and name.endswith(".npy"))


def metadata_files(names: Sequence[str]) -> list[str]:
    """The columns of metadata among these files of an index, sorted."""
    return sorted(name for name in names if name.startswith("metadata.") and name.endswith(".npy"))
