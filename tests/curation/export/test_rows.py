"""A page as a row of a table is read as the same page."""

import pytest

from wdstream.curation.export.rows import row_of
from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, Segment, TextSegment, TurnSegment
from wdstream.text.row_forms import read_row

PICTURE = ImageSegment(index=0)
ANSWER = TurnSegment(role="assistant", is_supervised=True, is_plain=True)


@pytest.mark.parametrize(
    ("form", "segments"),
    [
        ("text", (PICTURE, TextSegment(text="a page"))),
        ("text", (PICTURE, TextSegment(text="a < b, [1] and 2 > 1"))),
        ("content", (PICTURE, TextSegment(text="the tag <image> of HTML"))),
        ("content", (PICTURE, TextSegment(text="two <image> and <image>"))),
        ("content", (PICTURE, TextSegment(text="[IMG] and <img> elsewhere"))),
        ("content", (TextSegment(text="before"), PICTURE)),
        ("content", (PICTURE, TextSegment(text="read only", is_supervised=False))),
        ("messages", (TurnSegment(role="user"), PICTURE, ANSWER, TextSegment(text="see <image>"))),
    ],
)
def test_the_form_is_one_that_reads_the_same(form: str, segments: tuple[Segment, ...]) -> None:
    row = row_of(Page(key="a", images=(b"i",), segments=segments, meta={"text": "of the metadata", "year": 1999}))
    assert sorted({"text", "content", "messages"} & row.keys()) == [form]
    found = read_row({**row, "image": {"bytes": b"i", "path": "i.png"}})
    assert found.segments == segments
    assert found.meta == {"meta_text": "of the metadata", "year": 1999}


def test_a_placeholder_without_an_image_is_refused_by_whoever_reads_it() -> None:
    row = row_of(Page(key="a", images=(), segments=(TextSegment(text="see <image>"),)))
    with pytest.raises(RowError):
        read_row(row)
