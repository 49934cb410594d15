"""`index/`: its files, `index.json`, which says what they hold; reading them, and writing the columns of a tokenizer.

index/index.json                         written last: an index without it is not there
index/<column>.npy                       one array per column, mapped into memory; s shards, n samples, m images

Of one tokenizer, written any time. Paragraphs are what `overlength: split` cuts by; they are counted only where that
was asked for (make_shards/token_counts.py says why):

index/tokens.<fingerprint>.npy           int32 (n,), tokens of each sample's text
index/supervised.<fingerprint>.npy       int32 (n,), how many of them are supervised; absent where all are
index/paragraphs.<fingerprint>.npy       int32 (paragraphs,), tokens of each paragraph by itself, row after row
index/paragraph_start.<fingerprint>.npy  int64 (n + 1,), where each row's paragraphs begin in it; written last

A row that is not to be split has no paragraphs. Datasets have tens of millions of paragraphs, so they go to the file as
they come.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, SCHEMA_VERSION, Column, DType, ShardEntry
from wdstream.storage.atomic import atomic_write
from wdstream.storage.remote import open_storage

INDEX_FOLDER = "index"
INDEX_JSON = "index.json"
SHARD_DTYPE = np.dtype("<i4")
IMAGE_START_DTYPE = np.dtype("<i8")
TOKEN_DTYPE = np.dtype("<i4")
PARAGRAPH_START_DTYPE = np.dtype("<i8")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,128}")
_REMEDY = "remove the folder index and run `wdstream index`"

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What `index.json` says.

    Attributes:
        shards: in order of their names, which is the order of the rows.
        num_samples: n.
        num_images: m.
    """

    shards: tuple[ShardEntry, ...]
    num_samples: int
    num_images: int

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the content: names and digests of the shards, not where they are."""
        digest = hashlib.blake2b(f"index {SCHEMA_VERSION}".encode(), digest_size=16)
        for shard in self.shards:
            digest.update(f"\n{shard.digest} {shard.name}".encode())
        return digest.hexdigest()

    def column_shapes(self) -> dict[str, tuple[DType, int]]:
        """Every column's type and length. `shard` is the number of a sample's shard, `image_start` its first image."""
        samples = {name: (dtype, self.num_samples) for name, dtype in SAMPLE_COLUMNS.items()}
        images = {name: (dtype, self.num_images) for name, dtype in IMAGE_COLUMNS.items()}
        images["shard"] = SHARD_DTYPE, self.num_samples
        images["image_start"] = IMAGE_START_DTYPE, self.num_samples + 1
        return samples | images

    def to_json(self) -> bytes:
        """The bytes of `index.json`."""
        value = {
            "schema_version": SCHEMA_VERSION,
            "fingerprint": self.fingerprint,
            "num_samples": self.num_samples,
            "num_images": self.num_images,
            "shards": [asdict(shard) for shard in self.shards],
        }
        return json.dumps(value, indent=1).encode() + b"\n"


def catalog_from_json(data: bytes, where: str) -> Catalog:
    """Read `index.json`.

    Args:
        data: its bytes.
        where: they come from, for messages.

    Raises:
        ShardIndexError: when it is damaged or of another schema version.
    """
    advice = "build it again with `wdstream index`"
    try:
        value = json.loads(data)
        version = value["schema_version"]
        if version != SCHEMA_VERSION:
            raise ShardIndexError(f"{where}: schema version {version}, this program reads {SCHEMA_VERSION}; {advice}")
        catalog = Catalog(
            shards=tuple(ShardEntry(**entry) for entry in value["shards"]),
            num_samples=int(value["num_samples"]),
            num_images=int(value["num_images"]),
        )
        if catalog.fingerprint != value["fingerprint"]:
            raise ShardIndexError(
                f"{where}: its fingerprint is {value['fingerprint']}, its shards give {catalog.fingerprint}; {advice}"
            )
        if sum(shard.samples for shard in catalog.shards) != catalog.num_samples:
            raise ShardIndexError(f"{where}: its shards do not add up to {catalog.num_samples} samples; {advice}")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardIndexError(f"{where} is damaged: {error!r}; {advice}") from error
    return catalog


TokenColumn = Literal["tokens", "supervised", "paragraphs", "paragraph_start"]


def token_file(fingerprint: str, column: TokenColumn = "tokens") -> str:
    """The file name of one of the columns of a tokenizer.

    Raises:
        ShardIndexError: when `fingerprint` is not lower-case hexadecimal.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ShardIndexError(
            f"the tokenizer fingerprint {fingerprint!r} is not 8 to 128 lower-case hexadecimal digits"
        )
    return f"{column}.{fingerprint}.npy"


def token_fingerprints(names: Sequence[str]) -> list[str]:
    """The tokenizers whose columns are among these files of an index, sorted."""
    matches = (re.fullmatch(r"tokens\.([0-9a-f]{8,128})\.npy", name) for name in names)
    return sorted(match[1] for match in matches if match)


class IndexFiles:
    """The index at `path`, a folder of shards or a URL: folders are mapped into memory, what is at a URL is held in it.

    Attributes:
        storage: the folder or URL, for what is next to the index.
        catalog: what `index.json` says.

    Raises:
        ShardIndexError: there is no `index.json`, or it is damaged or of another schema version.
    """

    def __init__(self, path: Path | str) -> None:
        self.storage = open_storage(path)
        self._path = path
        try:
            data = self.storage.read_file(f"{INDEX_FOLDER}/{INDEX_JSON}")
        except ShardError as error:
            raise ShardIndexError(f"{path} has no {INDEX_FOLDER}/{INDEX_JSON}: run `wdstream index {path}`") from error
        self.catalog = catalog_from_json(data, f"{path}/{INDEX_FOLDER}/{INDEX_JSON}")

    def columns(self) -> dict[str, Column]:
        """All columns that do not depend on a tokenizer.

        Raises:
            ShardIndexError: one is missing, damaged, or of another type or length than the catalog says.
        """
        columns = {}
        for name, (dtype, length) in self.catalog.column_shapes().items():
            column = self._column(f"{name}.npy", dtype, length)
            if column is None:
                raise ShardIndexError(f"{name}.npy of the index is missing: {_REMEDY}")
            columns[name] = column
        return columns

    def tokens(self, fingerprint: str) -> NDArray[np.int32]:
        """The token column of one tokenizer, int32 (n,).

        Raises:
            ShardIndexError: there is none, with those there are; or it is damaged or of another index.
        """
        column = self._column(token_file(fingerprint), TOKEN_DTYPE, self.catalog.num_samples)
        if column is None:
            raise ShardIndexError(
                f"{self._path}: no token counts of the tokenizer with fingerprint {fingerprint}; counted are: "
                f"{', '.join(self._fingerprints()) or 'none'}. Run `wdstream lengths {self._path} --tokenizer PATH` "
                "with the model's folder for PATH"
            )
        return column

    def supervised(self, fingerprint: str) -> NDArray[np.int32] | None:
        """The column of supervised tokens of one tokenizer, int32 (n,); None where all tokens of text are supervised.

        Raises:
            ShardIndexError: it is damaged or of another index.
        """
        return self._column(token_file(fingerprint, "supervised"), TOKEN_DTYPE, self.catalog.num_samples)

    def paragraphs(self, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Where each row's paragraphs begin, int64 (n + 1,), and the tokens of each paragraph under one tokenizer,
        int32.

        Raises:
            ShardIndexError: there are none, since they are counted only when asked for; or they are damaged.
        """
        starts = self._column(
            token_file(fingerprint, "paragraph_start"), PARAGRAPH_START_DTYPE, self.catalog.num_samples + 1
        )
        if starts is None:
            raise ShardIndexError(
                f"{self._path}: overlength 'split' needs the tokens of paragraphs, which are not counted for the "
                f"tokenizer with fingerprint {fingerprint}. Run `wdstream lengths {self._path} --tokenizer PATH "
                "--paragraphs` with the model's folder for PATH"
            )
        tokens_name = token_file(fingerprint, "paragraphs")
        tokens = self._column(tokens_name, TOKEN_DTYPE, int(starts[-1]))
        if tokens is None:
            raise ShardIndexError(f"{tokens_name} of the index is missing: {_REMEDY}")
        return starts, tokens

    def _fingerprints(self) -> list[str]:
        """The tokenizers whose columns are there, as far as the storage lists its files."""
        try:
            return token_fingerprints(self.storage.names(INDEX_FOLDER))
        except ShardError:
            return []

    def _column(self, name: str, dtype: np.dtype[Scalar], length: int) -> NDArray[Scalar] | None:
        """The array of one file, None when it cannot be had; refused when it is not what is expected."""
        try:
            array = self._load(f"{INDEX_FOLDER}/{name}")
        except (ValueError, EOFError, OSError) as error:
            raise ShardIndexError(f"{name} of the index is damaged: {error}; {_REMEDY}") from error
        if array is not None and (array.dtype != dtype or array.shape != (length,)):
            raise ShardIndexError(
                f"{name} of the index is {array.dtype} of shape {array.shape}, {dtype} of shape ({length},) expected: "
                f"it belongs to another index; {_REMEDY}"
            )
        return array

    def _load(self, name: str) -> Column | None:
        path = self.storage.mappable(name)
        if path is not None:
            # a plain view: numpy's memmap class costs a microsecond more at every element
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        try:
            data = self.storage.read_file(name)
        except ShardError:
            return None
        array: Column = np.load(io.BytesIO(data), allow_pickle=False)
        return array


class ParagraphWriter:
    """Takes the rows of an index, in order."""

    def __init__(self, file: BinaryIO) -> None:
        """Used by `write_paragraphs`."""
        self._file = file
        self._counts: list[NDArray[np.int64]] = []
        self._write_header(0)

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        """Tokens of each paragraph of the next rows; an empty sequence for a row that is not to be split.

        Raises:
            ShardIndexError: a paragraph has more tokens than a column holds.
        """
        tokens = np.array([count for row in rows for count in row], dtype=np.int64)
        _check_range(tokens, "paragraphs")
        self._file.write(tokens.astype(TOKEN_DTYPE).tobytes())
        self._counts.append(np.array([len(row) for row in rows], dtype=PARAGRAPH_START_DTYPE))

    def starts(self) -> NDArray[np.int64]:
        """End the file, and return where each row begins in it: int64 (rows + 1,)."""
        starts: NDArray[np.int64] = np.concatenate([np.zeros(1, PARAGRAPH_START_DTYPE), *self._counts]).cumsum()
        self._file.seek(0)
        self._write_header(int(starts[-1]))
        return starts

    def _write_header(self, length: int) -> None:
        """The format leaves room for a longer number, so the header can be written again over itself."""
        header = {"descr": TOKEN_DTYPE.str, "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_paragraphs(folder: Path, fingerprint: str) -> Iterator[ParagraphWriter]:
    """Write both files of a tokenizer into the index of `folder`; complete at the end of the block, or not at all."""
    index = folder / INDEX_FOLDER
    tokens, starts = index / token_file(fingerprint, "paragraphs"), index / token_file(fingerprint, "paragraph_start")
    with atomic_write(tokens) as file:
        writer = ParagraphWriter(file)
        yield writer
        begins = writer.starts()
        starts.unlink(missing_ok=True)  # of a column that this one takes the place of
    with atomic_write(starts) as file:
        np.save(file, begins, allow_pickle=False)


def write_token_column(folder: Path, fingerprint: str, counts: ArrayLike, supervised: ArrayLike | None = None) -> Path:
    """Write the tokens of each sample's text for one tokenizer, next to the other columns.

    Args:
        folder: a folder of shards with an index.
        fingerprint: the tokenizer's, lower-case hexadecimal.
        counts: (n,) tokens of each row's text segments, row by row.
        supervised: (n,) how many of them are supervised (`Shards.supervised`); None means all, and needs no column.

    Returns:
        The file written.

    Raises:
        ShardIndexError: when there is no index, or `counts` does not fit it.
    """
    catalog = IndexFiles(folder).catalog
    index = folder / INDEX_FOLDER
    path, supervised_path = index / token_file(fingerprint), index / token_file(fingerprint, "supervised")
    if supervised is None:
        supervised_path.unlink(missing_ok=True)
    else:
        _write_counts(supervised_path, supervised, catalog, folder)
    return _write_counts(path, counts, catalog, folder)


def _write_counts(path: Path, counts: ArrayLike, catalog: Catalog, folder: Path) -> Path:
    """Write a column of one count per sample."""
    values = np.asarray(counts)
    if values.shape != (catalog.num_samples,) or not np.issubdtype(values.dtype, np.integer):
        raise ShardIndexError(
            f"token counts are {values.dtype} of shape {values.shape}; integers of shape ({catalog.num_samples},) "
            f"expected, one per sample of {folder}"
        )
    _check_range(values, "samples")
    with atomic_write(path) as file:
        np.save(file, values.astype(TOKEN_DTYPE), allow_pickle=False)
    return path


def _check_range(counts: NDArray[np.int64], what: str) -> None:
    if len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) <= np.iinfo(TOKEN_DTYPE).max:
        raise ShardIndexError(f"{what} of {counts.min()} to {counts.max()} tokens do not fit a column of tokens")
