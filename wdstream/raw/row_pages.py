"""Rows of a file as pages: what every kind of file of rows shares, however its rows are found.

A kind finds rows by number (`RowFileSource.rows`). Here a row becomes a page: its form is read, its images are taken
from the row or from files next to it (row_files.py), it gets its key, and where it is from.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import unquote

from wdstream.errors import PageError, RowError, SourceError
from wdstream.raw.images import read_file, store_image
from wdstream.raw.ocr.untold import require_answer, with_text
from wdstream.raw.reading import lines_digest, note_line
from wdstream.raw.row_files import ImagesNear, find_image, image_folders, is_image_file, read_plain_image
from wdstream.raw.row_pdf import with_pages_drawn
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, Source, StoredImage, StoredPage
from wdstream.records import Page
from wdstream.shards.page_members import ROW_OF, is_row_of_ours
from wdstream.text.characters import replace_surrogates
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.forms import ALL_IMAGE_FIELDS
from wdstream.text.row_fields import no_file, with_declared
from wdstream.text.row_forms import Row, RowRules, read_row
from wdstream.text.row_images import RowImage

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
ToMetadata = Callable[[Mapping[str, object]], Mapping[str, object]]


def row_rules(settings: RawSettings, is_image: Callable[[str], bool] = no_file) -> RowRules:
    """How rows are read by the settings; `is_image` tells the names of image files that rows may mean.

    Raises:
        ConfigError: the map in the settings is none, or there is no such preset.
    """
    return RowRules(
        placeholder=settings.placeholder,
        chat_loss=settings.chat_loss,
        metadata_fields=frozenset(settings.metadata_fields),
        is_image_file=is_image,
        answers=settings.answers,
        field_map=FieldMap.chosen(settings.map, settings.preset),
    )


class FileRow(Protocol):
    """One row as its file gives it."""

    def content(self) -> bytes:
        """What it was made from, for its digest."""

    def fields(self) -> Mapping[str, object] | None:
        """Its fields; None for a blank line.

        Raises:
            PageError: it cannot be read.
        """


class RowFileSource(Source):
    """A kind of file whose pages are rows."""

    names_images: ClassVar[bool] = True
    least_page_bytes: ClassVar[int] = 1 << 15

    @abstractmethod
    def rows(self, pages: PageRange, path: Path) -> Generator[tuple[int, FileRow]]:
        """The rows of a range by number, from its first.

        Raises:
            PageError: the file cannot be read further.
            OSError: as well.
        """

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_RowReader"]:
        """Read the rows of the range one after the other."""
        with closing(self.rows(pages, path)) as rows:
            yield _RowReader(rows, RowPages(pages.file, path, settings, self.metadata), path)

    def metadata(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a row that are left as metadata, with the values that JSON has.

        Raises:
            PageError: a value has no place in metadata.
        """
        return fields

    def rows_digest(self, pages: PageRange, path: Path) -> str | None:
        """The digest of the rows of a range."""
        return lines_digest((number, row.content()) for number, row in self.rows(pages, path))


class RowPages:
    """Makes pages of the rows of one file.

    Args:
        file: that the rows are from.
        path: of that file.
        settings: how.
        metadata: as `RowFileSource.metadata`.
    """

    def __init__(self, file: RawFile, path: Path, settings: RawSettings, metadata: ToMetadata = dict) -> None:
        self._file = file
        self._folders = image_folders(path, file.path, settings.image_folders)
        self._settings = settings
        self._metadata = metadata
        self._rules = row_rules(settings, self._is_image_file)
        self._near = ImagesNear(self._folders)

    def page(self, number: int, fields: Mapping[str, object]) -> StoredPage:
        """Row `number` of the file.

        Raises:
            PageError: it cannot become a page.
        """
        drawn = with_pages_drawn(fields, self._settings, self._folders)
        try:
            row = read_row(drawn, self._rules)
        except RowError:
            if ALL_IMAGE_FIELDS.isdisjoint(drawn):
                self._near.refuse_named(drawn, self._rules.metadata_fields)  # which says more
            raise
        if not row.images:
            self._near.refuse_named(row.meta, self._rules.metadata_fields)
        page = Page(
            key=self._file.page_key(number, digits=6),
            images=(b"",) * len(row.images),
            segments=row.segments,
            meta=self._declared(row, self._with_place(number, self._metadata(row.meta))),
        )
        require_answer(page, "the row holds none", self._settings)
        images = [self._stored(image) for image in row.images]
        stored = StoredPage(
            page=replace(page, images=tuple(image.data for image in images)) if images else page,
            extensions=tuple(image.extension for image in images),
            sizes=tuple(image.size for image in images),
            reading=row.reading,
        )
        return with_text(stored, self._settings)

    def _with_place(self, number: int, meta: Mapping[str, object]) -> dict[str, object]:
        """Metadata with the file and the line of the row, by which whoever reads it knows that it was judged here."""
        path = replace_surrogates(self._file.path)
        found = {**_partition(path), "source": path, "line": number, **meta}
        is_told = not meta.keys() & {"source", "line"} or is_row_of_ours(meta)  # one that was exported has both
        return found if is_told else found | {ROW_OF: f"{path}:{number}"}

    def _declared(self, row: Row, meta: dict[str, object]) -> dict[str, object]:
        """Metadata with which fields of a row without an image are that by the settings: a reader would refuse it."""
        fields = self._rules.metadata_fields.intersection(row.meta)
        return with_declared(meta, fields) if fields and not row.images else meta

    def _stored(self, image: RowImage) -> StoredImage:
        if image.picture is not None:  # of a plugin
            kind = type(image.picture).__name__
            raise RowError(f"{image.where} is a picture in memory ({kind}); give the bytes of an image file")
        try:
            if image.data is not None:
                return store_image(image.data, self._settings)
            data = read_plain_image(self._folders[0], image.name)
            if data is None:
                allow_outside = self._settings.allow_outside_images
                data = read_file(find_image(self._folders, image.name, allow_outside=allow_outside))
            return store_image(data, self._settings)
        except RowError:
            raise
        except PageError as error:
            raise RowError(f"image {image.name or image.where!r}: {error}") from error

    def _is_image_file(self, name: str) -> bool:
        return any(is_image_file(folder, name) for folder in self._folders)


def _partition(path: str) -> dict[str, object]:
    """Values in the names of folders, as Hive, Spark and pyarrow write partitions: `lang=de/part-0.parquet`."""
    parts = [part.partition("=") for part in path.split("/")[:-1]]
    values = {name: unquote(value) for name, equals, value in parts if equals and name.isidentifier()}
    return {name: value for name, value in values.items() if value and value != _NO_VALUE}


class _RowReader:
    """Rows as samples, with their images."""

    def __init__(self, rows: Iterator[tuple[int, FileRow]], pages: RowPages, path: Path) -> None:
        self._rows = rows
        self._pages = pages
        self._path = path

    def read(self, number: int) -> StoredPage | None:
        row = self._row(number)
        note_line(self._path, number, row.content())
        fields = row.fields()
        return None if fields is None else self._pages.page(number, fields)

    def _row(self, number: int) -> FileRow:
        try:
            for row_number, row in self._rows:
                if row_number == number:
                    return row
        except OSError as error:
            raise SourceError(f"file cannot be read: {error.strerror or error}") from error
        raise SourceError(f"file ends before line {number}; it was cut after its lines were counted")
