"""JSONL files: a line is a row, whose images are files next to it, or in the row itself.

    {"text": "see <image> and <image>", "images": ["a.png", "b.jpg"], "lang": "en"}
    {"content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "..."}]}
    {"messages": [{"role": "user", "content": "<image>Read."}, ...], "images": ["a.png"]}

wdstream/text/row_forms.py has all forms, wdstream/raw/row_files.py says where images are looked for. The text of a row
is taken word for word; it is split at placeholders here, once, and never searched again. A text of a content list that
is not to be supervised carries `"is_supervised": false`. All other fields become the row's metadata.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from wdstream.errors import PageError, RowError, SourceError
from wdstream.raw.images import read_file, store_image
from wdstream.raw.reading import note_line
from wdstream.raw.row_files import is_image_file, resolve_image
from wdstream.raw.row_lines import mark_lines, numbered_lines
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, Source, StoredImage, StoredPage, require_text
from wdstream.records import Page, TextSegment
from wdstream.text.characters import replace_surrogates
from wdstream.text.row_fields import DECLARED_FIELD, unambiguous
from wdstream.text.row_forms import Row, RowRules, read_row
from wdstream.text.row_images import RowImage

_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class RowSource(Source):
    """JSONL files: a line is a row of text and the names of its images."""

    kind = "rows"
    suffixes = (".jsonl",)
    names_images = True

    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """The number of lines, and marks to find them by."""
        return mark_lines(path)

    @contextmanager
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> Iterator["_RowReader"]:
        """Read the lines of the range one after the other."""
        yield _RowReader(pages, path, settings)


class _RowReader:
    """Rows as samples, with their images."""

    def __init__(self, pages: PageRange, path: Path, settings: RawSettings) -> None:
        self._file = pages.file
        self._path = path
        self._folder = path.parent
        self._settings = settings
        self._rules = RowRules(
            placeholder=settings.placeholder,
            chat_loss=settings.chat_loss,
            metadata_fields=frozenset(settings.metadata_fields),
            is_image_file=self._is_image_file,
        )
        self._lines = numbered_lines(path, pages.file.marks, pages.first, pages.count)

    def read(self, number: int) -> StoredPage | None:
        line = self._line(number)
        if line is None:
            raise RowError(f"line is above the limit of {self._settings.max_line_bytes} bytes (--max-line-bytes)")
        if not line.strip():
            return None
        row = read_row(parse_line(line), self._rules)
        text = "".join(segment.text for segment in row.segments if isinstance(segment, TextSegment))
        require_text(text, "the row holds none", self._settings)
        images = [self._stored(image) for image in row.images]
        page = Page(
            key=self._file.page_key(number, digits=6),
            images=tuple(image.data for image in images),
            segments=row.segments,
            meta={"source": replace_surrogates(self._file.path), "line": number, **row.meta, **self._declared(row)},
        )
        extensions, sizes = (tuple(image.extension for image in images), tuple(image.size for image in images))
        return StoredPage(page=page, extensions=extensions, sizes=sizes)

    def _declared(self, row: Row) -> dict[str, object]:
        """Which fields of a row without an image are metadata by the settings: whoever reads it would refuse it."""
        fields = sorted(self._rules.metadata_fields.intersection(row.meta))
        return {DECLARED_FIELD: fields} if fields and not row.images else {}

    def _line(self, number: int) -> bytes | None:
        try:
            for line_number, line in self._lines:
                if line_number == number:
                    note_line(self._path, number, line or b"")
                    return line
            raise SourceError(f"file ends before line {number}; it was cut after its lines were counted")
        except OSError as error:
            raise SourceError(f"file cannot be read: {error.strerror}") from error

    def _stored(self, image: RowImage) -> StoredImage:
        try:
            if image.data is not None:
                return store_image(image.data, self._settings)
            path = resolve_image(self._folder, image.name, allow_outside=self._settings.allow_outside_images)
            return store_image(read_file(path), self._settings)
        except RowError:
            raise
        except PageError as error:
            raise RowError(f"image {image.name or image.where!r}: {error}") from error

    def _is_image_file(self, name: str) -> bool:
        return is_image_file(self._folder, name)


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
    row: object = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unambiguous)
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
