"""All keys of a set of shards, shard by shard: an index has their hashes alone, the files next to the tars have them.

Searching reads `x.meta.npz` of each shard, about 30 bytes a key; where these were not copied along, the header of every
sample, which costs a read of the tar each.
"""

import io
import logging
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import AbsentFileError, ShardError
from wdstream.shards.layout import META_SUFFIX, TAR_SUFFIX
from wdstream.shards.meta import hash_key, load_keys
from wdstream.shards.reader import Shards

OnShards = Callable[[int, int], None]
"""Called after each shard, with shards done and shards in total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardKeys:
    """The keys of one shard.

    Attributes:
        first_row: of the shard.
        start: int64 (n + 1,), where each key starts in `blob`.
        blob: the keys in UTF-8, one after the other.
    """

    first_row: int
    start: NDArray[np.int64]
    blob: bytes

    def __len__(self) -> int:
        return len(self.start) - 1

    def key(self, place: int) -> str:
        """Key number `place` of the shard."""
        return self.blob[self.start[place] : self.start[place + 1]].decode("utf-8")

    def places_of(self, finder: re.Pattern[bytes]) -> list[int]:
        """The keys in which something is found, rising; a find across two keys counts for the first."""
        finds = np.array([match.start() for match in finder.finditer(self.blob)], np.int64)
        return np.unique(np.searchsorted(self.start, finds, side="right") - 1).tolist()  # type: ignore[no-any-return]


def read_keys(shards: Shards, on_progress: OnShards | None = None) -> Iterator[ShardKeys]:
    """The keys of each shard, in order of rows.

    Raises:
        ShardError: they cannot be read, or are not those of the index.
    """
    warned = False
    for number, entry in enumerate(shards.catalog.shards):
        name = entry.name.removesuffix(TAR_SUFFIX) + META_SUFFIX
        try:
            start, blob = load_keys(_file(shards, name), f"{shards.path}/{name}")
        except AbsentFileError:
            if not warned:
                logging.getLogger("wdstream").warning(
                    "%s: %s is not there, so keys are read from the tars, one by one", shards.path, name
                )
                warned = True
            start, blob = _from_headers(shards, number)
        _check(shards, number, start, blob)
        yield ShardKeys(first_row=int(shards.shard_starts[number]), start=start, blob=blob)
        if on_progress is not None:
            on_progress(number + 1, len(shards.catalog.shards))


def search_keys(
    shards: Shards, pattern: str, needles: Collection[str] = (), on_progress: OnShards | None = None
) -> dict[int, str]:
    """The keys that match a regular expression as a whole, by row.

    Args:
        shards: to look in.
        pattern: the expression.
        needles: every key that matches has one of these in it, so others need not be tried; none to try all.
        on_progress: see OnShards.
    """
    compiled = re.compile(pattern, re.DOTALL)
    finder = re.compile(b"|".join(re.escape(needle.encode("utf-8", "surrogateescape")) for needle in needles))
    found: dict[int, str] = {}
    for keys in read_keys(shards, on_progress):
        for place in keys.places_of(finder) if needles and all(needles) else range(len(keys)):
            if compiled.fullmatch(name := keys.key(place)):
                found[keys.first_row + place] = name
    return found


def _file(shards: Shards, name: str) -> "io.BytesIO":
    return io.BytesIO(shards.index_storage.read_file(name))


def _from_headers(shards: Shards, number: int) -> tuple[NDArray[np.int64], bytes]:
    keys = [shards.key(row).encode("utf-8", "surrogateescape") for row in shards.rows_of_shard(number)]
    return np.cumsum([0] + [len(key) for key in keys], dtype=np.int64), b"".join(keys)


def _check(shards: Shards, number: int, start: NDArray[np.int64], blob: bytes) -> None:
    """The first and the last key have the hashes of the index."""
    rows = shards.rows_of_shard(number)
    keys = ShardKeys(first_row=rows.start, start=start, blob=blob)
    ends = {rows.start: 0, rows.stop - 1: -1 + len(keys)} if len(rows) else {}
    if len(keys) != len(rows) or any(int(shards.key_hash[row]) != hash_key(keys.key(at)) for row, at in ends.items()):
        raise ShardError(
            f"{shards.path}/{shards.shard_names[number]}: the keys next to it are not those of the index; run "
            f"`wdstream index {shards.path}`, or copy the folder again"
        )
