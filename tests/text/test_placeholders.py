"""Placeholders that stand for nothing: where a page's text begins with one, reports say so."""

import pytest

from wdstream.records import ImageSegment, Segment, TextSegment
from wdstream.text.maps.readings import RowReading, RowReadings
from wdstream.text.placeholders import leading_mark

IMAGE = ImageSegment(index=0)


@pytest.mark.parametrize(
    ("segments", "mark"),
    [
        ((IMAGE, TextSegment(text="<image>\ntext")), "<image>"),
        ((IMAGE, TextSegment(text=" <|vision_start|><|image_pad|>")), "<|vision_start|>"),
        ((IMAGE, TextSegment(text="text <image>")), ""),
        ((TextSegment(text="<image> is a mark"),), ""),
        ((IMAGE, TextSegment(text="<image>"), ImageSegment(index=1)), ""),
        ((IMAGE,), ""),
    ],
)
def test_the_text_of_the_only_image_begins_with_its_mark(segments: tuple[Segment, ...], mark: str) -> None:
    assert leading_mark(segments) == mark


def test_reports_count_such_texts() -> None:
    readings = RowReadings()
    for reading in (RowReading(mark="<image>"), RowReading(), RowReading(mark="<image>")):
        readings.add("pages/a.png", reading)
    kept = RowReadings.from_json(readings.to_json())
    assert readings.to_json() == {"marks": {"<image>": 2}}
    assert [*kept.lines()] == [
        "warning: 2 texts begin with <image>, which stands for an image elsewhere; here the image is a part of its "
        "own, and the mark is trained on as text: take it out of the texts"
    ]
