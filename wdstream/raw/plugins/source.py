"""A plugin as a source of raw files: a subclass of `Source`, or a function from a path to rows or samples.

    def read(path):                      # pathlib.Path of a file, or of RAW where no suffix is named
        yield {"text": "...", "image": "name.png"}            a row of any form (text/row_forms.py)
        yield {"__key__": "7", "png": b"...", "txt": "..."}   a sample, as webdataset has it
        yield PageError("why there is no page 3")             one that cannot be read

A function is called once to count, and once for each shard that has pages of the file: it has to give the same again.
A PageError that it raises costs the rest of its file. Anything else that it raises is a mistake in it, and stops the
job with its place; so does what is neither a row nor a sample.
"""

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from wdstream.errors import ConfigError, PageError, SourceError, WdstreamError
from wdstream.raw.plugins.loading import Offer
from wdstream.raw.reading import lines_digest, note_line, sign_of_life
from wdstream.raw.remote.access import local_copy
from wdstream.raw.row_pages import RowPages, row_rules
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, PageReader, Source, StoredPage
from wdstream.raw.tars.sample_pages import page_of_sample
from wdstream.text.characters import replace_surrogates, short_name

KIND = "plugin "
WHOLE_FOLDER = "."
"""The path of the one file of a plugin that reads all of RAW."""

_NO_ROW = object()
_Rows = Callable[[Path], Iterable[object]]


class PluginSource(Source):
    """What a plugin offers, imported when the first of its files is read."""

    names_images = True

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.kind = KIND + offer.name
        self.suffixes = offer.suffixes or self._own_suffixes()

    @property
    def reads_folder(self) -> bool:
        """Whether it reads all of RAW at once, as it names no suffix."""
        return not self.suffixes

    def check_installed(self) -> None:
        """Check that it can be imported, and is a source or a function."""
        self._source()

    def known_pages(self, name: str) -> int | None:
        """As the plugin's own source says."""
        return self._source().known_pages(name)

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of pages."""
        with self._watched(path), self._with_file(path) as (source, file):
            return source.survey(file)

    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> AbstractContextManager[PageReader]:
        """Open a file for its pages."""
        return self._opened(pages, path, settings)

    def rows_digest(self, pages: PageRange, path: Path) -> str | None:
        """The digest of the rows of a range."""
        with self._watched(path), self._with_file(path) as (source, file):
            return source.rows_digest(pages, file)

    @contextmanager
    def _opened(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator[PageReader]:
        """The pages of a file, for the block; what the block itself raises is not a mistake of the plugin."""
        with ExitStack() as opened:
            with self._watched(path):
                source, file = opened.enter_context(self._with_file(path))
                reader = opened.enter_context(source.open(pages, file, settings))
            yield _WatchedReader(reader, lambda: self._watched(path))
            with self._watched(path):
                opened.close()

    @contextmanager
    def _with_file(self, path: Path) -> Iterator[tuple[Source, Path]]:
        """What reads a file, and the file as one of this machine; a function gets its own when it is called."""
        source = self._source()
        if isinstance(source, _FunctionSource):
            yield source, path
            return
        with local_copy(path) as file:
            yield source, file

    def _source(self) -> Source:
        found = self.offer.load()
        if isinstance(found, type) and issubclass(found, Source):
            return found()
        if isinstance(found, Source):
            return found
        if not callable(found):
            raise ConfigError(
                f"source {self.offer.name!r} at {self.offer.target} is {type(found).__name__}; a subclass of Source, "
                "or a function from a path to rows, expected"
            )
        return _FunctionSource(cast(_Rows, found), self.kind, self.suffixes)

    def _own_suffixes(self) -> tuple[str, ...]:
        return tuple(str(suffix).lower() for suffix in getattr(self.offer.load(), "suffixes", ()))

    @contextmanager
    def _watched(self, path: Path) -> Iterator[None]:
        """Say of a mistake in the plugin where it is, and at which file."""
        try:
            yield
        except (WdstreamError, OSError, MemoryError):
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"source {self.offer.name!r} has a mistake, met at {short_name(path.name)}: {type(error).__name__}: "
                f"{error} ({Path(frame.filename).name} line {frame.lineno}, in {frame.name})"
            ) from error


class _WatchedReader:
    """A reader of a plugin, whose mistakes are said to be its own."""

    def __init__(self, reader: PageReader, watched: Callable[[], AbstractContextManager[None]]) -> None:
        self._reader = reader
        self._watched = watched

    def read(self, number: int) -> StoredPage | None:
        with self._watched():
            return self._reader.read(number)


class _FunctionSource(Source):
    """A function from a path to rows or samples."""

    def __init__(self, function: _Rows, kind: str, suffixes: tuple[str, ...]) -> None:
        self._function = function
        self.kind, self.suffixes = kind, suffixes

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """Call it to count; what it raises is one page more."""
        count = 0
        try:
            for _row in self._rows(path):
                count += 1
        except PageError:
            if not count:
                raise
            count += 1
        return count, ()

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_FunctionReader"]:
        """Call it again, up to the pages of the range."""
        yield _FunctionReader(self._rows(path), pages, path, settings)

    def rows_digest(self, pages: PageRange, path: Path) -> str | None:
        """The digest of the rows of a range."""
        numbered = ((number, row) for number, row in enumerate(self._rows(path), 1) if number in pages.numbers)
        return lines_digest((number, _content(row)) for number, row in numbered)

    def _rows(self, path: Path) -> Iterator[object]:
        with local_copy(path) as file:
            for row in self._function(file):
                sign_of_life()
                yield row


class _FunctionReader:
    """Rows of a function as pages."""

    def __init__(self, rows: Iterator[object], pages: PageRange, path: Path, settings: RawSettings) -> None:
        self._rows = enumerate(rows, 1)
        self._file = pages.file
        self._path = path
        self._settings = settings
        is_folder = pages.file.path == WHOLE_FOLDER
        self._row_pages = RowPages(pages.file, path / "_" if is_folder else path, settings)

    def read(self, number: int) -> StoredPage:
        row = next((row for found, row in self._rows if found == number), _NO_ROW)
        if row is _NO_ROW:
            raise SourceError(f"there is no row {number} any more: the function has to give the same rows again")
        if number == self._file.num_pages and not isinstance(row, PageError) and next(self._rows, None) is not None:
            raise ValueError(f"it gave {number:,} rows when they were counted, and gives more now")
        note_line(self._path, number, _content(row))
        if isinstance(row, PageError):
            raise row
        if not isinstance(row, Mapping):
            raise TypeError(f"row {number} is {type(row).__name__}; a mapping, or a PageError, expected")
        fields = {str(name): value for name, value in row.items()}
        return self._sample(number, fields) if "__key__" in fields else self._row_pages.page(number, fields)

    def _sample(self, number: int, fields: Mapping[str, object]) -> StoredPage:
        key = str(fields["__key__"])
        parts = {name: value for name, value in fields.items() if not name.startswith("__") and value is not None}
        members = {name: _part(value) for name, value in parts.items()}
        stored = page_of_sample(key, members, self._settings, row_rules(self._settings))
        meta = {"source": replace_surrogates(self._file.path), "sample": replace_surrogates(key), **stored.page.meta}
        page = replace(stored.page, key=self._file.page_key(number, digits=6), meta=meta)
        return replace(stored, page=page)


def _part(value: object) -> bytes:
    """A part of a sample as a tar would have it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def _content(row: object) -> bytes:
    """What a row was made from: the same for the same row."""
    if not isinstance(row, Mapping):
        return repr(row).encode("utf-8", "replace")
    return b"".join(_part_content(str(name), value) for name, value in row.items())


def _part_content(name: str, value: object) -> bytes:
    data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "replace")
    return b"%s %d %s" % (name.encode("utf-8", "replace"), len(data), data)
