"""Pages of a raw folder in this process, as make-shards makes them in its own: read, stored, and read back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wdstream.errors import PageError
from wdstream.raw.listing import Listing, list_files
from wdstream.raw.reading import reading
from wdstream.raw.registry import source_of_kind
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile
from wdstream.records import Page, TextSegment
from wdstream.shards.page_members import members_from_page, page_from_members
from wdstream.text.maps.readings import RowReadings


@dataclass
class RawPages:
    """Pages by key, and (file, page, reason) of what is none; page 0 is a whole file."""

    listing: Listing
    pages: dict[str, Page] = field(default_factory=dict)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    readings: RowReadings = field(default_factory=RowReadings)

    @property
    def texts(self) -> dict[str, str]:
        """Texts of the pages by key."""
        return {key: text_of(page) for key, page in self.pages.items()}


def text_of(page: Page) -> str:
    return "".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))


def read_raw(raw: Path, *, pages_at_once: int = 1000, **settings: object) -> RawPages:
    """All pages of a folder; a file is opened again after every `pages_at_once`."""
    chosen = RawSettings.of(settings)
    found = RawPages(list_files(raw))
    found.refused += [(path, 0, reason) for path, reason in found.listing.unreadable]
    with reading(raw, chosen):
        for file in found.listing.files:
            source = source_of_kind(file.kind)
            try:
                num_pages, marks = source.survey(raw / file.path)
            except PageError as error:
                found.refused.append((file.path, 0, str(error)))
                continue
            file = RawFile(
                path=file.path, kind=file.kind, stem=file.stem, num_bytes=0, num_pages=num_pages, marks=marks
            )
            for item in _ranges(file, pages_at_once):
                _read(found, item, raw / file.path, chosen)
    return found


def _ranges(file: RawFile, count: int) -> Iterator[PageRange]:
    for first in range(1, file.num_pages + 1, count):
        yield PageRange(file=file, first=first, count=min(count, file.num_pages - first + 1))


def _read(found: RawPages, item: PageRange, path: Path, settings: RawSettings) -> None:
    with source_of_kind(item.file.kind).open(item, path, settings) as reader:
        for number in item.numbers:
            try:
                stored = reader.read(number)
            except PageError as error:
                found.refused.append((item.file.path, number, str(error)))
                continue
            if stored is not None:
                key = stored.page.key
                assert key not in found.pages, key
                found.readings.add(item.file.path, stored.reading)
                found.pages[key] = page_from_members(key, members_from_page(stored.page, stored.extensions))
