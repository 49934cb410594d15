"""CacheSettings: where a machine keeps what it read from a store, and how much of it."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from wdstream.settings import Settings

_LEAST_BLOCKS = 8


class CacheSettings(Settings):
    """`data.cache:` what was read from URLs, kept on a disk of this machine for all its processes and later epochs.

    Folders of this machine are read as they are. Changes no byte of the stream; docs/stores.md says what it costs.
    """

    section = "data.cache"
    path: Path
    """A folder on a fast disk of this machine, shared by all processes of all runs on it."""
    max_bytes: int = Field(gt=0)
    """All its files together; some go when more come. At least 1.25 times the bytes of `shuffle_shards` shards, so that
    no block is fetched twice in an epoch."""
    block_bytes: int = Field(default=1 << 20, ge=1 << 12, le=1 << 28)
    """A shard is fetched and kept in blocks of this size; smaller ones fetch less of what nobody asked for, larger ones
    take fewer requests."""
    ahead: int = Field(default=16, ge=0)
    """Packs whose pages are fetched before they are needed, for each process; 0 fetches what is asked for."""

    @model_validator(mode="after")
    def _holds_blocks(self) -> Self:
        if self.max_bytes < _LEAST_BLOCKS * self.block_bytes:
            raise ValueError(
                f"max_bytes: {self.max_bytes:,} is room for less than {_LEAST_BLOCKS} blocks of block_bytes, "
                f"{self.block_bytes:,}: give more room, or smaller blocks"
            )
        return self
