from pathlib import Path

import pytest

from tests.helpers.paths import DATA
from wdstream.errors import SourceError
from wdstream.raw.pdf.source import PdfSource
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, StoredPage
from wdstream.records import TextSegment

CASES = DATA / "cases" / "pdf"


def read(path: Path, number: int = 1, **settings: bool | int | str) -> StoredPage:
    """A page as make-shards stores it."""
    source = PdfSource()
    num_pages, _ = source.survey(path)
    file = RawFile(path=path.name, kind="pdf", stem=path.stem, num_bytes=1, num_pages=num_pages)
    with source.open(
        PageRange(file=file, first=1, count=num_pages), path, RawSettings.model_validate(settings)
    ) as reader:
        return reader.read(number)


def text_of(page: StoredPage) -> str:
    return "".join(segment.text for segment in page.page.segments if isinstance(segment, TextSegment))


def test_a_page_in_larger_units_has_the_size_that_viewers_show() -> None:
    assert read(CASES / "userunit.pdf").sizes == ((1667, 1250),)


def test_a_page_above_the_limit_is_fitted_when_asked() -> None:
    with pytest.raises(SourceError, match=r"page of 30000x30000 pixels at 150 dpi .* --fit draws it as large as fits"):
        read(CASES / "huge.pdf")
    page = read(CASES / "huge.pdf", fit=True, max_pixels=1_000_000)
    assert (page.sizes, text_of(page)) == (((1000, 1000),), "A poster of two hundred inches")


def test_the_placeholder_of_an_xfa_form_is_no_page() -> None:
    with pytest.raises(SourceError, match="page is the placeholder of an XFA form"):
        read(CASES / "xfa.pdf")
