"""Fetching ahead: what a rank's next packs need of a store is brought into the cache, as the plan knows it."""

import logging
from collections.abc import Sequence
from functools import lru_cache

from wdstream.nodes.look_ahead import LookAhead
from wdstream.nodes.node import Node
from wdstream.pipeline.plan_source import PackFetcher, PackTask
from wdstream.plan.datasets import Mixture
from wdstream.shards.reader import Shards
from wdstream.storage.cache.cached import CachedStorage
from wdstream.storage.cache.folder import KEPT_SHARE, open_cache_folder

_WINDOWS = 1.25
"""The cache should hold the shards that are read side by side this many times."""

_log = logging.getLogger("wdstream")


def fetched_ahead(
    source: Node[PackTask], *, datasets: Sequence[Shards], mixture: Mixture, shuffle_shards: int
) -> Node[PackTask]:
    """The packs of a rank as they are, those to come being fetched; the source itself where there is no cache.

    Args:
        source: the packs.
        datasets, mixture: of the plan.
        shuffle_shards: of each dataset, how many shards are read side by side.
    """
    cached = [shards for shards in datasets if isinstance(shards.storage, CachedStorage)]
    caches = {shards.cache for shards in cached if shards.cache is not None}
    every, window = _sizes(cached, shuffle_shards)
    for cache in caches:
        open_cache_folder(cache).window_bytes = window
        _warn_if_small(cache.max_bytes, int(min(every / KEPT_SHARE, _WINDOWS * window)))
    depth = max((cache.ahead for cache in caches), default=0)
    if not depth:
        return source
    return LookAhead(source, PackFetcher(datasets=datasets, mixture=mixture), depth=depth, name="fetch_ahead")


def _sizes(datasets: Sequence[Shards], shuffle_shards: int) -> tuple[int, int]:
    """Bytes of all shards, and of the largest that are read side by side."""
    every = window = 0
    for shards in datasets:
        sizes = sorted((shard.bytes for shard in shards.catalog.shards), reverse=True)
        every, window = every + sum(sizes), window + sum(sizes[:shuffle_shards])
    return every, window


@lru_cache
def _warn_if_small(max_bytes: int, needed: int) -> None:
    """Say so once, where blocks would be removed before all of their pages were read."""
    if max_bytes < needed:
        _log.warning(
            "data.cache.max_bytes is %s: for the shards that are read side by side (data.shuffle_shards) it should be "
            "%s or more, else blocks are fetched several times in an epoch",
            f"{max_bytes:,}",
            f"{needed:,}",
        )
