"""JSON files that are one array, whose members are rows: `[{"image": "a.png", "conversations": [...]}, ...]`, or an
object with such an array under one of the names `_LISTS`: `{"dataset_name": "docvqa", "data": [...]}`.

Members are found by brackets, strings and commas alone, in pieces of the file, so that a file of any size needs the
memory of one row, and a member that is not readable costs itself. Each is then read like a line of JSONL.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from wdstream.errors import SourceError
from wdstream.raw.reading import limits
from wdstream.raw.row_lines import FoundRow

_PIECE_BYTES = 1 << 20
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_INSIDE = re.compile(rb'["{}\[\]]')
_BETWEEN = re.compile(rb'["{}\[\],]')
_LISTS = ("data", "rows", "examples", "samples", "records", "items", "instances")
"""What the list of rows of an object is called."""
_SPACES = re.compile(r"\s*")
_LIST_OF_OBJECTS = re.compile(rb"\[\s*\{")
_DECODER = json.JSONDecoder(strict=False)
_SPACE = b" \t\r\n\f\v"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_array_of_objects(head: bytes) -> bool:
    """Whether a file that starts with these bytes is an array whose first member is an object, or one without any."""
    start = head.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)
    return start[:1] == b"[" and start[1:].lstrip(_SPACE)[:1] in (b"{", b"]")


def start_of_list(head: bytes) -> int | None:
    """Where the list of rows begins in the object that a file is, by its first bytes; None where none does."""
    text = head.removeprefix(_BYTE_ORDER_MARK).decode("latin-1")  # a character for each byte
    try:
        place = _after_spaces(text, 0)
        while text[place] in ("{", ","):
            name, place = _DECODER.raw_decode(text, _after_spaces(text, place + 1))
            place = _after_spaces(text, _after_spaces(text, place) + 1)
            if name in _LISTS and _LIST_OF_OBJECTS.match(text[place:].encode("latin-1")):
                return place + len(head) - len(text)
            _value, place = _DECODER.raw_decode(text, place)
            place = _after_spaces(text, place)
    except (ValueError, IndexError, RecursionError, TypeError):
        pass
    return None


def _after_spaces(text: str, place: int) -> int:
    found = _SPACES.match(text, place)
    return found.end() if found else place


def find_members(file: BinaryIO, place: int, *, start: int = 0) -> Iterator[FoundRow]:
    """The members of the array that a file is, or that begins at `start`, from a place on.

    Raises:
        SourceError: the array does not end, or is not all of the file.
    """
    left = 0 if place else start
    while left and (piece := file.read(left)):
        left -= len(piece)
    scan = _Scan(depth=1 if place else 0)
    member = _Member(place or start, limits().max_line_bytes)
    while piece := file.read(_PIECE_BYTES):
        done = 0
        for cut in scan.cuts(piece):
            member.add(piece[done:cut])
            done = cut + 1
            found = member.take()
            if found is not None:
                yield found
        member.add(piece[done:])
        if scan.depth == 0 and scan.has_begun:
            break
    _check_end(scan, member, file, in_object=start > 0)


class _Scan:
    """Where in the brackets and strings of JSON the next byte is."""

    def __init__(self, *, depth: int) -> None:
        self.depth = depth
        self.has_begun = depth > 0
        self._in_string = self._is_escaped = False

    def cuts(self, piece: bytes) -> Iterator[int]:
        """Places in a piece of the file where a member, or what is before the first, ends."""
        place, end = int(self._is_escaped), len(piece)
        self._is_escaped = False
        while place < end:
            if self._in_string:
                place = self._end_of_string(piece, place)
                continue
            mark = (_INSIDE if self.depth > 1 else _BETWEEN).search(piece, place)
            if mark is None:
                return
            place = mark.end()
            if self._is_cut(piece[place - 1]):
                yield place - 1
                if self.depth == 0:
                    return

    def _end_of_string(self, piece: bytes, place: int) -> int:
        """The place after a string, which may continue in the next piece."""
        found = _IN_STRING.match(piece, place)
        end = found.end() if found else place
        if end < len(piece):
            self._in_string = piece[end : end + 1] != b'"'
            self._is_escaped = self._in_string  # a backslash is the last byte
        return end + 1

    def _is_cut(self, byte: int) -> bool:
        """Take in a bracket, a quote or a comma; whether a member ends there."""
        if byte == ord('"'):
            self._in_string = True
        elif byte in b"{[":
            self.depth += 1
            self.has_begun, was = True, self.has_begun
            return not was
        elif byte in b"}]":
            self.depth -= 1
            return self.depth == 0
        return byte == ord(",") and self.depth == 1


class _Member:
    """A member of which pieces come."""

    def __init__(self, place: int, most: int) -> None:
        self._place = place
        self._most = most
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def add(self, piece: bytes) -> None:
        self._num_bytes += len(piece)
        if self._num_bytes <= self._most:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def take(self) -> FoundRow | None:
        """The member, which ends here; None where there is nothing."""
        place, row = self._place, b"".join(self._pieces).strip(_SPACE)
        is_long = self._num_bytes > self._most
        self._place += self._num_bytes + 1
        self._pieces, self._num_bytes = [], 0
        if is_long:
            return place, None
        return (place, row) if row and row != _BYTE_ORDER_MARK else None


def _check_end(scan: _Scan, member: _Member, file: BinaryIO, *, in_object: bool) -> None:
    """Check that the array has ended, and that nothing comes after it but, in an object, other values."""
    if scan.depth or not scan.has_begun:
        raise SourceError("file ends before its array does; the rows from here on are lost")
    last = member.take()
    rest = chain([(last[1] or b"") if last else b""], iter(lambda: file.read(_PIECE_BYTES), b""))
    if in_object:
        if any(map(_LIST_OF_OBJECTS.search, rest)):
            raise SourceError("file has another list of objects after that of its rows, which is not read")
    elif any(piece.strip(_SPACE) for piece in rest):
        raise SourceError("file continues after its array has ended; what comes after it is not read")
