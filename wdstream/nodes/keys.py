"""The name of a row, also of one whose very header is damaged."""

from wdstream.errors import ShardError
from wdstream.shards.shards import Shards


def name_of_row(shards: Shards, row: int) -> str:
    """The key of a row; `row-12` when the damage is in the header that holds the key."""
    try:
        return shards.key(row)
    except ShardError:
        return f"row-{row}"
