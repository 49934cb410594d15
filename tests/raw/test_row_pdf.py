from collections.abc import Mapping

import pytest

from tests.helpers.paths import PAGES
from wdstream.errors import RowError
from wdstream.pixels.header import image_header
from wdstream.raw.row_pdf import with_pages_drawn
from wdstream.raw.settings import RawSettings

SLIDES = (PAGES / "pdf/slides-packaging-tutorial-en.pdf").read_bytes()
NAME = "pdf/handbook-fa-sect.user-space.pdf"
TWO = (PAGES / NAME).read_bytes()
SETTINGS = RawSettings(dpi=50)


def drawn(fields: Mapping[str, object], settings: RawSettings = SETTINGS) -> Mapping[str, object]:
    return with_pages_drawn(fields, settings, [PAGES])


def test_a_page_of_a_pdf_is_the_image_of_its_row() -> None:
    found = drawn({"pdf": TWO, "page": 2, "text": "t", "id": 1})
    assert {name: value for name, value in found.items() if name != "image"} == {"page": 2, "text": "t", "id": 1}
    assert isinstance(found["image"], bytes)
    assert image_header(found["image"]).format == "JPEG"
    assert found["image"] != drawn({"pdf": TWO, "page_number": 1, "text": "t"})["image"]
    assert drawn({"document": {"bytes": SLIDES, "path": None}, "text": "t"})["image"]
    assert "pdf" in drawn({"pdf": SLIDES, "text": "t"}, SETTINGS.model_copy(update={"map": ("image=pdf,text=text",)}))


def test_a_page_of_a_pdf_that_is_named() -> None:
    for page in (2, "2", 2.0):  # JSON, CSV, and a column of pandas with nulls
        found = drawn({"pdf_relpath": NAME, "page_number": page, "natural_text": "t"})
        assert found["image"] == drawn({"pdf": TWO, "page": 2, "text": "t"})["image"]
        assert found["pdf_relpath"] == NAME


def test_rows_that_are_left_as_they_are() -> None:
    rows: list[Mapping[str, object]] = [
        {"text": "t"},
        {"image": b"x", "pdf": SLIDES},
        {"text": "t", "url": "https://example.org/a.pdf"},
    ]
    assert [drawn(row) for row in rows] == rows
    declared = {"text": "t", "pdf_path": "a.pdf"}
    assert drawn(declared, SETTINGS.model_copy(update={"metadata_fields": ("pdf_path",)})) == declared


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"pdf": TWO},
            "PDF in 'pdf': it has 2 pages, and nothing says which is meant: add its number, from 1, in 'page'",
        ),
        ({"pdf": TWO, "page": 3}, "PDF in 'pdf': it has 2 pages, and the row says page 3"),
        ({"pdf": TWO, "page": 0}, "it has 2 pages, and the row says page 0"),
        ({"pdf": b"%PDF-1.4 cut"}, "PDF in 'pdf': "),
        ({"pdf_relpath": "a/b.pdf", "text": "t"}, "PDF in 'pdf_relpath': image 'a/b.pdf' does not exist"),
        ({"pdf_path": "../data/x.pdf", "text": "t"}, "leaves the folder of the JSONL file"),
        ({"pdf_path": NAME, "page": "3"}, "PDF in 'pdf_path': it has 2 pages, and the row says page 3"),
    ],
)
def test_rows_that_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        drawn(fields)
    assert reason in str(caught.value)
