"""Rows of which a part alone would be trained on: refused by every door, and what takes the right part."""

import json

import numpy as np
import pytest

from wdstream.errors import RowError
from wdstream.nodes.as_page import as_page
from wdstream.records import ImageSegment, TextSegment, TurnSegment
from wdstream.shards.page_members import page_from_members
from wdstream.shards.samples.told import reading_of_sample
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.maps.readings import RowReadings
from wdstream.text.row_forms import Row, RowRules, read_row

IMAGE = b"\x89PNG\r\n\x1a\n"
ASKED = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}]
SAID = [{"role": "assistant", "content": "A"}]


def row(fields: dict[str, object], field_map: str | None = None, *metadata: str) -> Row:
    chosen = FieldMap.parse(field_map) if field_map else None
    return read_row(fields, RowRules(field_map=chosen, metadata_fields=frozenset(metadata)))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"images": [IMAGE], "prompt": ASKED, "chosen": SAID, "rejected": SAID},
            "'rejected' is an answer to avoid: pairs of preferences are not trained on; take the chosen answer alone "
            "with --map question=prompt,answer=chosen, or say that it is metadata with --metadata-field rejected",
        ),
        (
            {"messages": [*ASKED, *SAID], "images": [IMAGE], "rejected_response": "B"},
            "'rejected_response' is an answer",
        ),
        ({"text": "t", "chosen": "A", "rejected": "B"}, "with --map turns=chosen"),
        ({"conversations": [*ASKED], "chosen": SAID[0], "rejected": SAID[0]}, "--map question=conversations,answer"),
        ({"prompt": "Q", "completion": "A", "label": False}, "'label' is false: the answer is one to avoid"),
        ({"messages": [{"role": "user", "content": "Q"}, *SAID], "kto_tag": False}, "'kto_tag' is false"),
        (
            {"image": IMAGE, "text": "Find <bbox>", "objects": {"bbox": [[1, 2, 3, 4]]}},
            "the text has <bbox>, which stands for a value of 'objects'",
        ),
        ({"pdf": "a/b.pdf", "page": 1, "text": "t"}, "pdf names a PDF, 'a/b.pdf', and the row has no image"),
        ({"text": "<video>\nWhat is this?"}, "the text has <video>, and nothing but images is read"),
    ],
)
def test_half_a_row(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        row(fields)
    assert reason in str(caught.value)
    with pytest.raises(RowError):
        as_page(fields)


BOXES = "72,25,326,25,326,64,72,64,TAN WOON YANN\n50,82,440,82,440,121,50,121,BOOK TA .K"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
WHERE = (
    "field {!r} says where on a page this text is, and the row has no image: it is a part of what was read on a page; "
)
WHERE += (
    "give the image of the page with all its text, in one row, or say that this is metadata with --metadata-field {}"
)


@pytest.mark.parametrize(
    "place",
    [
        {"bbox": [1, 2, 3, 4], "text": "hello", "span_num": 1},  # words of PubTables-1M
        {"bbox": {"l": 1, "t": 2, "r": 3.5, "b": 4, "coord_origin": "TOPLEFT"}, "text": "x"},
        {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]], "words": ["a", "b"], "text": "a b"},
        {"polygon": [[1, 2], [3, 4], [5, 6], [7, 8]], "text": "x", "confidence": 0.9},
        {"boundingBox": [1, 2, 3, 4, 5, 6, 7, 8], "text": "x"},
        {"bbox": np.array([1, 2, 3, 4]), "text": "x"},
        {"bbox": [np.int64(1), np.int64(2), np.float32(3), np.int64(4)], "text": "x"},
        {"boundingPoly": {"vertices": np.array([[1, 2], [9, 2], [9, 8]])}, "text": "x"},
        {"boundingPoly": {"vertices": [{"x": 1, "y": 2}, {"x": 9, "y": 2}, {"x": 9, "y": 8}]}, "text": "x"},  # Google
        {"bbox": "1 2 3 4", "text": "x"},
        {"bbox": "(1,2,3,4)", "text": "x"},
        {"bbox": "[1, 2, 3, 4]", "text": "x"},
        {"left": 1, "top": 2, "width": 3, "height": 4, "conf": 96, "text": "x"},
        {"xmin": 1.5, "ymin": 2, "xmax": 3, "ymax": 4, "text": "x"},
        {"location": {"bbox": [1, 2, 3, 4]}, "text": "x"},
        {"prov": [{"page_no": 1, "bbox": {"l": 1, "t": 2, "r": 3, "b": 4}}], "text": "x"},  # docling
        {"words": [{"word": "x", "box": [1, 2, 3, 4]}], "text": "x"},
        {"page_idx": 0, "type": "text", "text": "x"},  # content_list.json of MinerU
        {"element_id": "ab", "type": "NarrativeText", "text": "x", "metadata": {"page_number": 1}},  # unstructured
    ],
)
def test_a_part_of_a_page_without_its_image(place: dict[str, object]) -> None:
    """Each was trained on as a text of its own."""
    field = next(iter(place))
    for read in (row, as_page):
        with pytest.raises(RowError) as caught:
            read(place)
        assert WHERE.format(field, field) in str(caught.value)
    assert row(place, None, field).images == ()
    assert len(row({**place, "image": IMAGE}).images) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"bbox": [5.9, 45.8, 10.5, 47.8], "country": "CH"},
        {"coordinates": {"type": "Point", "coordinates": [1, 2]}, "place": {"bounding_box": {"type": "Polygon"}}},
        {"bbox": []},
        {"bbox": None},
        {"box": "PO 12"},
        {"bbox": "[a, b]"},
        {"bbox": "["},
        {"bbox": ""},
        {"box_score": [1, 2, 3, 4], "box": [12.5]},
        {"width": 3, "height": 4, "top": 2},
        {"left": "a", "top": "b", "right": "c", "bottom": "d"},
        {"schema": {"bbox": {"type": "array", "items": {"type": "number"}}}},
        {"embedding": np.zeros(8)},
        {"box": 4},
        {"boxes": ["a", "b", "c", "d"]},
        {"points": [1, 2, 3, 4]},
        {"page": 3, "type": "article"},
        {"page_idx": 3},
        {"element_id": 3},
        {"quads": [True, False, True, True]},
        {"status": np.array(["a", "b"]), "url": "u"},
        {"bbox": {"vertices": []}},
        {"box": [30, 20, 10, 2], "weight": 2},  # parcels, shelves, furniture
        {"boxes": [1, 2, 3, 4, 5]},
        {"boxes": [4, 4, 2, 2]},
        {"x": 1, "y": 2, "width": 3, "height": 4},
        {"left": 1, "top": 2, "width": 3, "height": 4, "material": "oak"},
        {"left": 2, "right": 3, "top": 4, "bottom": 5},
        {"box": {"width": 1, "height": 2, "top": 1, "left": 2}},
        {"bounding_box": [1, 2, 3, 4, 5, 6]},
        {"boundingBox": {"x": 1, "y": 2, "z": 3, "w": 4, "h": 1}},
        {"box": [1, 2, 3, 4, 5]},  # of a plot
        {"xmin": -10, "xmax": 10, "ymin": -10, "ymax": 10},
        {"x1": 10, "y1": 8.04, "x2": 10, "y2": 9.14},
        {"quad": [1, 2, 3, 4]},
        {"boxes": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]},
        {"boxes": [[0, 1, 0, 2, 3], [1, 0, 0, 0, 1]]},
        {"window": {"x": 0, "y": 0, "width": 800, "height": 600}},
        {"margins": {"left": 72, "top": 72, "right": 72, "bottom": 72}},
        {"players": [{"name": "a", "x": 1, "y": 2, "w": 1, "h": 2}]},
        {"bbox": [7.294, 46.919, 7.495, 46.990], "title": "Bern"},  # in the world
        {"bbox": [-74.259, 40.477, -73.700, 40.917]},
        {"bbox": "-74.259,40.477,-73.700,40.917"},
        {"bbox": [5.9, 45.8, 10.5, 47.8], "countries": ["CH"]},
        {"polygon": [[600000, 200000], [600010, 200000], [600010, 200010]], "epsg": 2056},
        {"polygon": [[7.123, 46.123], [7.223, 46.123], [7.223, 46.223]]},
        {"page_idx": 12, "type": "chapter"},
        {"element_id": "sku1", "type": "product"},
        {"element_id": 2, "type": "Noble gas", "metadata": {}},
        {"url": "http://x/p.html", "status": "failed_to_parse"},
        {"box": [10**400, 1, 2, 3, 4.5, 5, 6, 7]},
        {"bbox": [float("nan")] * 4},
    ],
)
def test_what_is_no_place_on_a_page(fields: dict[str, object]) -> None:
    assert row({"text": "a text", **fields}).images == ()
    assert as_page({"text": "a text", **fields}).images == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"polygon": [[0, 0], [4, 0], [4, 3]]},
        {"elements": [{"tag": "a", "bbox": [1, 2, 3, 4]}]},
        {"xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10},
    ],
)
def test_chats_may_be_of_shapes(fields: dict[str, object]) -> None:
    chat = {"question": "What is its area?", "answer": "6"}
    assert len(row({**chat, **fields}).segments) == 4
    with pytest.raises(RowError, match="field 'bbox' says where on a page"):
        row({**chat, "bbox": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "fields",
    [
        {"bbox": [10, 20, 30, 40]},
        {"bbox": [[10, 20, 30, 40]]},
        {"bbox": "[10, 20, 30, 40]"},
        {"bbox": "10 20 30 40"},
        {"bounding_box": {"x": 10, "y": 20, "width": 30, "height": 40}},
        {"box": np.array([0, 20, 30, 40])},
        {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 40},
        {"x": 10, "y": 20, "width": 30, "height": 40},
    ],
)
def test_one_box_in_an_image_is_said(fields: dict[str, object]) -> None:
    """Rows of words or regions have the whole image: nothing said that it is trained on with their text alone."""
    field = next(iter(fields))
    readings = RowReadings()
    readings.add("a.jsonl", row({"image": IMAGE, "text": "one word", **fields}).reading)
    said = (
        "warning: 1 texts are trained on as the text of their whole image, and "
        f"'{field}' has one box in it: if they are of that alone, crop the images to it; "
        f"else make-shards --metadata-field {field} says so"
    )
    assert [*readings.lines()][-1] == said
    metadata = json.dumps({name: np.asarray(value).tolist() for name, value in fields.items()}).encode()
    members = {"png": IMAGE, "txt": b"one word", "json": metadata}
    assert reading_of_sample("k", members, RowRules()).mark == f"a box in {field}"
    assert not reading_of_sample("k", members, RowRules(metadata_fields=frozenset(fields))).mark
    assert not row({"image": IMAGE, "text": "one word", **fields}, None, *fields).reading.mark
    assert not row({"images": [IMAGE] * 2, "text": "one word", **fields}).reading.mark
    assert not row({"image": IMAGE, "question": "Where?", "answer": "There", **fields}).reading.mark


@pytest.mark.parametrize(
    "fields",
    [
        {"bbox": [0, 0, 640, 480]},
        {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "words": ["a", "b"]},
        {"objects": {"bbox": [[1, 2, 3, 4]]}},
        {"layout": [{"bbox": [1, 2, 3, 4]}]},
        {"cropbox": [1, 2, 595, 842]},
        {"width": 640, "height": 480},
        {"box": [12, 13, 14]},
        {"polygon": [[1, 2], [9, 2], [9, 8]]},
        {"x": 0, "y": 0, "width": 640, "height": 480},
        {"bbox": []},
    ],
)
def test_pages_have_boxes_of_their_words(fields: dict[str, object]) -> None:
    assert not row({"image": IMAGE, "text": "one page", **fields}).reading.mark


def test_samples_of_tars_of_places_and_of_images_that_were_not_fetched() -> None:
    """Such a word was a text of its own; of img2dataset's, the reason was that `url` looks like an image."""
    with pytest.raises(RowError, match="sample 'k': field 'bbox' says where on a page this text is"):
        page_from_members("k", {"txt": b"hello", "json": b'{"bbox": [1, 2, 3, 4]}'})
    assert page_from_members("k", {"jpg": IMAGE, "txt": b"hello", "json": b'{"bbox": [1, 2, 3, 4]}'}).images
    failed = b'{"caption": "c", "url": "http://x/2.jpg", "status": "failed_to_download", "error_message": "404"}'
    with pytest.raises(RowError) as caught:
        page_from_members("k", {"txt": b"c", "json": failed})
    assert str(caught.value) == (
        "sample 'k': its image could not be fetched when the set was made: failed_to_download (404); leave it out"
    )
    assert page_from_members("k", {"jpg": IMAGE, "txt": b"c", "json": failed}).images
    assert row({"text": "t", "url": "http://x/page", "status": "failed"}).segments


WRITTEN = [
    "{'bytes': b'\\x89PNG\\r\\n\\x1a\\n\\x00\\x00\\x00\\rIHDR', 'path': None}",
    "{'path': 'a.png', 'bytes': b'\\xff\\xd8\\xff\\xe0\\x00\\x10JFIF'}",
    "<PIL.JpegImagePlugin.JpegImageFile image mode=RGB size=64x48 at 0x7F>",
    "[[[255 255 255]\n  [255 255 255]\n  ...\n  [254 254 254]]]",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_images_as_python_writes_them_into_tables(written: str) -> None:
    """A picture of Pillow under a name that says nothing was metadata, and as a text it was trained on."""
    tries: list[dict[str, object]] = [{"text": "t", "page": written}, {"image": IMAGE, "text": written}]
    tries.append({"image": written, "text": "t"})
    for fields in tries:
        with pytest.raises(RowError, match="an image"):
            row(fields)


@pytest.mark.parametrize(
    "text",
    [
        "<PIL.Image.Image image mode=RGB size=64x48> is what is printed",
        "<PIL>",
        "[[[0 1 2]\n  [3 4 5]]]",
        "[[[24.0, 36.0], [304.0, 34.0]]]",
        "{'bytes': b'text'}",
        "{'path': 'a.txt', 'bytes': None}",
        "b'text'",
        "array([1, 2])",
        "a [[[255 255 255] ...",
    ],
)
def test_what_python_writes_and_is_not_an_image(text: str) -> None:
    assert row({"text": "t", "page": text}).meta == {"page": text}
    assert row({"image": IMAGE, "text": text}).segments[-1] == TextSegment(text=text)


def test_texts_of_rows_that_are_boxes_or_pointers() -> None:
    """Of files these were refused already, and in rows trained on."""
    boxes: list[dict[str, object]] = [
        {"image": IMAGE, "text": BOXES},
        {"image": IMAGE, "caption": BOXES},
        {"text": BOXES},
    ]
    pointers: list[dict[str, object]] = [{"image": IMAGE, "text": POINTER}, {"text": POINTER}]
    for fields in boxes:
        with pytest.raises(RowError, match="the text has a box in numbers on each line, not the text of a page"):
            row(fields)
    for fields in pointers:
        with pytest.raises(RowError, match="the text is a pointer of Git LFS, not the file itself"):
            row(fields)
    said = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": BOXES}]
    assert row({"image": IMAGE, "messages": said}).segments[-1] == TextSegment(text=BOXES)  # what it is asked for
    assert row({"image": IMAGE, "text": BOXES}, "text=text").segments[-1] == TextSegment(text=BOXES)
    assert row({"image": IMAGE, "text": POINTER + "is what a pointer holds. " * 50}).images


def test_what_is_asked_for_is_read() -> None:
    pair: dict[str, object] = {"images": [IMAGE], "prompt": ASKED, "chosen": SAID, "rejected": SAID}
    found = row(pair, "question=prompt,answer=chosen")
    assert [s.text for s in found.segments if isinstance(s, TextSegment)] == ["Q", "A"]
    turns: dict[str, object] = {"image": IMAGE, "conversations": ASKED, "chosen": SAID[0], "rejected": SAID[0]}
    assert row(turns, "question=conversations,answer=chosen").segments == found.segments
    assert row({"text": "t", "rejected": "no"}, None, "rejected").meta == {"rejected": "no"}
    sound: list[dict[str, object]] = [
        {"text": "t", "rejected": False},
        {"text": "t", "score_rejected": 0.5},
        {"prompt": "Q", "completion": "A", "label": True},
        {"text": "write <video> here, or\n<video></video>"},
        {"text": "<video><source></video>"},
        {"text": "boxes: <bbox>"},
    ]
    for fields in sound:
        assert row(fields).segments


def test_a_sample_of_a_tar() -> None:
    members = {
        "0.jpg": IMAGE,
        "json": b'{"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": '
        b'"assistant", "content": "A"}], "rejected_response": "B"}',
    }
    with pytest.raises(RowError, match="'rejected_response' is an answer to avoid"):
        page_from_members("k", members)


def test_answers_that_are_not_supervised() -> None:
    """`weight` of OpenAI, `loss` of ms-swift."""
    for name, no in (("weight", 0), ("loss", False)):
        answers = [{"role": "assistant", "content": "A", name: no}, {"role": "assistant", "content": "B"}]
        messages = [{"role": "user", "content": "Q"}, answers[0], {"role": "user", "content": "Q"}, answers[1]]
        marks = [s for s in row({"messages": messages}).segments if isinstance(s, TurnSegment)]
        assert [mark.is_supervised for mark in marks] == [False, False, False, True]
    with pytest.raises(RowError, match="'weight' is not supported"):
        row({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": 0.5}]})


def test_questions_in_lists_and_turns_as_json() -> None:
    found = row({"image": IMAGE, "questions": ["Q", "R"], "answers": ["A", "B"]})
    assert found.num_answers == 1
    assert [s.text for s in found.segments if isinstance(s, TextSegment)] == ["Q", "A", "R", "B"]
    assert found.segments[1] == ImageSegment(index=0)
    with pytest.raises(RowError, match="questions and answers do not pair up: 2 questions"):
        row({"image": IMAGE, "questions": ["Q", "R"], "answers": ["A"]})
    said = row({"image": IMAGE, "conversations": '[{"from": "human", "value": "Q"}, {"role": "gpt", "content": "A"}]'})
    assert [s.role for s in said.segments if isinstance(s, TurnSegment)] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        (
            {"question": "Q?", "answers": None},
            "'question' has no answer or answers, as .* (question=question,answer=FIELD)",
        ),
        (
            {"question": "Q?", "multiple_choice_answer": "A"},
            "'question' has no answer or answers: say with a map .* (question=question,answer=multiple_choice_answer)",
        ),
        ({"query": "Q?"}, "'query' has no response or label, as .* (question=query,answer=FIELD)"),
    ],
)
def test_a_question_without_an_answer_is_not_said_to_be_the_text(row: dict[str, object], advice: str) -> None:
    """As in the test splits of DocVQA: `text=question` was advised."""
    with pytest.raises(RowError, match=advice.replace("(", r"\(").replace(")", r"\)")):
        read_row({"image": "a.png"} | row)


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"method": "POST", "body": {"messages": [{"role": "user", "content": "Q"}]}}, "(turns=body.messages)"),
        ({"filepath": "a.png", "title": "t"}, "(image=filepath,text=title)"),
        ({"image": IMAGE, "pdf": b"%PDF-1.4", "body": "t"}, "(text=body)"),
        ({"prompt": "Read", "jpg": IMAGE, "txt": "t"}, "(image=jpg,text=txt)"),
    ],
)
def test_turns_inside_of_a_field_and_images_by_name_are_in_the_map_that_is_advised(
    row: dict[str, object], advice: str
) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert str(caught.value).endswith(advice)
