"""Field maps: what is read of a row by them, what is left, and what is said of a map that does not fit."""

import pytest

from wdstream.errors import ConfigError, RowError
from wdstream.records import ImageSegment, TextSegment, TurnSegment
from wdstream.text.maps.field_map import FieldMap, MapText
from wdstream.text.row_forms import Row, RowRules, read_row


def read(given: MapText, row: dict[str, object]) -> Row:
    return read_row(row, RowRules(field_map=FieldMap.parse(given)))


def shown(row: Row) -> list[str]:
    found = []
    for segment in row.segments:
        if isinstance(segment, TextSegment):
            found.append(segment.text)
        elif isinstance(segment, ImageSegment):
            found.append(row.images[segment.index].name)
        elif isinstance(segment, TurnSegment):
            found.append(f"{segment.role}:")
    return found


def test_a_map_is_the_same_as_text_and_as_mapping() -> None:
    text = FieldMap.parse("image=left+right,text=json:caption")
    assert text == FieldMap.parse({"image": ["left", "right"], "text": "json:caption"})
    assert text == FieldMap.parse(["image=left", "image=right", "text=json:caption"])
    assert str(text) == "image=left+right,text=json:caption"
    assert FieldMap.parse(str(text)) == text


@pytest.mark.parametrize(
    ("given", "row", "segments", "meta"),
    [
        ("text=cap,image=pic", {"cap": "t", "pic": "a.png", "lang": "en"}, ["a.png", "t"], {"lang": "en"}),
        ("text=cap", {"cap": "t", "image": "a.png", "text": "other"}, ["a.png", "t"], {"text": "other"}),
        ("image=scan", {"scan": "a.png", "text": "t"}, ["a.png", "t"], {}),
        ("image=l+r,text=t", {"l": "l.png", "r": ["r.png"], "t": "<image>and<image>"}, ["l.png", "and", "r.png"], {}),
        ("text=pages[*].text,rest=drop", {"pages": [{"text": "a"}, {"text": "b"}], "x": 1}, ["a\nb"], {}),
        ("text=a+b,image=i?", {"a": "1", "b": "2", "i": None}, ["1\n2"], {}),
        ("text=x|y", {"y": "2"}, ["2"], {}),
        ("text=t,metadata=m.page_image", {"t": "x", "m": {"page_image": "a.png"}}, ["x"], {"page_image": "a.png"}),
        (
            "question=q,answer=a,system=s",
            {"q": "Q", "a": "A", "s": "S"},
            ["system:", "S", "user:", "Q", "assistant:", "A"],
            {},
        ),
        (
            "turns=c",
            {"c": '[{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]'},
            ["user:", "Q", "assistant:", "A"],
            {},
        ),
        ("content=c", {"c": [{"type": "text", "text": "T"}, {"type": "image", "image": "a.png"}]}, ["T", "a.png"], {}),
    ],
)
def test_rows(given: MapText, row: dict[str, object], segments: list[str], meta: dict[str, object]) -> None:
    read_one = read(given, row)
    if "l+r" in str(given):
        assert [image.name for image in read_one.images] == ["l.png", "r.png"]
        return
    assert shown(read_one) == segments
    assert read_one.meta == meta


def test_an_image_by_its_bytes_keeps_its_name() -> None:
    row = read("image=image.bytes,text=t", {"image": {"bytes": b"\x89PNG", "path": "a.png"}, "t": "x"})
    assert (row.images[0].data, row.images[0].name, row.meta) == (b"\x89PNG", "a.png", {})


@pytest.mark.parametrize(
    ("given", "row", "reason"),
    [
        (
            "text=captoin",
            {"caption": "t"},
            "no captoin here, which is the text by the map (text=captoin); near it: caption",
        ),
        ("text=t,image=i", {"t": "x", "i": None}, "no i here, which is the image by the map"),
        ("text=t,image=i[*]", {"t": "x", "i": [None, []]}, "no i[*] here, which is the image by the map"),
        ("text=t", {"t": "x", "page_image": "b.png"}, "field 'page_image' holds 'b.png', which looks like an image"),
        ("text=t,rest=drop", {"t": "x", "page_image": "b.png"}, "which looks like an image and is not used"),
        ("text=t,image=i", {"t": 3, "i": "a.png"}, "text is int, a string expected"),
        ("text=t[*]", {"t": [b"\xff"]}, "not UTF-8"),
    ],
)
def test_rows_that_do_not_fit(given: MapText, row: dict[str, object], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read(given, row)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "expected ROLE=PATH"),
        ("caption", "'caption': expected ROLE=PATH"),
        ("images=a,txt=b", "map: txt: expected one of image, text"),
        ("text=a,turns=b", "it names text and turns; a row has one of them"),
        ("question=a", "question and answer go together"),
        ("text=a,rest=other", "rest=other: expected keep or drop"),
        ({"text": 3}, "map: text: expected a path or a list of paths, found 3"),
        ("image=a[", "'a[': '[' is not a step of a path"),
        ({}, "it names nothing"),
    ],
)
def test_no_maps(given: MapText, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FieldMap.parse(given)
    assert reason in str(caught.value)


def test_what_no_row_has() -> None:
    rows: list[dict[str, object]] = [{"caption": "a"}, {"caption": "b", "extra": 1}]
    assert FieldMap.parse("text=caption,metadata=extra,image=x?").lacking(rows) == []
    (missing,) = FieldMap.parse("text=captions").lacking(rows)
    assert "near it: caption" in missing


def test_names_with_marks_and_metadata_of_one_name() -> None:
    assert read(r"text=a\?", {"a?": "x"}).segments == (TextSegment(text="x"),)
    assert read("text=t,metadata=a.id+b.id", {"t": "x", "a": {"id": 1}, "b": {"id": 2}}).meta == {"id": 1, "b.id": 2}
    assert read("text=t,metadata=a.id", {"t": "x", "a": {"id": 1}, "id": 7}).meta == {"id": 7, "a.id": 1}
    assert read("text=b[*].l[*]", {"b": [{"l": ["a", "b"]}, {"l": ["c"]}]}).segments == (TextSegment(text="a\nb\nc"),)


def test_a_map_that_a_preset_completes() -> None:
    chosen = FieldMap.chosen("answer=response", "docvqa")
    assert chosen is not None
    assert str(chosen) == "image=image|images,question=question|query,answer=response"
    with pytest.raises(ConfigError, match="question and answer go together"):
        FieldMap.chosen("answer=response", "llava")
