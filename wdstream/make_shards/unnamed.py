"""Images next to rows that no row names: they are in no sample, and nothing else would say so."""

import os
from collections.abc import Sequence
from pathlib import Path

from wdstream.make_shards.jobs import Quarantined
from wdstream.make_shards.record import ShardRecord
from wdstream.raw.listing import Listing

REASON = "no row that could be read names this image: name it in a row of the JSONL file, or put a text file next to it"


def unnamed_images(raw: Path, listing: Listing, records: Sequence[ShardRecord]) -> list[Quarantined]:
    """Images that were left to rows, and that no row read; none where a shard was made before it noted what it read."""
    if not listing.left_to_rows or any(record.samples and not record.read for record in records):
        return []
    read = {path for record in records for path in record.read}
    left = [path for path in listing.left_to_rows if path not in read]
    by_links = {os.path.realpath(raw / path) for path in read if path not in listing.stamps} if left else set()
    return [
        Quarantined(file=path, page=0, reason=REASON) for path in left if os.path.realpath(raw / path) not in by_links
    ]
