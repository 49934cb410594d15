"""Tables for tests, with small real images in them."""

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.errors import PageError
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, StoredPage
from wdstream.raw.tables.source import TableSource

SIDES = (40, 56)


@lru_cache
def small_images() -> tuple[bytes, ...]:
    """Shipped pages, small: three JPEG and three PNG."""
    return tuple(_small(path) for path in sorted((PAGES / "rows/images").iterdir()))


def _small(path: Path) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize(SIDES).save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG")
    return buffer.getvalue()


def surveyed(path: Path) -> RawFile:
    """A table as the survey leaves it."""
    num_pages, marks = TableSource().survey(path)
    return RawFile(
        path=path.name, kind="table", stem="t", num_bytes=path.stat().st_size, num_pages=num_pages, marks=marks
    )


def read_rows(path: Path, first: int = 1, count: int | None = None) -> Iterator[StoredPage | str]:
    """Rows of a table as pages, or why they are none."""
    file = surveyed(path)
    pages = PageRange(file=file, first=first, count=file.num_pages - first + 1 if count is None else count)
    with TableSource().open(pages, path, RawSettings()) as reader:
        for number in pages.numbers:
            try:
                page = reader.read(number)
                assert page is not None
                yield page
            except PageError as error:
                yield str(error)
