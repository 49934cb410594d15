"""CSV and TSV files with a column of images, such as the metadata.csv of an imagefolder: a record is a row.

    file_name,text
    a.png,"Two
    lines"

The first record names the columns; blank lines, comments (`# made by x`) and Excel's `sep=;` before it are passed over.
A table without a column of images has no pages, and is not read: people keep word lists, scores and the output of OCR
in such files, too. An empty cell is null.
"""

import csv
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from wdstream.errors import RowError, SourceError
from wdstream.raw.reading import limits
from wdstream.raw.remote.access import open_raw
from wdstream.raw.row_lines import FoundRow, find_lines, mark_rows, reached_in, rows_from_mark
from wdstream.raw.row_pages import FileRow, RowFileSource
from wdstream.raw.source import PageRange
from wdstream.text.characters import short_name
from wdstream.text.image_names import is_image_name, is_link
from wdstream.text.maps.forms import FILE_NAME_FIELDS, IMAGE_FIELDS
from wdstream.text.row_fields import speaks_of_image

_DELIMITERS = ",\t;|"
_MOST_COLUMNS, _MOST_BEFORE = 10_000, 100
_IMAGE_COLUMNS = frozenset((*IMAGE_FIELDS, *FILE_NAME_FIELDS))
_SEPARATOR = re.compile(rb'"?sep=[,;|\t]?"?', re.IGNORECASE)
_IN_QUOTES = re.compile(rb'(?:[^"]++|"")*+')


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first record: names of columns, what is between cells, and its bytes with those before it."""

    names: tuple[str, ...]
    delimiter: str
    line: bytes

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> "CsvHeader | None":
        """The header of a file, from its first lines, that has a column of images; None where there is none. A line
        that begins with `#` is one where the next does not name columns better."""
        before, commented = b"", None
        for line in islice(lines, _MOST_BEFORE):
            header = cls._of_line(line, before)
            before += line
            text = line.removeprefix(BOM_UTF8).strip()
            if not text or _SEPARATOR.fullmatch(text):
                continue
            if not text.startswith(b"#"):
                return header if commented is None or (header and _num_known(header.names)) else commented
            commented = commented or header
        return commented

    @classmethod
    def _of_line(cls, line: bytes, before: bytes) -> "CsvHeader | None":
        able = list[tuple[tuple[str, ...], str]]()
        for delimiter in _DELIMITERS:
            with suppress(UnicodeDecodeError, csv.Error):
                names = tuple(map(str.strip, _cells(line.decode("utf-8-sig"), delimiter)))
                if any(map(_is_image_column, names)):
                    able.append((names, delimiter))
        # `image_name| comment` is one name, which speaks of images, where commas are looked for.
        names, delimiter = max(able, key=lambda header: (_num_known(header[0]) > 0, len(header[0])), default=((), ""))
        return cls(names, delimiter, before + line) if names else None


def _is_image_column(name: str) -> bool:
    return _num_known((name,)) > 0 or speaks_of_image(name, has_images=True)


def _num_known(names: Sequence[str]) -> int:
    return sum(name.lower() in _IMAGE_COLUMNS for name in names)


class CsvSource(RowFileSource):
    """CSV and TSV files that have a column of images."""

    kind = "csv"
    suffixes = (".csv", ".tsv")
    doubtful_suffixes = suffixes

    def recognises(self, head: bytes) -> bool:
        """Whether the first line names a column of images."""
        return CsvHeader.of(head.splitlines(keepends=True)) is not None

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of records, and marks to find them by."""
        with open_raw(path) as file:
            read_header(file)
            return mark_rows(find_records(file, 0))

    def rows(self, pages: PageRange, path: Path) -> Generator[tuple[int, FileRow]]:
        """The records of the range."""
        with open_raw(path) as file:
            header = read_header(file)
            marks, reached = pages.file.marks, reached_in(path)
            for number, row in rows_from_mark(file, find_records, marks, pages.first, pages.count, reached):
                yield number, CsvRow(row, header)


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A record as it is written; None for one above the limit."""

    record: bytes | None
    header: CsvHeader

    def content(self) -> bytes:
        """Names of columns, and the record."""
        return self.header.line + (self.record or b"")

    def fields(self) -> Mapping[str, object] | None:
        """Its cells by the names of their columns, without empty ones; None for a blank line."""
        if self.record is None:
            raise RowError(f"record is above the limit of {limits().max_line_bytes} bytes (--max-line-bytes)")
        try:
            cells = _cells(self.record.decode(), self.header.delimiter)
        except UnicodeDecodeError as error:
            raise RowError(f"not UTF-8 (byte {error.start} of the record)") from error
        except csv.Error as error:
            raise RowError(f"not readable as CSV: {error}") from error
        return self._by_name(cells) if any(cells) else None

    def _by_name(self, cells: Sequence[str]) -> dict[str, object]:
        names = self.header.names
        if len(cells) != len(names):
            raise RowError(f"record has {len(cells)} cells, the first line names {len(names)} columns")
        return {name: cell for name, cell in zip(names, cells, strict=True) if cell}


def read_header(file: BinaryIO) -> CsvHeader:
    """The first line of a file.

    Raises:
        SourceError: it names no column of images, or two columns alike, or is a row.
    """
    file.seek(0)
    most = limits().max_line_bytes
    header = CsvHeader.of(iter(lambda: file.readline(most), b""))
    if header is None:
        file.seek(0)
        if b"\r" in file.readline(most).rstrip():
            raise SourceError("its lines end in CR alone, as on Macs of old: write LF or CR LF")
        raise SourceError(f"its first line names no column of images, such as {', '.join(FILE_NAME_FIELDS[:2])}, image")
    value = next((name for name in header.names if is_link(name) or _is_file_name(name)), None)
    if value is not None and not _num_known(header.names):  # next to `image`, an address is the name of a column
        raise SourceError(
            f"its first line is a row, since it has {short_name(value)!r}: put a line before it with the names of its "
            f"columns, such as file_name{header.delimiter}text"
        )
    name, times = Counter(header.names).most_common(1)[0]
    if times > 1:
        raise SourceError(f"column {short_name(name)!r} is there twice; give each a name of its own")
    if len(header.names) > _MOST_COLUMNS:
        raise SourceError(f"{len(header.names):,} columns; at most {_MOST_COLUMNS:,} are read")
    return header


def _is_file_name(name: str) -> bool:
    """Whether a name is that of an image file, and not of a column of such (`image.jpg`)."""
    return is_image_name(name) and not _num_known((name.rpartition(".")[0],))


def find_records(file: BinaryIO, place: int) -> Iterator[FoundRow]:
    """The records of a file from a place on, 0 for all: lines, joined while a quote is open."""
    most = limits().max_line_bytes
    header = read_header(file)
    opening = re.compile(rb"(?:\A|%b)\"" % re.escape(header.delimiter.encode()))
    start, pieces, num_bytes, is_open = place or len(header.line), list[bytes](), 0, False
    file.seek(start)
    for place, line in find_lines(file, start):
        start = start if pieces or num_bytes else place
        num_bytes += most + 1 if line is None else len(line)
        pieces.append(line or b"")
        if num_bytes > most:
            pieces.clear()
        is_open = is_open if line is None else _is_open_after(line, opening, is_open=is_open)
        if not is_open:
            yield start, b"".join(pieces) if num_bytes <= most else None
            pieces, num_bytes = [], 0
    if num_bytes:
        raise SourceError("a quote is open at the end of the file; the rows from here on are lost")


def _is_open_after(line: bytes, opening: re.Pattern[bytes], *, is_open: bool) -> bool:
    """Whether a quote is open at the end of a line; one inside of a cell that begins with none is text."""
    place = 0
    while True:
        if not is_open:
            found = opening.search(line, place)
            if found is None:
                return False
            place = found.end()
        inside = _IN_QUOTES.match(line, place)
        place = inside.end() if inside else place
        if place == len(line):
            return True
        place, is_open = place + 1, False


def _cells(text: str, delimiter: str) -> list[str]:
    if len(text) > csv.field_size_limit():  # of the whole process, which has other readers: never lowered
        csv.field_size_limit(len(text))  # records have a limit of their own
    records = list(csv.reader([text], delimiter=delimiter, strict=True))
    return records[0] if records else []
