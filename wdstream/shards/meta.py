"""`x.meta.npz` and `x.tar.idx`: what is known of a shard's samples without opening the tar.

n samples, m images over all samples. `x.meta.npz` is a stored (uncompressed) npz; `x.tar.idx` is energon's: n + 1
numbers, unsigned 64-bit little endian, the offset of each sample's first header and that of the end-of-archive block.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError, ShardIndexError, load_json
from wdstream.shards.layout import KEY_RULES, ShardPaths, prefixed_key, split_sample
from wdstream.shards.metadata import TOO_MANY_NAMES, ShardMetadata, absent_of
from wdstream.storage.atomic import atomic_write, write_file
from wdstream.storage.local import read_local
from wdstream.storage.npz import read_npz, write_npz

DType = np.dtype[Any]
Column = NDArray[Any]
"""One array per column of a shard or an index; its type and length are those of the tables below."""

SCHEMA_VERSION = 1
SAMPLE_COLUMNS: dict[str, DType] = {  # one value per sample
    "offset": np.dtype("<i8"),
    "nbytes": np.dtype("<i8"),
    "crc": np.dtype("<u4"),
    "num_images": np.dtype("<i4"),
    "text_bytes": np.dtype("<i4"),
    "text_chars": np.dtype("<i4"),
    "starts_with_text": np.dtype("u1"),
    "key_hash": np.dtype("<u8"),
}
IMAGE_COLUMNS: dict[str, DType] = {"image_width": np.dtype("<i4"), "image_height": np.dtype("<i4")}
_BLOBS: dict[str, DType] = {
    "key_start": np.dtype("<i8"),
    "key_bytes": np.dtype("u1"),
    "failures": np.dtype("u1"),
}
_PER_ARRAY, _PER_TEXT = 130, 60
"""Bytes that an array, and a text, take in memory besides their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFailure:
    """A sample of somebody else's shard that cannot be used: its image or text cannot be read."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMeta:
    """The samples of one shard.

    Attributes:
        tar_bytes: size of the tar.
        columns: the arrays of `SAMPLE_COLUMNS` (n,) and `IMAGE_COLUMNS` (m,): `offset` and `nbytes` give a sample's
            bytes in the tar, `crc` is the zlib crc32 of those, image sizes are those after EXIF rotation,
            `key_hash` is `hash_key` of the key.
        key_start: int64 (n + 1,), where each key starts in `key_bytes`.
        key_bytes: uint8, the keys in UTF-8, one after the other.
        failures: samples left out, of shards written by others.
        metadata: columns of the pages' metadata; None where an earlier wdstream described the shard without.
    """

    tar_bytes: int
    columns: dict[str, Column]
    key_start: NDArray[np.int64]
    key_bytes: NDArray[np.uint8]
    failures: tuple[SampleFailure, ...] = ()
    metadata: ShardMetadata | None = None

    @property
    def num_samples(self) -> int:
        """Samples that can be used."""
        return len(self.key_start) - 1

    @property
    def num_images(self) -> int:
        """Images of all samples."""
        return len(self.columns["image_width"])

    def key(self, sample: int) -> str:
        """The key of sample number `sample` of the shard."""
        return self.key_bytes[self.key_start[sample] : self.key_start[sample + 1]].tobytes().decode("utf-8")

    @property
    def bytes_in_memory(self) -> int:
        """About what it takes: arrays, and texts of metadata, which are objects."""
        metadata = self.metadata or ShardMetadata()
        arrays = [*self._arrays().values(), *(column.values for column in metadata.columns.values())]
        texts = chain(*metadata.left_out.items(), *(column.texts for column in metadata.columns.values()))
        return sum(array.nbytes + _PER_ARRAY for array in arrays) + sum(len(text) + _PER_TEXT for text in texts)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over everything here but metadata: the checksums stand for the tar's content."""
        digest = hashlib.blake2b(f"{SCHEMA_VERSION} {self.tar_bytes} {self.num_samples}".encode(), digest_size=16)
        for name, array in self._arrays().items():
            digest.update(f"{name} {array.dtype.str} {len(array)}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def save(self, path: Path, *, is_last: bool = True) -> None:
        """Write `path` whole or not at all; the same meta gives the same bytes. `is_last`: see `atomic_write`."""
        with atomic_write(path, is_last=is_last) as file:
            self._write(file)

    def is_stored_as(self, data: bytes) -> bool:
        """Whether these are the very bytes that `save` writes: what is not of the arrays counts too."""
        file = io.BytesIO()
        self._write(file)
        return data == file.getvalue()

    def _write(self, file: BinaryIO) -> None:
        header = np.array([SCHEMA_VERSION, self.tar_bytes], "<i8")
        metadata = {} if self.metadata is None else self.metadata.arrays()
        write_npz(file, {"header": header, **self._arrays(), **metadata})

    def _arrays(self) -> dict[str, Column]:
        arrays = {name: self.columns[name] for name in (*SAMPLE_COLUMNS, *IMAGE_COLUMNS)}
        arrays |= {"key_start": self.key_start, "key_bytes": self.key_bytes}
        failures = json.dumps([[failure.key, failure.reason] for failure in self.failures])
        return arrays | {"failures": np.frombuffer(failures.encode(), "u1")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A finished shard: file name, samples, bytes of the tar, digest of its meta."""

    name: str
    samples: int
    bytes: int
    digest: str

    @classmethod
    def of(cls, name: str, meta: ShardMeta) -> "ShardEntry":
        """The entry of the shard `name`."""
        return cls(name=name, samples=meta.num_samples, bytes=meta.tar_bytes, digest=meta.digest)


def field_values(meta: ShardMeta, name: str, tar: str, where: str) -> list[object]:
    """The metadata `name` of each sample of a shard, None where it has none.

    Raises:
        ShardIndexError: the shard was described without metadata, or this name could not be a column; names `tar`,
            and `where` it is.
    """
    if meta.metadata is None:
        raise ShardIndexError(
            f"{where}/{tar}: documents are to go by the metadata {name!r}, and an earlier wdstream described it "
            f"without metadata; `wdstream index {where} --rebuild` reads them"
        )
    left_out = meta.metadata.left_out
    if reason := left_out.get(name, left_out.get(TOO_MANY_NAMES)):
        raise ShardIndexError(f"{where}/{tar}: documents cannot go by the metadata {name!r}: {reason}")
    column = meta.metadata.columns.get(name)
    if column is None:
        return [None] * meta.num_samples
    values = [column.texts[place] for place in column.values] if column.kind == "text" else column.values.tolist()
    return [
        None if absent else value for value, absent in zip(values, absent_of(column.values, column.kind), strict=True)
    ]


def hash_key(key: str) -> int:
    """64-bit hash of a key (blake2b of its UTF-8, little endian), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest(), "little")


def indexed_key(key: str, tar_name: str, key_hash: int) -> str | None:
    """A key that was read from a tar, as the index has it: alone, or with the name of its tar before it.

    None when it is neither, so that the sample is another than the one that was indexed.
    """
    if hash_key(key) == key_hash:
        return key
    key = prefixed_key(tar_name, key)
    return key if hash_key(key) == key_hash else None


def split_indexed(data: bytes, tar_name: str, key_hash: int) -> tuple[str, dict[str, bytes]]:
    """Key and members of a sample's bytes; how the keys of its tar were read is known by the hash of the key.

    Raises:
        ShardError: the bytes are not exactly one sample, or one with another key.
        RowError: a part of it is a link, a device, or far too large.
    """
    found = ""
    for rule in KEY_RULES:
        try:
            found, members = split_sample(data, rule)
        except ShardError:
            if rule == KEY_RULES[-1] and not found:
                raise
            continue
        if key := indexed_key(found, tar_name, key_hash):
            return key, members
    raise ShardError(f"it has the key {found!r}, the index another")


def load_meta(path: Path) -> ShardMeta:
    """Read `x.meta.npz`, trusting nothing in it.

    Raises:
        AbsentFileError, ForbiddenFileError, StorageFailureError: it cannot be read.
        ShardError: it is damaged or of another schema version.
    """
    return parse_meta(read_local(path), str(path), str(path.parent))


def parse_meta(data: bytes, where: str, folder: str) -> ShardMeta:
    """`load_meta` from the bytes of the file; `where` it is, in which `folder`, for messages.

    Raises:
        ShardError: it is damaged or of another schema version.
    """
    try:
        stored = read_npz(data)
        header = stored["header"]
        if header.shape != (2,) or header[0] != SCHEMA_VERSION:
            raise ShardError(f"schema version {header[:1]}, this program reads {SCHEMA_VERSION}")
        wanted = SAMPLE_COLUMNS | IMAGE_COLUMNS | _BLOBS
        arrays = {name: stored[name] for name in wanted}
        extra = {name: stored[name] for name in stored if name.partition(".")[0] == "metadata"}
        for name, dtype in wanted.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != 1:
                raise ShardError(f"column {name} is {arrays[name].dtype}, {dtype} expected")
        meta = _meta_of(int(header[1]), arrays)
        return replace(meta, metadata=ShardMetadata.from_arrays(extra, meta.num_samples)) if extra else meta
    except Exception as error:  # numpy, zipfile and zlib raise whatever their parsing raises
        raise ShardError(
            f"{where}: {error}; `wdstream index {folder}` makes it again if the tar is as it was"
        ) from error


def load_keys(file: Path | BinaryIO, where: str) -> tuple[NDArray[np.int64], bytes]:
    """Of `x.meta.npz` the keys alone: where each starts in the other, int64 (n + 1,), and all of them in UTF-8.

    Args:
        file: it, or its bytes.
        where: it is, for messages.

    Raises:
        ShardError: it is damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            start, blob = stored["key_start"], stored["key_bytes"].tobytes()
        if start.dtype != _BLOBS["key_start"] or start[0] != 0 or (np.diff(start) <= 0).any() or start[-1] != len(blob):
            raise ShardError("the keys are damaged")
        return start, blob
    except Exception as error:  # numpy, zipfile and zlib raise whatever their parsing raises
        raise ShardError(f"{where}: {error}; `wdstream index` makes it again if the tar is as it was") from error


def _meta_of(tar_bytes: int, arrays: dict[str, Column]) -> ShardMeta:
    start, blob = arrays["key_start"], arrays["key_bytes"]
    num_samples = len(start) - 1
    if num_samples < 0 or start[0] != 0 or (np.diff(start) <= 0).any() or start[-1] != len(blob):
        raise ShardError("the keys are damaged")
    if any(len(arrays[name]) != num_samples for name in SAMPLE_COLUMNS):
        raise ShardError(f"columns of different lengths, {num_samples} samples expected")
    ends = arrays["offset"] + arrays["nbytes"]
    in_order = bool((arrays["nbytes"] > 0).all() and (ends[:-1] <= arrays["offset"][1:]).all())
    if num_samples and not (in_order and arrays["offset"][0] >= 0 and ends[-1] <= tar_bytes):
        raise ShardError(f"sample offsets are not rising inside the tar's {tar_bytes} bytes")
    num_images = int(arrays["num_images"].sum(dtype=np.int64))
    for name, least in (("text_bytes", 0), ("text_chars", 0), ("image_width", 1), ("image_height", 1)):
        if len(arrays[name]) and arrays[name].min() < least:
            place = int(np.argmax(arrays[name] < least))
            raise ShardError(f"column {name} holds {arrays[name][place]} in entry {place}, at least {least} expected")
    if (arrays["num_images"] < 0).any() or any(len(arrays[name]) != num_images for name in IMAGE_COLUMNS):
        raise ShardError(f"sizes of {len(arrays['image_width'])} images, {num_images} expected")
    failures = load_json(arrays["failures"].tobytes())
    return ShardMeta(
        tar_bytes=tar_bytes,
        columns={name: arrays[name] for name in (*SAMPLE_COLUMNS, *IMAGE_COLUMNS)},
        key_start=start,
        key_bytes=blob,
        failures=tuple(SampleFailure(key=key, reason=reason) for key, reason in failures),
    )


def idx_of(meta: ShardMeta) -> bytes:
    """What `x.tar.idx` holds of a shard that we wrote, where a sample begins at the end of the one before."""
    offsets, nbytes = meta.columns["offset"], meta.columns["nbytes"]
    return np.append(offsets, offsets[-1:] + nbytes[-1:]).astype("<u8").tobytes()


def save_idx(path: Path, offsets: Sequence[int]) -> None:
    """Write `x.tar.idx`, the samples' offsets and the end of the last; another file of its folder is written next."""
    write_file(path, np.asarray(offsets, "<u8").tobytes(), is_last=False)


def is_complete(tar: Path, digest: str | None = None) -> bool:
    """Whether the three files of a shard are there and belong together; with `digest`, whether they have that one."""
    try:
        meta = load_complete(tar)
    except ShardError:
        return False
    return digest is None or meta.digest == digest


def load_complete(tar: Path, described_in: Path | None = None, *, tar_bytes: int | None = None) -> ShardMeta:
    """The meta of a shard whose three files are there and belong together; see `ShardPaths.of`.

    Args:
        tar: its path.
        described_in: folder of idx and meta.
        tar_bytes: of a tar that is elsewhere, which is not looked for here, and neither is its idx.

    Raises:
        ShardError: saying which file is missing or does not fit.
    """
    paths = ShardPaths.of(tar, described_in)
    needed = (paths.tar, paths.idx, paths.meta) if tar_bytes is None else (paths.meta,)
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        raise ShardError(f"{tar.name}: {' and '.join(missing)} missing")
    meta = load_meta(paths.meta)
    num_bytes = paths.tar.stat().st_size if tar_bytes is None else tar_bytes
    if num_bytes != meta.tar_bytes:
        raise ShardError(f"{tar}: changed or truncated: {meta.tar_bytes} bytes expected, found {num_bytes}")
    if tar_bytes is not None:
        return meta
    starts = np.frombuffer(paths.idx.read_bytes()[: paths.idx.stat().st_size // 8 * 8], "<u8")
    offsets = meta.columns["offset"].astype("<u8")
    if not len(starts) or not (np.array_equal(offsets, starts[:-1]) or np.isin(offsets, starts[:-1]).all()):
        raise ShardError(f"{paths.idx}: does not fit {paths.meta.name}")
    return meta
