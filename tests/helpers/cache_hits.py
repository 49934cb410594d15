"""How often a cache that is too small has what is asked of it."""

import random
from pathlib import Path

from wdstream.storage.cache.cached import CachedStorage
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import FsspecStorage


def share_of_hits(folder: Path, *, block_bytes: int, num_blocks: int) -> float:
    """Share of the blocks that are there in a third epoch, each in its own order, where half of them have room.

    `folder` gets the data and the cache.
    """
    (folder / "data").mkdir()
    (folder / "data" / "x").write_bytes(random.Random(0).randbytes(block_bytes * num_blocks))
    settings = CacheSettings(path=folder / "small", max_bytes=block_bytes * num_blocks // 2, block_bytes=block_bytes)
    url = f"file://{folder}/data"
    storage = CachedStorage(FsspecStorage(url), settings, address=url, digests={"x": "x"})
    storage.folder.window_bytes = settings.max_bytes // 10
    hits = 0
    for epoch in range(3):
        hits = 0
        for number in random.Random(epoch).sample(range(num_blocks), num_blocks):
            wanted = ByteRange(name="x", offset=number * block_bytes, length=block_bytes)
            hits += storage.holds(wanted)
            storage.read(wanted)
    return hits / num_blocks
