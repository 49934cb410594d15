"""What a row of any file becomes."""

import pytest

from tests.helpers.paths import PAGES
from wdstream.errors import RowError, SourceError
from wdstream.raw.row_pages import RowPages
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import RawFile
from wdstream.records import ImageSegment, TextSegment

IMAGES = PAGES / "rows/images"
FILE = RawFile(path="set/rows.jsonl", kind="rows", stem="set/rows", num_bytes=1, num_pages=3)


def pages(**settings: bool) -> RowPages:
    return RowPages(FILE, IMAGES / "rows.jsonl", RawSettings.model_validate(settings))


def test_a_row_with_an_image_file_and_one_with_its_bytes() -> None:
    data = (IMAGES / "ocrmypdf-linn.png").read_bytes()
    for image in ("ocrmypdf-linn.png", data, {"bytes": data, "path": None}):
        stored = pages().page(3, {"image": image, "text": "LINN", "year": 1999})
        assert stored.page.key == "set/rows@000003"
        assert stored.page.images == (data,)
        assert stored.page.segments == (ImageSegment(index=0), TextSegment(text="LINN"))
        assert stored.page.meta == {"source": "set/rows.jsonl", "line": 3, "year": 1999}
        assert stored.extensions == ("png",)


def test_what_is_no_page() -> None:
    with pytest.raises(SourceError, match="no text: the row holds none"):
        pages().page(1, {"image": "ocrmypdf-linn.png", "text": " "})
    assert pages(keep_empty=True).page(1, {"image": "ocrmypdf-linn.png", "text": ""}).page.segments
    with pytest.raises(RowError, match=r"image 'images\[1\]': "):
        pages().page(1, {"images": ["ocrmypdf-linn.png", b"\x89PNG\r\n\x1a\n cut"], "text": "x"})
    with pytest.raises(RowError, match=r"image 'none\.png' does not exist"):
        pages().page(1, {"image": "none.png", "text": "x"})
