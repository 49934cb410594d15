"""What a row of any file becomes."""

import numpy as np
import pytest

from tests.helpers.paths import PAGES
from wdstream.errors import RowError, SourceError
from wdstream.raw.row_pages import RowPages
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import RawFile
from wdstream.records import ImageSegment, TextSegment
from wdstream.shards.page_members import is_row_of_ours

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


def test_a_row_with_a_source_of_its_own_is_known_as_ours() -> None:
    for own in ({"source": "VQAv2"}, {"source": "lvis.json"}, {"source": "lvis.json", "line": "a"}, {"line": 2.5}):
        meta = pages().page(3, {"text": "t", **own}).page.meta
        assert meta == {"source": "set/rows.jsonl", "line": 3, **own, "row_of": "set/rows.jsonl:3"}
        assert is_row_of_ours(meta)
    exported = {"source": "rows.jsonl", "line": 9}
    assert pages().page(3, {"text": "t", **exported}).page.meta == exported
    assert not is_row_of_ours({"source": "VQAv2", "row_of": "somewhere"})
    with pytest.raises(SourceError, match="no text: the answer is empty"):
        pages().page(1, {"question": "Q", "answer": ""})


def test_a_picture_in_memory_is_refused_by_name() -> None:
    """Rows of plugins may have some."""
    for field in ("image", "scan_image"):
        with pytest.raises(RowError, match=r"image is a picture in memory \(ndarray\)|holds a picture, array or file"):
            pages().page(3, {field: np.zeros((30, 40, 3), np.uint8), "text": "t"})


def test_values_in_names_of_folders_are_metadata() -> None:
    path = "set/lang=de/day=2024%2D01/n=__HIVE_DEFAULT_PARTITION__/part-0.parquet"
    rows = RowPages(FILE._replace(path=path), IMAGES / "rows.jsonl", RawSettings())
    assert rows.page(3, {"text": "t"}).page.meta == {"lang": "de", "day": "2024-01", "source": path, "line": 3}
    assert rows.page(3, {"text": "t", "lang": "fr"}).page.meta["lang"] == "fr"


def test_what_is_no_page() -> None:
    with pytest.raises(SourceError, match="no text: the row holds none"):
        pages().page(1, {"image": "ocrmypdf-linn.png", "text": " "})
    assert pages(keep_empty=True).page(1, {"image": "ocrmypdf-linn.png", "text": ""}).page.segments
    with pytest.raises(RowError, match=r"image 'images\[1\]': "):
        pages().page(1, {"images": ["ocrmypdf-linn.png", b"\x89PNG\r\n\x1a\n cut"], "text": "x"})
    with pytest.raises(RowError, match=r"image 'none\.png' does not exist"):
        pages().page(1, {"image": "none.png", "text": "x"})
