"""The name of a row of shards, also where the header that holds its key is damaged."""

from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards.layout import META_SUFFIX, TAR_SUFFIX
from wdstream.shards.meta import hash_key, load_meta
from wdstream.shards.reader import Shards


def name_of_row(shards: Shards, row: int) -> str:
    """The key of a row; `row-12` when the header that holds the key is damaged, and no file next to the tar has it.

    Raises:
        ShardIndexError: it is the index that is at fault, so that no row may be what it says.
    """
    try:
        return shards.key(row)
    except ShardIndexError:
        raise
    except ShardError:
        return _key_next_to(shards, row) or f"row-{row}"


def _key_next_to(shards: Shards, row: int) -> str | None:
    """The key of a row from the meta of its shard; None where that is not there, or has another."""
    meta_name = shards.shard_name(row).removesuffix(TAR_SUFFIX) + META_SUFFIX
    path = shards.index_storage.local_path(meta_name)
    try:
        meta = None if path is None else load_meta(path)
        key = "" if meta is None else meta.key(row - int(shards.shard_starts[shards.shard[row]]))
    except (ShardError, IndexError):
        return None
    return key if key and hash_key(key) == int(shards.key_hash[row]) else None
