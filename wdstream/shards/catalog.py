"""`index/`: what its files are called, and `index.json`, which says what they hold.

index/index.json                 written last: an index without it is not there
index/<column>.npy               one array a column, to be mapped into memory; s shards, n samples, m images
index/tokens.<fingerprint>.npy   int32 (n,), tokens of each sample's text, one file a tokenizer, written any time
index/supervised.<fingerprint>.npy, paragraphs.<fingerprint>.npy, paragraph_start.<fingerprint>.npy: how many of them
are supervised, and how many each paragraph has, where that was asked for (token_columns.py)
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wdstream.errors import ShardIndexError
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, SCHEMA_VERSION

INDEX_FOLDER = "index"
INDEX_JSON = "index.json"
DERIVED_COLUMNS: dict[str, np.dtype[Any]] = {
    "shard": np.dtype("<i4"),  # (n,) number of the sample's shard
    "image_start": np.dtype("<i8"),  # (n + 1,) first image of each sample in image_width and image_height
}
TOKEN_DTYPE = np.dtype("<i4")
PARAGRAPH_START_DTYPE = np.dtype("<i8")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """A shard in an index: file name, samples, bytes of the tar, digest of its meta."""

    name: str
    samples: int
    bytes: int
    digest: str


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
        """32 hexadecimal digits of the content: names and digests of the shards, not where they lie."""
        digest = hashlib.blake2b(f"index {SCHEMA_VERSION}".encode(), digest_size=16)
        for shard in self.shards:
            digest.update(f"\n{shard.digest} {shard.name}".encode())
        return digest.hexdigest()

    def column_shapes(self) -> dict[str, tuple[np.dtype[Any], int]]:
        """Every column's type and length."""
        samples = {name: (dtype, self.num_samples) for name, dtype in SAMPLE_COLUMNS.items()}
        images = {name: (dtype, self.num_images) for name, dtype in IMAGE_COLUMNS.items()}
        derived = {
            "shard": (DERIVED_COLUMNS["shard"], self.num_samples),
            "image_start": (DERIVED_COLUMNS["image_start"], self.num_samples + 1),
        }
        return samples | images | derived

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


def catalog_from_json(data: bytes, source: str) -> Catalog:
    """Read `index.json`.

    Args:
        data: its bytes.
        source: where they come from, for messages.

    Raises:
        ShardIndexError: when it is damaged or of another schema version.
    """
    advice = "build it anew with `wdstream index`"
    try:
        value = json.loads(data)
        version = value["schema_version"]
        if version != SCHEMA_VERSION:
            raise ShardIndexError(f"{source}: schema version {version}, this program reads {SCHEMA_VERSION}; {advice}")
        catalog = Catalog(
            shards=tuple(ShardEntry(**entry) for entry in value["shards"]),
            num_samples=int(value["num_samples"]),
            num_images=int(value["num_images"]),
        )
        if catalog.fingerprint != value["fingerprint"]:
            raise ShardIndexError(
                f"{source}: its fingerprint is {value['fingerprint']}, its shards give {catalog.fingerprint}; {advice}"
            )
        if sum(shard.samples for shard in catalog.shards) != catalog.num_samples:
            raise ShardIndexError(f"{source}: its shards do not add up to {catalog.num_samples} samples; {advice}")
    except (ValueError, KeyError, TypeError) as error:
        raise ShardIndexError(f"{source} is damaged: {error!r}; {advice}") from error
    return catalog


def token_file(fingerprint: str) -> str:
    """The file name of a tokenizer's column.

    Raises:
        ShardIndexError: when `fingerprint` is not lower-case hexadecimal.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ShardIndexError(
            f"the tokenizer fingerprint {fingerprint!r} is not 8 to 128 lower-case hexadecimal digits"
        )
    return f"tokens.{fingerprint}.npy"


def supervised_file(fingerprint: str) -> str:
    """The file name of the column of supervised tokens under a tokenizer; there is one where not all text is
    supervised."""
    return "supervised." + token_file(fingerprint).removeprefix("tokens.")


def paragraph_files(fingerprint: str) -> tuple[str, str]:
    """The file names of a tokenizer's paragraphs: their tokens, and where each row's begin."""
    ending = token_file(fingerprint).removeprefix("tokens.")
    return "paragraphs." + ending, "paragraph_start." + ending


def token_fingerprints(names: Sequence[str]) -> list[str]:
    """The tokenizers whose columns are among these files of an index, sorted."""
    matches = (re.fullmatch(r"tokens\.([0-9a-f]{8,128})\.npy", name) for name in names)
    return sorted(match[1] for match in matches if match)
