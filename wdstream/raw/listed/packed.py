"""Sequences of millions of small records, in some tens of bytes each.

Names and numbers of files that follow each other are much alike, so a thousand of them together shrink to a tenth. They
are kept as bytes of this process alone, never written or read, and unpacked a block at a time.
"""

import marshal
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice
from typing import Any, Generic, TypeVar, overload

import numpy as np

_BLOCK = 1024
_FASTEST = 1
_T = TypeVar("_T")


def pack(value: Any) -> bytes:
    """Plain values (texts, numbers, tuples and lists of them), small."""
    return zlib.compress(marshal.dumps(value), _FASTEST)


def unpack(data: bytes) -> Any:
    """The inverse of `pack`."""
    return marshal.loads(zlib.decompress(data))


def pack_many(values: Iterable[Any]) -> tuple[bytes, ...]:
    """Plain values, as `pack` takes them, a block at a time: there may be millions."""
    rest = iter(values)
    return tuple(pack(block) for block in iter(lambda: [*islice(rest, _BLOCK)], []))


def unpack_many(blocks: Iterable[bytes]) -> Iterator[Any]:
    """The inverse of `pack_many`, of which one block is in memory."""
    return chain.from_iterable(map(unpack, blocks))


class PackedList(Sequence[_T], Generic[_T]):
    """A list of records that only grows; reading them in order is fast.

    Args:
        dump: makes plain values of a record, as `pack` takes them.
        load: the inverse.
    """

    def __init__(self, dump: Callable[[_T], Any], load: Callable[[Any], _T]) -> None:
        self._dump, self._load = dump, load
        self._blocks: list[bytes] = []
        self._rest: list[Any] = []
        self._open: tuple[int, list[Any]] = (-1, [])

    def append(self, record: _T) -> None:
        """Take in a record."""
        self.append_plain(self._dump(record))

    def append_plain(self, plain: Any) -> None:
        """Take in what `dump` would give."""
        self._rest.append(plain)
        if len(self._rest) == _BLOCK:
            self._blocks.append(pack(self._rest))
            self._rest = []

    def extend(self, records: Iterable[_T]) -> None:
        """Take in several, in order."""
        for record in records:
            self.append(record)

    def packed(self) -> tuple[bytes, ...]:
        """What `pack_many` makes of what `dump` gave."""
        return (*self._blocks, pack(self._rest)) if self._rest else (*self._blocks,)

    def plain(self) -> Iterator[Any]:
        """What `dump` gave for each record, in order."""
        for block in self._blocks:
            yield from unpack(block)
        yield from self._rest

    def __iter__(self) -> Iterator[_T]:
        return map(self._load, self.plain())

    def since(self, place: int) -> Iterator[_T]:
        """The records from a place on, in order."""
        number, first = divmod(place, _BLOCK)
        while number <= len(self._blocks):
            yield from map(self._load, islice(self._block(number), first, None))
            number, first = number + 1, 0

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._rest)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | list[_T]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number, place = divmod(range(len(self))[index], _BLOCK)
        return self._load(self._block(number)[place])

    def _block(self, number: int) -> list[Any]:
        """What `dump` gave for the records of a block, of which the last one that was asked for stays unpacked."""
        if number == len(self._blocks):
            return self._rest
        if self._open[0] != number:
            self._open = number, unpack(self._blocks[number])
        return self._open[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"<{len(self):,} records, packed>"


def packed_texts(texts: Iterable[str] = ()) -> PackedList[str]:
    """A packed list of texts."""
    packed: PackedList[str] = PackedList(str, str)
    packed.extend(texts)
    return packed


class TextHashes:
    """Which texts there are, or are there twice, by 8 bytes of each: one of millions of millions is taken for another,
    the same one in every run."""

    def __init__(self) -> None:
        self._added, self._sorted = array("Q"), array("Q")

    def add(self, text: str) -> None:
        """Take in a text."""
        self._added.append(_hash(text))

    def __contains__(self, text: str) -> bool:
        if self._added:
            self._sorted = _sorted(self._sorted + self._added)
            self._added = array("Q")
        return _is_in(self._sorted, _hash(text))

    def __bool__(self) -> bool:
        return bool(self._added or self._sorted)

    def doubled(self) -> "TextHashes":
        """Those that were added more than once."""
        found = TextHashes()
        ordered = np.sort(np.frombuffer(self._sorted + self._added, np.uint64))
        found._sorted = array("Q", np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tobytes())
        return found


class TextPlaces:
    """Where texts are, by number, in the order in which they were added; by 12 bytes of each, so it may be elsewhere,
    too."""

    def __init__(self) -> None:
        self._hashes, self._numbers = array("Q"), array("I")
        self._is_sorted = True

    def add(self, text: str, number: int) -> None:
        """Note that a text is at a place."""
        self._hashes.append(_hash(text))
        self._numbers.append(number)
        self._is_sorted = False

    def of(self, text: str) -> Iterator[int]:
        """The places of a text, and perhaps those of another one."""
        if not self._is_sorted:
            hashes, numbers = np.frombuffer(self._hashes, np.uint64), np.frombuffer(self._numbers, np.uint32)
            order = np.argsort(hashes, kind="stable")
            self._hashes, self._numbers = array("Q", hashes[order].tobytes()), array("I", numbers[order].tobytes())
            self._is_sorted = True
        wanted = _hash(text)
        for place in range(bisect_left(self._hashes, wanted), len(self._hashes)):
            if self._hashes[place] != wanted:
                return
            yield self._numbers[place]


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _sorted(numbers: "array[int]") -> "array[int]":
    return array("Q", np.sort(np.frombuffer(numbers, np.uint64)).tobytes())


def _is_in(numbers: "array[int]", number: int) -> bool:
    place = bisect_left(numbers, number)
    return place < len(numbers) and numbers[place] == number
