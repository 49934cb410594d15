"""Files of rows in JSON: a line of JSONL, or a member of an array, is a row, with images as files or in itself.

    {"text": "see <image> and <image>", "images": ["a.png", "b.jpg"], "lang": "en"}
    {"content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "..."}]}
    {"messages": [{"role": "user", "content": "<image>Read."}, ...], "images": ["a.png"]}

wdstream/text/row_forms.py has all forms, wdstream/raw/row_files.py says where images are looked for. The text of a row
is taken word for word; it is split at placeholders here, once, and never searched again. A text of a content list that
is not to be supervised carries `"is_supervised": false`. All other fields become the row's metadata.

A `.json` is read where it is an array of objects, or an object with one (json_array.py), or has an object on each of
its first lines: others are settings, or belong to an image. A compressed file is read forward, once by each process.
"""

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import NoReturn, cast

from wdstream.errors import PageError, RowError, ShardError, SourceError
from wdstream.raw.json_array import find_members, is_array_of_objects, start_of_list
from wdstream.raw.kept import kept_reader
from wdstream.raw.reading import limits
from wdstream.raw.remote.access import open_raw
from wdstream.raw.row_lines import FoundRow, RowFinder, find_lines, mark_rows, reached_in, rows_from_mark
from wdstream.raw.row_pages import FileRow, RowFileSource
from wdstream.raw.source import PageRange, split_suffix
from wdstream.storage.compression import compression_of
from wdstream.storage.forward import unpacked
from wdstream.text.characters import replace_surrogates, short_name
from wdstream.text.row_fields import unambiguous

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_PLAIN = (".jsonl", ".ndjson", ".json")
_HEAD_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 17
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RowSource(RowFileSource):
    """JSON files of rows: in lines, or in one array."""

    kind = "rows"
    suffixes = (*_PLAIN, *(plain + packed for plain in _PLAIN for packed in _COMPRESSED))
    doubtful_suffixes = tuple(suffix for suffix in suffixes if suffix.startswith(".json") and "jsonl" not in suffix)

    def recognises(self, head: bytes) -> bool:
        """Whether a file is an array of objects, or an object with one, or has an object on each of its first lines."""
        is_plain = is_array_of_objects(head) or _are_lines(head) or start_of_list(head) is not None
        return is_plain or compression_of(head) is not None

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of rows, and marks to find them by; none of a compressed file."""
        with _opened(path) as file:
            stream = _unpacked(file, path.name)
            if stream is file:
                return mark_rows(_finder_of(file, path.name)(file, 0))
            with stream:
                return mark_rows(_packed_rows(stream, path.name))[0], ()

    def rows(self, pages: PageRange, path: Path) -> Generator[tuple[int, FileRow]]:
        """The rows of the range."""
        if not pages.file.marks:
            with kept_reader(path, pages.first, PackedRows, PackedRows) as reader:
                yield from reader.rows(pages.first, pages.count)
            return
        with _opened(path) as file:
            find = _finder_of(file, path.name)
            marks, reached = pages.file.marks, reached_in(path)
            for number, line in rows_from_mark(file, find, marks, pages.first, pages.count, reached):
                yield number, JsonRow(line)


class PackedRows:
    """The rows of a compressed file, forward from its start.

    Raises:
        SourceError: there is no reader of its compression here.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_raw(path)
        self._next = 1
        try:
            self._stream = _unpacked(self._file, path.name)
            self._rows = _packed_rows(self._stream, path.name)
        except BaseException:
            self._file.close()
            raise

    def can_read(self, first: int) -> bool:
        """Whether row `first` is not passed yet."""
        return first >= self._next

    def rows(self, first: int, count: int) -> Iterator[tuple[int, FileRow]]:
        """Rows `first` to `first + count - 1` by number."""
        while self._next < first + count:
            found = next(self._rows, None)
            if found is None:
                return
            self._next += 1
            if self._next > first:
                yield self._next - 1, JsonRow(found[1])

    def close(self) -> None:
        """Close the file, after which no row can be read."""
        self._stream.close()
        self._file.close()


@dataclass(frozen=True, slots=True)
class JsonRow:
    """A row in JSON; None for one above the limit."""

    line: bytes | None

    def content(self) -> bytes:
        """The row as it is written."""
        return self.line or b""

    def fields(self) -> dict[str, object] | None:
        """Its fields; None for a blank line."""
        if self.line is None:
            raise RowError(f"row is above the limit of {limits().max_line_bytes} bytes (--max-line-bytes)")
        return parse_line(self.line) if self.line.strip() else None


def parse_line(line: bytes) -> dict[str, object]:
    """The fields of a row.

    Raises:
        RowError: the line is not a JSON object in UTF-8.
    """
    try:
        row = _loaded(line.decode("utf-8-sig"))
        if _ESCAPED_SURROGATE.search(line):
            row = _loaded(replace_surrogates(json.dumps(row, ensure_ascii=False)))
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 (byte {error.start} of the line)") from error
    except RecursionError as error:
        raise RowError("not readable JSON: nested too deeply") from error
    except ValueError as error:
        raise RowError(f"not readable JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowError(f"a JSON object expected, found {type(row).__name__}")
    return row


def _loaded(text: str) -> object:
    row: object = _DECODER.decode(text)
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unambiguous)


def _opened(path: Path) -> BufferedReader:
    """A file of which enough can be peeked at."""
    return open_raw(path, _BUFFER_BYTES)


def _unpacked(file: BufferedReader, name: str) -> BufferedReader:
    """The file itself, or what it holds where it is compressed.

    Raises:
        SourceError: there is no reader of its compression here.
    """
    try:
        stream, is_plain = unpacked(file, name)
    except ShardError as error:
        raise SourceError(str(error)) from error
    return file if is_plain else BufferedReader(cast(RawIOBase, stream))


def _packed_rows(stream: BufferedReader, name: str) -> Iterator[FoundRow]:
    """Rows of a compressed file, up to where it is damaged.

    Raises:
        SourceError: it is.
    """
    try:
        yield from _finder_of(stream, name)(stream, 0)
    except PageError:
        raise
    except Exception as error:  # each of the libraries has errors of its own
        if isinstance(error, OSError) and error.errno:
            raise
        raise SourceError(f"file is damaged, and the rows from here on are lost: {short_name(str(error))}") from error


def _finder_of(file: BufferedReader, name: str) -> RowFinder:
    """How the rows of a file are found, by its name and its start; the file is at its start, and stays there."""
    head = file.peek(_HEAD_BYTES)
    if _is_array(head):
        return find_members
    is_doubtful = split_suffix(name, RowSource.doubtful_suffixes) is not None
    start = start_of_list(head) if is_doubtful and not _are_lines(head) else None
    return find_lines if start is None else partial(find_members, start=start)


def _is_array(head: bytes) -> bool:
    """Whether a file is one array; lines may be arrays, too."""
    first, _end, others = head.strip().partition(b"\n")
    return is_array_of_objects(head) and not (others.lstrip().startswith(b"[") and _is_json(first))


def _are_lines(head: bytes) -> bool:
    """Whether the first line is an object, and another follows."""
    first, _end, others = head.removeprefix(_BYTE_ORDER_MARK).strip().partition(b"\n")
    return first[:1] == others.lstrip()[:1] == b"{" and _is_json(first)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
