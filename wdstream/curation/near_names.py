"""Names that are like one that was asked for, out of millions: a cheap score of all, a good one of the best."""

import difflib
import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.stored_keys import ShardKeys

_KEPT = 64
"""Names of each shard, and of all, that get the good score."""
_LEAST = 0.6


def near_names(name: str, shards: Iterable[ShardKeys], others: Sequence[str], *, most: int = 3) -> list[str]:
    """Keys and other names that are most like `name`, the best first.

    Args:
        name: what was asked for.
        shards: keys to choose from.
        others: further names to choose from.
        most: how many to name.
    """
    best: list[tuple[float, str]] = []
    for keys in shards:
        least = best[-1][0] if len(best) == _KEPT else 0.0
        best = heapq.nlargest(_KEPT, [*best, *_best_of(name, keys, least)])
    candidates = [*dict.fromkeys(key for _, key in best), *_best_texts(name, others)]
    shown = {candidate.lower(): candidate for candidate in reversed(candidates)}
    return [shown[near] for near in difflib.get_close_matches(name.lower(), list(shown), most, _LEAST)]


def _best_texts(name: str, others: Sequence[str]) -> list[str]:
    if not others:
        return []
    encoded = [other.encode("utf-8", "surrogateescape") for other in others]
    start = np.cumsum([0] + [len(other) for other in encoded], dtype=np.int64)
    keys = ShardKeys(first_row=0, start=start, blob=b"".join(encoded))
    return [text for _, text in heapq.nlargest(_KEPT, _best_of(name, keys))]


def _best_of(name: str, keys: ShardKeys, least: float = 0.0) -> list[tuple[float, str]]:
    """The names that share most pairs of neighbouring bytes with `name`, for their length, and score above `least`."""
    if not len(keys):
        return []
    is_wanted = np.zeros(1 << 16, dtype=np.bool_)
    is_wanted[_pairs(name.lower().encode("utf-8", "surrogateescape"))] = True
    hits = np.concatenate([[0], np.cumsum(is_wanted[_pairs(keys.blob.lower())], dtype=np.int64)])
    lengths = np.diff(keys.start)
    shared = hits[np.maximum(keys.start[1:] - 1, keys.start[:-1])] - hits[keys.start[:-1]]
    scores = 2.0 * shared / (lengths + len(name))
    places = np.flatnonzero(scores > least)
    if len(places) > _KEPT:
        places = places[np.argpartition(-scores[places], _KEPT - 1)[:_KEPT]]
    return [(float(scores[place]), keys.key(int(place))) for place in places.tolist()]


def _pairs(text: bytes) -> NDArray[np.uint16]:
    """Each byte with its neighbour, as one number."""
    array = np.frombuffer(text, "u1").astype(np.uint16)
    return (array[:-1] << np.uint16(8)) | array[1:]
