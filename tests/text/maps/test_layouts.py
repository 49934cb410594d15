"""Layouts by name: every one is a map; lists of texts and images become one order, text exact."""

import pytest

from wdstream.errors import RowError
from wdstream.records import ImageSegment, TextSegment
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.layouts import LAYOUTS, arranged
from wdstream.text.row_forms import Row, RowRules, read_row

TURNS = [{"from": "human", "value": "<image>Q"}, {"from": "gpt", "value": "A"}]
INFO = {"image_name": "x.jpg", "matched_text_index": 1, "raw_url": "https://a.b/other.jpg", "matched_sim": 0.3}


def order(row: Row) -> list[str]:
    found = []
    for segment in row.segments:
        if isinstance(segment, ImageSegment):
            found.append(f"[{row.images[segment.index].name}]")
        elif isinstance(segment, TextSegment):
            found.append(segment.text)
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_a_map(name: str) -> None:
    assert FieldMap.of_layout(name).preset == name


def test_interleaved_lists_without_a_word_said() -> None:
    row = read_row(
        {"texts": [None, " a <image> ", None, "b"], "images": ["1.png", None, "2.png", None], "metadata": "[]"}
    )
    assert order(row) == ["[1.png]", " a <image> ", "[2.png]", "b"]
    assert row.how == "obelics: image=images, text=texts"
    assert row.meta == {"metadata": "[]"}


def test_images_before_their_sentences() -> None:
    infos = [INFO, {"image_name": "y.jpg", "matched_text_index": 1}, {"image_name": "z.jpg", "matched_text_index": 0}]
    row = read_row({"text_list": ["One.", "Two.", "Three."], "image_info": infos, "url": "https://a.b/page"})
    assert order(row) == ["[z.jpg]", "One.", "[x.jpg]", "[y.jpg]", "Two. Three."]
    assert row.meta["image_info"][0] == {k: v for k, v in INFO.items() if k != "image_name"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"texts": ["a"], "images": [None, "1.png"]}, "1 texts and 2 images"),
        ({"texts": [None, "a"], "images": [None, None]}, "place 0 has neither a text nor an image"),
        ({"texts": ["a"], "images": ["1.png"]}, "place 0 has both a text and an image"),
        ({"texts": [3], "images": [None]}, "text 0 is int, a string expected"),
        ({"text_list": ["a"], "image_info": [{**INFO, "matched_text_index": 7}]}, "matched_text_index 7; expected"),
        ({"text_list": ["a"], "image_info": [{"matched_text_index": 0, "raw_url": "u"}]}, "image 0 has none of bytes"),
        ({"text_list": ["a"], "image_info": ["x.jpg"]}, "image 0 has the matched_text_index None"),
    ],
)
def test_lists_that_do_not_fit(row: dict[str, object], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert reason in str(caught.value)


def test_rows_that_are_read_already_stay_what_they_are() -> None:
    row = read_row({"text": "t", "texts": [None, "x"], "images": ["1.png"]})
    assert order(row) == ["[1.png]", "t"] and row.meta == {"texts": [None, "x"]}
    row = read_row({"texts": [{"user": "Q", "assistant": "A"}], "images": ["1.png"]})
    assert row.how == "image=images, turns=texts"


@pytest.mark.parametrize(
    ("preset", "row", "texts"),
    [
        ("llava", {"image": "a.png", "conversations": TURNS, "id": "1"}, ["[a.png]", "Q", "A"]),
        ("sharegpt", {"conversations": TURNS, "images": ["a.png"]}, ["[a.png]", "Q", "A"]),
        ("alpaca", {"instruction": "I", "input": "in", "output": "O"}, ["I\nin", "O"]),
        ("swift", {"query": "Q", "response": "R", "history": [["a", "b"]]}, ["a", "b", "Q", "R"]),
        ("docvqa", {"image": "a.png", "question": "Q", "answers": ["A", "B"]}, ["[a.png]", "Q", "A"]),
        ("imagefolder", {"file_name": "a.png", "text": "T"}, ["[a.png]", "T"]),
        ("captions", {"image": "a.png", "caption": "T"}, ["[a.png]", "T"]),
        ("olmocr", {"image": "a.png", "response": '{"natural_text": "T", "is_table": false}'}, ["[a.png]", "T"]),
    ],
)
def test_rows_of_layouts(preset: str, row: dict[str, object], texts: list[str]) -> None:
    read = read_row(row, RowRules(field_map=FieldMap.of_layout(preset)))
    assert order(read) == texts
    assert read.how.startswith(f"{preset}: ")


def test_arranging_wants_lists() -> None:
    with pytest.raises(RowError, match="texts are str, images list; expected two lists"):
        arranged("interleaved", "a", [])


def test_rows_of_donut() -> None:
    """As SynthDoG has them; a receipt of CORD is refused with what it has."""
    page = {"image": b"\x89PNG\r\n\x1a\n", "ground_truth": '{"gt_parse": {"text_sequence": "two words"}}'}
    found = read_row(page)
    assert found.how == "donut: image=image, text=ground_truth.gt_parse.text_sequence"
    assert found.segments[1:] == (TextSegment(text="two words"),)
    with pytest.raises(RowError, match=r"found ground_truth, image; .* with a map which it is \(text=ground_truth\)"):
        read_row({**page, "ground_truth": '{"gt_parse": {"menu": [{"nm": "Nasi"}]}, "meta": {}}'})
