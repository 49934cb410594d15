"""Which pages are copies of which: exact ones by digests, near ones as neighbours, and which of each stays.

A near copy is dropped in favour of a page that stays and that it is itself near to, never by way of a third page.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.deduplication.dedup_options import DedupOptions, Part
from wdstream.records import Bools, Ints
from wdstream.verify.duplicates import first_of_equals, look_alike, near_pictures

_MOST_COMMON_STEPS = 16
_LEAST_COMMON_WORDS = 12  # of page_marks.SKETCH_WORDS: about four fifths of all word triples
_SLICES = 16
Pairs = tuple[Ints, Ints, Ints]
"""Earlier rows, later rows, and their distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedPages:
    """Pages that are dropped, in order of rows.

    Attributes:
        row: (c,) the page.
        kept: (c,) the page that stays for it.
        distance: (c,) 0 for an exact copy; of a near picture, areas that differ; of a near text, words of the sketch.
        is_near: (c,) whether it is a near copy.
    """

    row: Ints
    kept: Ints
    distance: Ints
    is_near: Bools


def pages_to_drop(marks: NDArray[np.void], text_chars: NDArray[np.integer], options: DedupOptions) -> DroppedPages:
    """The pages to drop.

    Args:
        marks: (n,) of page_marks.NEAR_MARKS, or EXACT_MARKS where near copies are not asked for.
        text_chars: (n,) characters of the texts.
        options: what counts as a copy, and which stays.
    """
    rank = _ranks(text_chars, options)
    first = _exact(marks, rank, options.by)
    kept, distance = first, np.zeros(len(marks), np.int64)
    if options.near:
        kept, distance = _without_near(marks, rank, first, options)
    kept, distance, is_near = kept[first], distance[first], (kept != first)[first]  # of copies what their first has
    dropped = np.flatnonzero(kept != np.arange(len(kept)))
    return DroppedPages(row=dropped, kept=kept[dropped], distance=distance[dropped], is_near=is_near[dropped])


def _without_near(marks: NDArray[np.void], rank: Ints, first: Ints, options: DedupOptions) -> tuple[Ints, Ints]:
    """The page that stays for each, and how far apart the two are."""
    kept, distance = first.copy(), np.zeros(len(marks), np.int64)
    while True:
        alive = np.flatnonzero(kept == np.arange(len(kept)))
        found = _drop_near(marks[alive], rank[alive], options)
        if not len(found[0]):
            break
        kept[alive[found[0]]] = alive[found[1]]
    while not np.array_equal(kept[kept], kept):  # what stayed for a page went later itself
        kept = kept[kept]
    rows = np.flatnonzero((first == np.arange(len(kept))) & (kept != first))
    close, distance[rows] = _are_near(marks, rows, kept[rows], options)
    far = rows[~close]  # it was near to that page alone: it stays
    kept[far], distance[far] = far, 0
    return kept, distance


def _ranks(text_chars: NDArray[np.integer], options: DedupOptions) -> Ints:
    """The place of each page among those that stay first."""
    places = np.arange(len(text_chars))
    if options.keep == "first":
        return places
    ranks = np.empty_like(places)
    ranks[np.lexsort((places, -text_chars.astype(np.int64)))] = places
    return ranks


def _exact(marks: NDArray[np.void], rank: Ints, by: Part) -> Ints:
    """The page that stays for each: itself, or the first by rank of its exact copies."""
    names = {"image": ["images"], "text": ["text"], "both": ["images", "text"]}[by]
    words = np.concatenate([marks[name] for name in names], axis=1)
    order = np.argsort(rank, kind="stable")
    first = np.empty(len(marks), np.int64)
    first[order] = order[first_of_equals(words[order])]
    return np.where(words.any(axis=1), first, np.arange(len(marks)))


def _drop_near(marks: NDArray[np.void], rank: Ints, options: DedupOptions) -> tuple[Ints, Ints]:
    """Pages to drop, and what stays for each; each near to the other itself."""
    one, other, distance = _near_pairs(marks, options)
    better = np.where(rank[one] < rank[other], one, other)
    worse = one + other - better
    order = np.lexsort((rank[better], distance, rank[worse]))  # pages in order of rank, the nearest first
    kept = np.arange(len(marks))
    for page, candidate in zip(worse[order].tolist(), better[order].tolist(), strict=True):
        if kept[page] == page and kept[candidate] == candidate:
            kept[page] = candidate
    dropped = np.flatnonzero(kept != np.arange(len(kept)))
    return dropped, kept[dropped]


def _are_near(marks: NDArray[np.void], one: Ints, other: Ints, options: DedupOptions) -> tuple[Bools, Ints]:
    """Whether pages are near to others, and the distance."""
    if options.by == "text":
        distance = marks["words"].shape[1] - _common(marks["words"], one, other)
        return distance <= marks["words"].shape[1] - _LEAST_COMMON_WORDS, distance
    close, distance = look_alike(np.ascontiguousarray(marks["look"]), one, other, options.distance)
    return close & (_have_like_texts(marks, one, other) if options.by == "both" else True), distance


def _near_pairs(marks: NDArray[np.void], options: DedupOptions) -> Pairs:
    """Pairs of near pages, some of them more than once."""
    if options.by == "text":
        found = list(_near_texts(marks["words"]))
    else:
        looks = np.ascontiguousarray(marks["look"])
        found = list(near_pictures(looks, options.distance))
    if options.by == "both":
        alike = [_have_like_texts(marks, one, other) for one, other, _ in found]
        found = [tuple(array[mask] for array in pairs) for pairs, mask in zip(found, alike, strict=True)]  # type: ignore[misc]
    empty = np.empty(0, np.int64)
    one, other, distance = (
        (np.concatenate([empty, *arrays]) for arrays in zip(*found, strict=True)) if found else (empty,) * 3
    )
    return one, other, distance


def _have_like_texts(marks: NDArray[np.void], one: Ints, other: Ints) -> Bools:
    """Whether texts are the same, or near, which one of few words never is: filled forms differ in little but that."""
    words, text = marks["words"], marks["text"]
    is_near = words[one].any(axis=1) & (_common(words, one, other) >= _LEAST_COMMON_WORDS)
    is_same: Bools = (text[one] == text[other]).all(axis=1)
    return is_near | is_same


def _near_texts(words: NDArray[np.uint32]) -> Iterator[Pairs]:
    """Pairs of pages whose sketches have most words in common: neighbours among the pages that share one."""
    rows = np.flatnonzero(words.any(axis=1))
    for part in range(_SLICES):
        place, column = np.nonzero(words[rows] % _SLICES == part)
        values, owners = words[rows[place], column], rows[place]
        order = np.lexsort((owners, values))
        values, owners = values[order], owners[order]
        for step in range(1, _MOST_COMMON_STEPS + 1):
            together = values[:-step] == values[step:]
            one, other = owners[:-step][together], owners[step:][together]
            common = _common(words, one, other)
            close = common >= _LEAST_COMMON_WORDS
            yield one[close], other[close], words.shape[1] - common[close]


def _common(words: NDArray[np.uint32], one: Ints, other: Ints) -> Ints:
    """How many words of their sketches two pages have in common."""
    counts = np.zeros(len(one), np.int64)
    for column in range(words.shape[1]):
        counts += (words[one, column][:, None] == words[other]).any(axis=1)
    return counts
