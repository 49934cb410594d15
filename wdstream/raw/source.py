"""What a raw source is: the interface of each kind of raw file, and the records that pass through it.

A new kind of file is one module here with a subclass of `Source`, and one line in registry.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from wdstream.errors import SourceError
from wdstream.raw.settings import RawSettings
from wdstream.records import ImageSegment, Page, Size, TextSegment
from wdstream.text.maps.readings import NO_READING, RowReading


class RawFile(NamedTuple):
    """One raw file: as it is listed, and after the survey with its number of pages. Made of its values in a fraction of
    the time of a dataclass: there may be millions.

    Attributes:
        path: relative to the raw folder, with forward slashes.
        kind: of its source.
        num_bytes: its size.
        stem: what the keys of its pages start with; no other file of the folder has it.
        num_pages: pages of a PDF or TIFF, lines of a JSONL file, 1 for other images; 0 when it cannot be read, and
            before the survey.
        marks: what the survey noted to find pages by: of a JSONL file, the offset of every thousandth line.
        reason: why it cannot be read, or None.
        texts: paths of the files with the text of its pages, relative to the raw folder, besides those of sidecar.py.
        near: the path of a text file of its name where none is looked for, if it has no text.
        meta: metadata of its pages that METS gives; its texts are then those that METS names, or of its name.
        sidecars: names of the files of sidecar.py that were listed next to it; None where they are to be looked for.
            Of the listing alone: files that differ in nothing else are equal.
    """

    path: str
    kind: str
    num_bytes: int
    stem: str = ""
    num_pages: int = 0
    marks: tuple[int, ...] = ()
    reason: str | None = None
    texts: tuple[str, ...] = ()
    near: str | None = None
    meta: tuple[tuple[str, str | int], ...] = ()
    sidecars: tuple[str, ...] | None = None

    @property
    def is_single_image(self) -> bool:
        """Whether the file is its one page: its bytes are stored as they are, and the page has no number."""
        return self.kind == "image" and self.num_pages == 1

    def page_key(self, number: int, *, digits: int = 4) -> str:
        """The key of page (or line) `number`, from 1, of a file of many."""
        return f"{self.stem}@{number:0{digits}d}"

    def without_sidecars(self) -> tuple[Any, ...]:
        """Its values but the last, which are the same in every listing."""
        return self[:-1]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "RawFile":
        """A file of its values, or `without_sidecars`, once they were JSON, which knows no tuples."""
        plain: list[Any] = [tuple(value) if type(value) is list else value for value in values]
        file = cls(*plain)
        return file._replace(meta=tuple((name, value) for name, value in file.meta)) if file.meta else file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawFile) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:-1])


class PageRange(NamedTuple):
    """Pages `first` to `first + count - 1`, from 1, of one raw file."""

    file: RawFile
    first: int
    count: int  # type: ignore[assignment]  # not the method of tuples, which nobody asks for

    @property
    def numbers(self) -> range:
        """The pages, by number."""
        return range(self.first, self.first + self.count)

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> "PageRange":
        """A range that was sent to a process as JSON: its values alone, as a shard has many."""
        file, first, count = row
        return cls(RawFile.from_json(file), first, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image as it goes into a shard: bytes, extension, and (width, height) after EXIF rotation."""

    data: bytes
    extension: str
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """A page ready for a shard, with extension and (width, height) of each of its images, and how its row was read."""

    page: Page
    extensions: tuple[str, ...]
    sizes: tuple[Size, ...]
    reading: RowReading = NO_READING


class PageReader(Protocol):
    """Reads the pages of one range, asked for in rising order."""

    def read(self, number: int) -> StoredPage | None:
        """Page or line `number`, from 1; None for a blank line.

        Raises:
            PageError: it cannot become a sample.
        """


class Source(ABC):
    """A kind of raw file. Its objects hold nothing.

    Attributes:
        kind: its name in reports, surveys and records.
        suffixes: endings of its files, in lower case. Where sources share one, `recognises` decides.
        takes_sidecar: whether a text file next to it is its text (texts/).
        names_images: whether it names image files, which are then pages of its own (rows).
        may_belong_to_rows: whether it may be such an image file.
        doubtful_suffixes: those of `suffixes` that others use for something else, too: `recognises` decides.
        companions: names of files that come with its files and hold no pages.
        least_page_bytes: that one of its pages is expected to have in a shard, where its files have fewer: pages that
            are drawn, and images that rows name, are not in them.
    """

    kind: str
    suffixes: tuple[str, ...]
    takes_sidecar: ClassVar[bool] = False
    names_images: ClassVar[bool] = False
    may_belong_to_rows: ClassVar[bool] = False
    doubtful_suffixes: ClassVar[tuple[str, ...]] = ()
    companions: ClassVar[tuple[str, ...]] = ()
    least_page_bytes: ClassVar[int] = 1 << 19

    def check_installed(self) -> None:  # noqa: B027  # most sources need nothing
        """Check, before a job starts, that a library is there which the source needs.

        Raises:
            ConfigError: it is not, with the command that installs it.
        """

    def recognises(self, head: bytes) -> bool:
        """Whether a file that starts with these 64 kB is of this kind; asked where its suffix leaves that open."""
        return True

    def known_pages(self, name: str) -> int | None:
        """How many pages a file has by its name alone; None where it must be opened."""
        return None

    @abstractmethod
    def survey(self, path: Path) -> tuple[int, tuple[int, ...]]:
        """Open a file: its number of pages, and its `RawFile.marks`.

        Raises:
            PageError: it cannot be read.
            OSError: as well.
        """

    def rows_digest(self, pages: PageRange, path: Path) -> str | None:
        """The digest of the rows of a range, as `note_line` noted them; None where pages are made of whole files.

        Raises:
            PageError: the file cannot be read.
            OSError: as well.
        """
        return None

    @abstractmethod
    def open(self, pages: PageRange, path: Path, settings: RawSettings) -> AbstractContextManager[PageReader]:
        """Open a file, for a block, to read a range of its pages.

        Raises:
            PageError: the file as a whole cannot be read.
        """


def split_suffix(name: str, suffixes: tuple[str, ...]) -> tuple[str, str] | None:
    """A file name without its suffix, and the suffix, which is one of `suffixes` in any case; None for none of them."""
    lower = name.lower()
    if not lower.endswith(suffixes):
        return None
    for suffix in suffixes:
        if lower.endswith(suffix) and lower != suffix:
            return name[: -len(suffix)], name[-len(suffix) :]
    return None


def require_text(text: str, reason: str, settings: RawSettings) -> None:
    """Refuse a page without text, unless such pages are kept.

    Raises:
        SourceError: with `reason`, which says where text was looked for.
    """
    if not settings.keep_empty and not text.strip():
        raise SourceError(f"no text: {reason}")


def page_of_image(key: str, image: StoredImage, text: str, meta: Mapping[str, object]) -> StoredPage:
    """A page of one image followed by its text, if there is any."""
    segments = (ImageSegment(index=0), TextSegment(text=text)) if text else (ImageSegment(index=0),)
    page = Page(key=key, images=(image.data,), segments=segments, meta=meta)
    return StoredPage(page=page, extensions=(image.extension,), sizes=(image.size,))
