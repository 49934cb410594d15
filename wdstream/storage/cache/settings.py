"""CacheSettings: where a machine keeps what it read from a store, and how much of it."""

from pathlib import Path

from pydantic import Field

from wdstream.settings import Settings


class CacheSettings(Settings):
    """`data.cache:` what was read from URLs, kept on a disk of this machine for all its processes and later epochs.

    Folders of this machine are read as they are. Changes no byte of the stream; docs/shards.md says what it costs.
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
