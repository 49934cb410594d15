"""The options of reshard."""

import os
import re
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from wdstream.plan.held_out import Split
from wdstream.storage.engines.settings import PartSettings
from wdstream.storage.places import local_folder

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)(i?)B?")
_POWERS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}
MAX_SHARD_BYTES = 1 << 40


class ReshardOptions(PartSettings):
    """Which pages reshard takes, in which order, and how it cuts them into shards."""

    shard_size: str = "512MB"
    """Bytes of a shard, at most, unless one page is larger: 512MB, 1GiB, 40000000."""
    pages: int | None = Field(default=None, ge=1, le=10_000_000)
    """Pages of a shard, at most."""
    where: str | None = None
    """Take only pages for which this is true: 'language == "de" and text_chars > 200'. Columns are those of where: in
    a configuration that need no model."""
    split: Split = "all"
    """Take only pages that are held out (`held_out`), or only those that are not (`train`)."""
    exclude_list: str | None = None
    """Leave out the pages that this file, or one at a URL, names: a key per line, or the list that `wdstream dedup`
    writes."""
    sort: str | None = None
    """Order pages by 'key', or by a column, such as width, text_chars or a name of the metadata; ties stay as they
    were."""
    shuffle: bool = False
    """Order pages by a hash of their keys and --seed: the same order, however the input is cut."""
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    """Of --shuffle."""
    uniform: bool = False
    """Give each page of one image and text all of image, txt and json, and write a README.md that tells `datasets` the
    columns, so that `load_dataset(OUT)` reads everything whole."""
    prefix_keys: bool = False
    """Put the name of its folder and a slash before each key, where folders have equal keys."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; all cores this process may use when left out."""

    @field_validator("exclude_list", mode="before")
    @classmethod
    def _as_text(cls, path: object) -> object:
        return str(local_folder(path)) if isinstance(path, Path) else path

    @field_validator("shard_size")
    @classmethod
    def _is_size(cls, text: str) -> str:
        bytes_of(text)
        return text

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.shuffle and self.sort is not None:
            raise ValueError("give sort or shuffle, not both")
        return self

    @property
    def shard_bytes(self) -> int:
        """`shard_size` as a number."""
        return bytes_of(self.shard_size)

    @property
    def num_workers(self) -> int:
        """How many processes to use."""
        return self.workers or len(os.sched_getaffinity(0))


def bytes_of(text: str) -> int:
    """Bytes from a size as people write it: `512MB`, `1.5 GiB`, `40000`.

    Raises:
        ValueError: it is none, or not from 1 byte to 1 TiB.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"shard_size: expected a size such as 512MB or 1GiB, found {text!r}")
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2]])
    if not 1 <= size <= MAX_SHARD_BYTES:
        raise ValueError(f"shard_size: expected 1 byte to 1 TiB, found {text!r}")
    return size
