"""Placeholders that stand for nothing: where a page's text begins with one, reports say so."""

import pytest

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Segment, TextSegment
from wdstream.text.maps.readings import RowReading, RowReadings
from wdstream.text.placeholders import leading_mark, split_text

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
        ((IMAGE, TextSegment(text="nan\n")), "nan"),
        ((IMAGE, TextSegment(text="None")), "None"),
        ((IMAGE, TextSegment(text="None of these")), ""),
        ((IMAGE, TextSegment(text="Nan")), ""),
        ((TextSegment(text="nan"),), ""),
        ((IMAGE, TextSegment(text="a"), TextSegment(text="nan")), ""),
    ],
)
def test_the_text_of_the_only_image_begins_with_its_mark(segments: tuple[Segment, ...], mark: str) -> None:
    assert leading_mark(segments) == mark


def test_reports_count_such_texts() -> None:
    missing = RowReadings()
    missing.add("t.csv", RowReading(mark="nan"))
    assert [*missing.lines()] == [
        "warning: 1 texts are nan and nothing else, which programs write where a value is missing: leave these rows "
        "out, unless their images show it"
    ]
    readings = RowReadings()
    for reading in (RowReading(mark="<image>"), RowReading(), RowReading(mark="<image>")):
        readings.add("pages/a.png", reading)
    kept = RowReadings.from_json(readings.to_json())
    assert readings.to_json() == {"marks": {"<image>": 2}}
    assert [*kept.lines()] == [
        "warning: 2 texts begin with <image>, which stands for an image elsewhere; here the image is a part of its "
        "own, and the mark is trained on as text: take it out of the texts"
    ]


@pytest.mark.parametrize(
    "mark", ["<image-placeholder>", "<image_soft_token>", "<IMG_CONTEXT>", "<|media_placeholder|>"]
)
def test_marks_of_llava_gemma_internvl_and_kimi_are_not_trained_on_as_text(mark: str) -> None:
    with pytest.raises(RowError) as caught:
        split_text(f"{mark}\nRead this.", 1)
    assert f"the text has {mark}, which looks like a placeholder" in str(caught.value)
    assert split_text(f"{mark} in code", 0) == (TextSegment(text=f"{mark} in code"),)
