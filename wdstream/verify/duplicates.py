"""Pages that are there twice: the same bytes, the same pictures with another text, or nearly the same picture and text.

Near duplicates are found as neighbours among pages that agree in one sixteenth of their picture's hash, each sixteenth
taken from all over the picture; that is bounded work for any number of pages, and misses few pairs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wdstream.verify.findings import Finding
from wdstream.verify.options import NEAR_BITS
from wdstream.verify.page_check import PICTURE_BYTES, SKETCH_SIZE, PageMarks

_LARGEST_SHARE = 6
_FEWEST_BITS = 16  # a picture with less in it looks like any other almost empty page
_LEAST_COMMON = 3  # of SKETCH_SIZE
_NUM_BANDS = 16
_NEIGHBOURS = 16


class PageTable:
    """What pages are compared by, of all tars."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._keys: list[list[str]] = []
        self._pages: list[bytes] = []
        self._pictures: list[bytes] = []
        self._looks: list[bytes] = []
        self._sketches: list[NDArray[np.uint32]] = []

    def add(self, name: str, keys: Sequence[str], marks: Sequence[PageMarks]) -> None:
        """The pages of the tar `name`."""
        self._names.append(name)
        self._keys.append(list(keys))
        self._pages.append(b"".join(mark.page for mark in marks))
        self._pictures.append(b"".join(mark.pictures for mark in marks))
        self._looks.append(b"".join(mark.look for mark in marks))
        self._sketches.append(np.array([mark.sketch for mark in marks], np.uint32).reshape(-1, SKETCH_SIZE))

    def findings(self) -> Iterator[Finding]:
        """Every page that an earlier one is like, with that one; the closest kind alone."""
        pages, pictures = _words(self._pages), _words(self._pictures)
        same_page = first_of_equals(pages)
        same_picture = np.where(pictures.any(axis=1), first_of_equals(pictures), np.arange(len(pages)))
        near, distance = nearest_before(_words(self._looks, PICTURE_BYTES // 8), self._all_sketches())
        for row in range(len(pages)):
            if same_page[row] < row:
                yield self._finding("duplicate page", row, int(same_page[row]), "images and text are those of")
            elif same_picture[row] < row:
                yield self._finding("same picture, other text", row, int(same_picture[row]), "its images are those of")
            elif near[row] >= 0:
                what = f"its picture differs in {distance[row]} of {8 * PICTURE_BYTES} areas from that of"
                yield self._finding("near duplicate", row, int(near[row]), what)

    def _all_sketches(self) -> NDArray[np.uint32]:
        return np.concatenate([np.empty((0, SKETCH_SIZE), np.uint32), *self._sketches])

    def _finding(self, kind: str, row: int, first: int, what: str) -> Finding:
        name, key = self._place(row)
        other_name, other_key = self._place(first)
        return Finding(kind=kind, file=name, key=key, what=f"{what} {other_key} in {other_name}")

    def _place(self, row: int) -> tuple[str, str]:
        for name, keys in zip(self._names, self._keys, strict=True):
            if row < len(keys):
                return name, keys[row]
            row -= len(keys)
        raise IndexError(row)


def first_of_equals(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The first row that is equal to each row of `values` (n, words): itself, or an earlier one. int64 (n,)."""
    if not len(values):
        return np.empty(0, np.int64)
    _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[inverse.reshape(-1)]
    return found


def nearest_before(
    looks: NDArray[np.uint64], sketches: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The earlier page that each page is nearly like.

    Args:
        looks: (n, 4) picture hashes; those with few bits are like none.
        sketches: (n, SKETCH_SIZE) of the texts; zeros for little text, which is like any.

    Returns:
        int64 (n,), the row of the nearest earlier page, -1 for none; int64 (n,), in how many bits it differs.
    """
    near, distance = np.full(len(looks), -1, np.int64), np.full(len(looks), NEAR_BITS + 1, np.int64)
    for earlier, later, bits in near_pictures(looks):
        alike = have_like_texts(sketches, earlier, later)
        for first, second, differ in zip(*(array[alike].tolist() for array in (earlier, later, bits)), strict=True):
            if differ < distance[second] or (differ == distance[second] and first < near[second]):
                near[second], distance[second] = first, differ
    return near, distance


def near_pictures(
    looks: NDArray[np.uint64], most_bits: int = NEAR_BITS
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of pages whose pictures differ in few bits, some of them more than once: the earlier rows, the later ones,
    and in how many bits."""
    rows = np.flatnonzero(np.bitwise_count(looks).sum(axis=1) >= _FEWEST_BITS)
    bands = _bands(looks[rows])
    for band in range(_NUM_BANDS):
        order = np.lexsort((rows, *looks[rows].T, bands[:, band]))
        for step in range(1, _NEIGHBOURS + 1):
            one, other = order[:-step], order[step:]
            together = bands[one, band] == bands[other, band]
            earlier, later = np.sort(np.stack([rows[one[together]], rows[other[together]]]), axis=0)
            close, bits = look_alike(looks, earlier, later, most_bits)
            yield earlier[close], later[close], bits[close]


def look_alike(
    looks: NDArray[np.uint64], one: NDArray[np.int64], other: NDArray[np.int64], most_bits: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(k,) whether the pictures of two pages are near, and in how many bits they differ."""
    first, second = looks[one], looks[other]
    bits, *counts = (np.bitwise_count(each).sum(axis=1).astype(np.int64) for each in (first ^ second, first, second))
    return bits <= np.minimum(most_bits, np.minimum(*counts) // _LARGEST_SHARE), bits


def have_like_texts(
    sketches: NDArray[np.uint32], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(k,) whether two pages have texts that are alike, or too little text to tell."""
    a, b = sketches[one], sketches[other]
    common = (a[:, :, None] == b[:, None, :]).any(axis=2).sum(axis=1)
    like: NDArray[np.bool_] = (common >= _LEAST_COMMON) | ~(a.any(axis=1) & b.any(axis=1))
    return like


def _bands(looks: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """(n, 16) of a hash's bits, each sixteenth from all over the picture."""
    bits = np.unpackbits(looks.view(np.uint8).reshape(len(looks), PICTURE_BYTES), axis=1)
    spread = bits.reshape(len(looks), 8 * PICTURE_BYTES // _NUM_BANDS, _NUM_BANDS).transpose(0, 2, 1)
    packed = np.ascontiguousarray(np.packbits(spread, axis=2))  # of a single page it is not, by itself
    bands: NDArray[np.uint16] = packed.view(np.uint16).reshape(len(looks), _NUM_BANDS)
    return bands


def _words(chunks: Sequence[bytes], words: int = 2) -> NDArray[np.uint64]:
    """Digests of all tars, uint64 (n, words)."""
    return np.frombuffer(b"".join(chunks), np.uint64).reshape(-1, words)
