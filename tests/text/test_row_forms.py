"""Rows of all forms as segments, images and metadata, and the sentence that a bad one is refused with."""

import base64
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import RowError
from wdstream.records import ImageSegment, TextSegment, TurnSegment
from wdstream.text.placeholders import split_text
from wdstream.text.row_forms import Row, RowRules, read_row
from wdstream.text.row_images import RowImage


def row(placeholder: str | None = None, **fields: Any) -> Row:
    return read_row(fields, RowRules(placeholder=placeholder))


def names(parsed: Row) -> tuple[str, ...]:
    return tuple(image.name for image in parsed.images)


def short(parsed: Row) -> list[str]:
    """Segments of a chat row in short: roles with a colon, `*` where supervised; images in angle brackets."""
    found = []
    for segment in parsed.segments:
        if isinstance(segment, TurnSegment):
            found.append(f"{segment.role}:{'*' * segment.is_supervised}")
        else:
            found.append(segment.text if isinstance(segment, TextSegment) else f"<{getattr(segment, 'index', '?')}>")
    return found


def shape(parsed: Row) -> list[str | int]:
    """Segments in short: texts as they are, images by number."""
    found: list[str | int] = []
    for segment in parsed.segments:
        assert isinstance(segment, TextSegment | ImageSegment)
        found.append(segment.text if isinstance(segment, TextSegment) else segment.index)
    return found


def test_text_with_placeholders() -> None:
    parsed = row(text="see <image> and\n<image>", images=["a.png", "b/c.jpg"], lang="en", n=1)
    assert parsed.segments == (
        TextSegment(text="see "),
        ImageSegment(index=0),
        TextSegment(text=" and\n"),
        ImageSegment(index=1),
    )
    assert names(parsed) == ("a.png", "b/c.jpg")
    assert parsed.meta == {"lang": "en", "n": 1}


@pytest.mark.parametrize(
    ("text", "num_images", "expected"),
    [
        ("<image>", 1, [0]),
        ("<image><image>x", 2, [0, 1, "x"]),
        ("a<|image_pad|>b", 1, ["a", 0, "b"]),
        ("<|vision_start|><|image_pad|><|vision_end|>x", 1, [0, "x"]),
        ("<|vision_start|><|image_pad|><|image_pad|> <|image_pad|><|vision_end|>x", 1, [0, "x"]),
        ("<|vision_start|><|vision_end|>x<|image_pad|>", 2, [0, "x", 1]),
        # Gemma 3: its processor reads the start token; the soft token is what that becomes, and text here
        ("<start_of_image>a<image_soft_token>", 1, [0, "a<image_soft_token>"]),
        ("a<|image|>b", 1, ["a", 0, "b"]),  # Gemma 4
        ("<|begin_of_image|><|image|><|end_of_image|>b", 1, [0, "b"]),  # GLM-4V
        # the literal <image> is text where the other form is there once for each image
        ("<|image_pad|> the tag <image> in <image>", 1, [0, " the tag <image> in <image>"]),
        # both would fit: <image> is the form
        ("<image> says <|image_pad|>", 1, [0, " says <|image_pad|>"]),
        # text after an open <|vision_start|> is not swallowed
        ("<|vision_start|>keep<|image_pad|>", 1, ["<|vision_start|>keep", 0]),
        ("no image", 0, ["no image"]),
    ],
)
def test_forms_of_placeholders(text: str, num_images: int, expected: list[str | int]) -> None:
    parsed = row(text=text, images=[f"{n}.png" for n in range(num_images)])
    assert shape(parsed) == expected


def test_a_placeholder_of_ones_own() -> None:
    assert shape(row("[IMG]", text="[IMG]<image>[IMG]", images=["a", "b"])) == [0, "<image>", 1]
    with pytest.raises(RowError, match=r"1 images, but the text has 0 of \[IMG\]"):
        row("[IMG]", text="<image>", images=["a"])


def test_a_row_without_images_is_text() -> None:
    assert shape(row(text="a text", image=None, images=[])) == ["a text"]
    assert shape(row(text="", images=None)) == []
    assert shape(row("[IMG]", text="the tag <image> of HTML")) == ["the tag <image> of HTML"]


def test_content_with_names_inside_or_next_to_it() -> None:
    inside = row(content=[{"type": "text", "text": "x"}, {"type": "image", "image": "a.png"}], lang="he")
    assert (shape(inside), names(inside), inside.meta) == (["x", 0], ("a.png",), {"lang": "he"})
    beside = row(content=[{"type": "image"}, {"type": "text", "text": "x"}, {"type": "image"}], images=["a", "b"])
    assert (shape(beside), names(beside)) == ([0, "x", 1], ("a", "b"))
    unsupervised = row(content=[{"type": "text", "text": "q", "is_supervised": False}, {"type": "text", "text": ""}])
    assert unsupervised.segments == (TextSegment(text="q", is_supervised=False),)


URI = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAMgAAABkCAIAAABM5OhcAAA="
PNG = base64.b64decode(URI.partition(",")[2])


@pytest.mark.parametrize(
    ("fields", "expected", "names_of_images"),
    [
        ({"file_name": "a.png", "text": "t"}, [0, "t"], ("a.png",)),
        ({"image": "a.png", "text": "t"}, [0, "t"], ("a.png",)),
        ({"image": ["a.png", "b.png"], "text": "<image><image> both"}, [0, 1, " both"], ("a.png", "b.png")),
        ({"image": "a.png", "text": "x<image>t"}, ["x", 0, "t"], ("a.png",)),
        ({"img": "a", "text": "t", "file_name": None}, [0, "t"], ("a",)),
        ({"image_path": "a.png", "caption": "t"}, [0, "t"], ("a.png",)),
        ({"images": ["a.png", None, ["b.png"]], "text": "t"}, [0, 1, "t"], ("a.png", "b.png")),
        ({"images": {"path": "a.png", "bytes": None}, "text": "t"}, [0, "t"], ("a.png",)),
        ({"images": {"bytes": URI.partition(",")[2], "path": "a.png"}, "text": "t"}, [0, "t"], ("a.png",)),
        ({"images": [URI, PNG, {"url": URI}], "text": "t"}, [0, 1, 2, "t"], ("", "", "")),
        ({"image": "x/a.png", "file_name": "a.png", "text": "t"}, [0, "t"], ("x/a.png",)),
        ({"image": {"bytes": PNG, "path": "a.png"}, "image_path": "x/a.png", "text": "t"}, [0, "t"], ("a.png",)),
        ({"image_url": "https://h/x/a.png", "image_path": "y/a.png", "text": "t"}, [0, "t"], ("y/a.png",)),
        ({"image": "", "text": "text only"}, ["text only"], ()),
        ({"content": [{"type": "text", "text": "x"}], "image": "a.png"}, [0, "x"], ("a.png",)),
        ({"content": [{"image": "a.png", "text": None}, {"text": "<image>"}]}, [0, "<image>"], ("a.png",)),
        ({"text": "t", "file_name": "chapter1.txt", "url": "https://h/page.html", "id": 5}, ["t"], ()),
    ],
)
def test_images_of_a_row(fields: dict[str, Any], expected: list[str | int], names_of_images: tuple[str, ...]) -> None:
    parsed = row(**fields)
    assert shape(parsed) == expected
    assert names(parsed) == names_of_images
    assert all(image.data == PNG for image in parsed.images if not image.is_named)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"messages": [{"role": "user", "content": "<image>Read."}, {"role": "assistant", "content": "A."}]},
            ["user:", "<0>", "Read.", "assistant:*", "A."],
        ),
        (
            {"conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A."}]},
            ["user:", "<0>", "\nQ", "assistant:*", "A."],
        ),
        (  # as Arrow gives them: every key in every turn and part
            {
                "text": None,
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Q", "image": None}], "name": None},
                    {"role": "assistant", "content": "A.", "name": None, "tool_calls": None, "train": None},
                ],
            },
            ["user:", "<0>", "Q", "assistant:*", "A."],
        ),
        ({"query": "Q", "response": "A."}, ["user:", "<0>", "Q", "assistant:*", "A."]),
        (
            {"query": "Q2", "response": "A2", "history": [["Q<image>", "A."]], "system": "S"},
            ["system:", "S", "user:", "Q", "<0>", "assistant:*", "A.", "user:", "Q2", "assistant:*", "A2"],
        ),
        ({"instruction": "I", "input": "more", "output": "O"}, ["user:", "<0>", "I\nmore", "assistant:*", "O"]),
        ({"question": "Q", "answers": ["A.", "a"]}, ["user:", "<0>", "Q", "assistant:*", "A."]),
        ({"query": "Q", "label": ["A."]}, ["user:", "<0>", "Q", "assistant:*", "A."]),  # ChartQA
        (  # Docmatix, the Cauldron, FineVision
            {"texts": [{"user": "Q", "assistant": "A.", "source": "s"}, {"user": "Q2", "assistant": "A2"}]},
            ["user:", "<0>", "Q", "assistant:*", "A.", "user:", "Q2", "assistant:*", "A2"],
        ),
        (  # TRL
            {
                "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}],
                "completion": [{"role": "assistant", "content": [{"type": "text", "text": "A."}]}],
            },
            ["user:", "<0>", "Q", "assistant:*", "A."],
        ),
        (  # empty is absent
            {
                "messages": [
                    {"role": "user", "content": "Q", "name": ""},
                    {"role": "assistant", "content": "A.", "tool_calls": []},
                ]
            },
            ["user:", "<0>", "Q", "assistant:*", "A."],
        ),
    ],
)
def test_chat_rows_of_all_forms(fields: dict[str, Any], expected: list[str]) -> None:
    parsed = row(image="a.png", **fields)
    assert short(parsed) == expected
    assert (names(parsed), parsed.meta) == (("a.png",), {})


@pytest.mark.parametrize(
    "text", ["see ![a fig](x%20y.png)", "see ![](<x y.png>)", "<p><img class='f' src='x y.png'></p>"]
)
def test_a_file_that_markup_names_is_no_text_of_a_row_without_images(text: str) -> None:
    rules = RowRules(is_image_file=lambda name: name == "x y.png")
    with pytest.raises(RowError, match=r"the text has an image inside, 'x y\.png', which would be trained on as text"):
        read_row({"text": text}, rules)
    assert shape(read_row({"text": text, "image": "page.png"}, rules)) == [0, text]  # what the page's label says
    assert shape(read_row({"text": text}, RowRules())) == [text]


def test_bytes_without_a_name_are_called_as_the_row_says() -> None:
    rules = RowRules(is_image_file=lambda name: name == "b.png")
    fields = {"image": {"bytes": PNG, "path": None}, "text": "t"}
    parsed = read_row({**fields, "filename": "0001.png"}, rules)
    assert (names(parsed), parsed.meta) == (("0001.png",), {"filename": "0001.png"})
    for other in ({"filename": "b.png"}, {"images": [PNG, PNG], "image": None, "filename": "0001.png"}):
        with pytest.raises(RowError, match=r"field 'filename' holds '(b|0001).png', which looks like an image"):
            read_row({**fields, **other}, rules)


def test_parts_of_other_interfaces() -> None:
    parts = [{"type": "image_url", "image_url": {"url": URI, "detail": "low"}}, {"type": "input_text", "text": "Q"}]
    parts += [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": URI.split(",")[1]}}]
    parsed = row(messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": "A <image>."}])
    assert short(parsed) == ["user:", "<0>", "Q", "<1>", "assistant:*", "A <image>."]
    assert [image.data for image in parsed.images] == [PNG, PNG]


def test_images_that_come_with_a_row() -> None:
    held = [RowImage(where="jpg", name="a.jpg")]
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A."}]
    assert read_row({"conversations": turns}, held=held).images == tuple(held)
    assert short(read_row({"conversations": turns}, held=held))[:3] == ["user:", "<0>", "Q"]
    assert names(read_row({"conversations": turns, "image": "a.jpg"}, held=held)) == ("a.jpg",)


CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A."}]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": "<image> <image>", "images": ["a"]}, "1 images, but the text has 2 of <image>, 0 of <|image_pad|>"),
        ({"text": "<image>", "images": []}, "0 images, but the text has 1 of <image>"),
        ({"text": "<image>\nsee"}, "0 images, but the text has 1 of <image>"),
        ({"text": "<|image_pad|>x", "images": None}, "0 images, but the text has 0 of <image>, 1 of <|image_pad|>"),
        ({"text": "see <|image_1|>", "images": ["a"]}, "1 images, and the text has <|image_1|>, which looks like a"),
        ({"text": "see <image 1>"}, "0 images, and the text has <image 1>, which looks like a placeholder"),
        ({"text": "[IMG]x", "images": ["a"]}, "1 images, and the text has [IMG], which looks like a placeholder"),
        ({"text": 3}, "text is int, a string expected"),
        ({"text": "", "images": [3]}, "images[0] is 3; expected a file name, bytes, a data URI, or an object"),
        ({"text": "", "images": [""]}, "images[0] is an empty name"),
        ({"text": "", "images": ["b'\\x89PNG\\r\\n\\x1a\\n"]}, "images[0] is an image written as text"),
        ({"text": "", "image": {"bytes": "abc"}}, "image.bytes is text that is not an image in base64: 'abc'"),
        ({"text": "", "image": {"id": 3}}, "image has id, and none of bytes, data"),
        ({"text": "", "image": {"path": "a.png", "url": "b.png"}}, "image gives more than one image: image.path, ima"),
        ({"text": "", "image": "data:image/png;base64"}, "data URI 'data:image/png;base64' has no data after a comma"),
        ({"text": "", "image": "data:image/png;base64,A"}, "cannot be decoded, or is empty"),
        ({"text": URI}, "'text' is 'data:image/png;base64,"),
        (
            {"text": "t", "image": "a.png", "image_path": "b.png"},
            "images are given both in 'image' and in 'image_path'",
        ),
        ({"text": "t", "image": "x/a.png", "image_path": "y/a.png"}, "both in 'image' and in 'image_path'"),
        ({"text": "a", "content": []}, "one of them; found 'text', 'content'; more than one is a text"),
        (
            {"question": "a", "answer": "b", "query": "c", "response": "d"},
            "'query' and 'response', 'question' and 'ans",
        ),
        ({"caption": "a caption of nothing"}, "one of them; found caption"),
        ({}, "one of them; found no fields"),
        ({"messages": []}, "messages is a list of turns, at least one"),
        ({"messages": CHAT, "tools": "f"}, "tools is not readable JSON"),
        (
            {"messages": [{"role": "system", "content": "a"}, *CHAT], "system": "b"},
            "the text of the system is given tw",
        ),
        (
            {"messages": [{"role": "narrator", "content": "a"}, *CHAT]},
            "message 0: unknown role 'narrator'; known: sy",
        ),
        ({"messages": [CHAT[0], {**CHAT[1], "tool_calls": [1]}]}, "messages[1].tool_calls[0] is int"),
        ({"messages": [{**CHAT[0], "images": ["a.png"]}, CHAT[1]]}, "message 0: 'images' is not supported"),
        ({"messages": [{"role": "user", "content": "<image>Q"}, CHAT[1]]}, "0 images, but the text has 1 of <image>"),
        ({"query": "a", "response": "b", "history": [["a"]]}, "history is not a list of pairs"),
        ({"question": "a", "answers": []}, "answers is an empty list"),
        ({"content": {}}, "content is a list of texts and images"),
        ({"content": [{"type": "video"}]}, "content block 0 is neither a text nor an image"),
        ({"content": ["text"]}, "content block 0 is neither a text nor an image"),
        ({"content": [{"type": "image", "image": 3}]}, "content[0].image is 3; expected a file name"),
        ({"content": [{"type": "image"}]}, "content has 1 images, but 0 file names"),
        ({"content": [{"type": "image", "path": "a"}], "images": ["a"]}, "named both in images and in content"),
        ({"content": [{"type": "image", "image": ["a", "b"]}]}, "content[0] gives more than one image"),
        ({"content": [{"type": "image", "image": "a.png", "text": "b"}]}, "content[0] is an image and has a text"),
        ({"content": [{"type": "text", "text": "b", "image": "a.png"}]}, "content[0]: field 'image' holds 'a.png'"),
        ({"content": [{"type": "text", "text": URI}]}, "text 0 is 'data:image/png;base64,"),
        ({"text": f"![a page]({URI}) and"}, "the text has an image inside, 'data:image/png;base64,iVBOR"),
        ({"text": f"![a page]({URI}) and", "image": "a.png"}, "the text has an image inside, 'data:image/png;base64,"),
        (
            {
                "conversations": [
                    {"from": "user", "value": "Picture 1: <img>x/a.jpg</img>\nQ"},
                    {"from": "gpt", "value": "A"},
                ]
            },
            "the text has an image inside, 'x/a.jpg'",
        ),
        ({"texts": [{"user": "Q", "assistant": "A", "scan": "b.png"}]}, "texts[0]: field 'scan' holds 'b.png'"),
        (
            {"texts": ["a", None], "image": "a.png"},
            "found image, texts; call the field that holds the text 'text', or say with a map which it is (text=FIELD)",
        ),
        (
            {"text": "t", "url": "https://h/a.png", "b c": "d.png"},
            "field 'url' holds 'https://h/a.png', field 'b c' holds 'd.png', which looks like an image and is not "
            "used; give images in 'images' or 'image', or say that this is metadata with --metadata-field url "
            "--metadata-field 'b c'",
        ),
    ],
)
def test_bad_rows(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        row(**fields)
    assert reason in str(caught.value)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=6))
@settings(deadline=None)
def test_joining_the_segments_gives_the_text_back(pieces: list[str]) -> None:
    text = "<image>".join(piece.replace("<image>", "") for piece in pieces)
    num_images = text.count("<image>")
    segments = split_text(text, num_images) if num_images else ()
    joined = "".join(s.text if isinstance(s, TextSegment) else "<image>" for s in segments)
    assert joined == (text if num_images else "")
    assert [s.index for s in segments if isinstance(s, ImageSegment)] == list(range(num_images))


@pytest.mark.parametrize(
    ("row", "names", "meta"),
    [
        ({"image": "a.png", "url": "https://i/b.jpg"}, ["a.png"], {"url": "https://i/b.jpg"}),
        ({"image": "a.png", "image_url": "https://i/b.jpg"}, ["a.png"], {"image_url": "https://i/b.jpg"}),
        ({"image": PNG, "image_url": "https://i/b.jpg"}, [""], {"image_url": "https://i/b.jpg"}),
        (
            {"images": ["a.png", "b.png"], "original_urls": ["https://i/1.jpg", "https://i/2.jpg"]},
            ["a.png", "b.png"],
            {"original_urls": ["https://i/1.jpg", "https://i/2.jpg"]},
        ),
        ({"image_url": "https://i/b.jpg", "source_url": "https://j/c.jpg"}, ["https://i/b.jpg"], None),
        ({"image": "a.png", "image_url": "https://i/a.png"}, ["a.png"], {}),
        ({"file_name": "a.png", "coco_url": "https://i/b.jpg"}, ["a.png"], {"coco_url": "https://i/b.jpg"}),
        ({"image_local_name": "a.png", "image_url": "https://i/b"}, ["a.png"], {"image_url": "https://i/b"}),
        # TextVQA and Open Images
        ({"image": "a.png", "flickr_300k_url": "https://i/b.jpg"}, ["a.png"], {"flickr_300k_url": "https://i/b.jpg"}),
        ({"image": "a.png", "Thumbnail300KURL": "https://i/b.jpg"}, ["a.png"], {"Thumbnail300KURL": "https://i/b.jpg"}),
        ({"image": "a.png", "OriginalURL": "https://i/b.jpg"}, ["a.png"], {"OriginalURL": "https://i/b.jpg"}),
    ],
)
def test_a_link_says_where_the_image_of_a_row_is_from(
    row: dict[str, object], names: list[str], meta: dict[str, object] | None
) -> None:
    read = read_row(row | {"text": "A page."})
    assert [image.name for image in read.images] == names
    assert meta is None or read.meta == meta


@pytest.mark.parametrize(
    "row",
    [
        {"url": "https://i/b.jpg"},
        {"image": "a.png", "second_page": "https://i/b.jpg"},
        {"image": "a.png", "url": "b.png"},
        {"image": "a.png", "urls": ["https://i/1.jpg", "https://i/2.jpg"]},
        {"images": ["a.png", "b.png"], "image_url": "https://i/1.jpg"},
        {"image": "a.png", "image_path": "b.png"},
    ],
)
def test_a_link_that_may_be_an_image_of_its_own_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(RowError, match=r"not used|given both"):
        read_row(row | {"text": "A page."})


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        # tables that were made of tars, and of page layouts
        ({"__key__": "a", "__url__": "hf://a/long/name.tar", "jpg": {"bytes": PNG}, "txt": "t"}, "image=jpg,text=txt"),
        ({"__key__": "a-long-name", "png": PNG, "json": {"text": "t"}}, "image=png,text=json.text"),
        ({"image": PNG, "doc_name": "a-long-name.pdf", "words": ["a", "b"]}, "text=words"),
        ({"image": PNG, "page_url": "https://h/a-long-name", "body": "t"}, "text=body"),
        # objects of a row, and lists of them: PixMo-docs, pages of documents, Label Studio
        (
            {"image": PNG, "id": "a", "questions": {"question": ["q"], "answer": ["a"]}},
            "question=questions.question,answer=questions.answer",
        ),
        (
            {"doc": "a name", "pages": [{"image": PNG, "text": "one"}, {"image": PNG, "text": "two"}]},
            "image=pages[*].image,text=pages[*].text",
        ),
        ({"page": {"image": {"bytes": PNG, "path": "a.png"}, "markdown": "hi"}}, "image=page.image,text=page.markdown"),
        (
            {"id": 1, "created_at": "2024-05-01T12:00:00", "data": {"ocr": "/data/upload/1/a.png"}},
            "image=data.ocr,text=FIELD",
        ),
        ({"image": PNG, "width": "2480", "class": "x", "xmin": "1.5"}, "text=class"),  # a table of boxes
        ({"image_url": "https://h/1.jpg", "image_sha256": "ab" * 32, "qa": [{"q": "x"}]}, "text=FIELD"),
    ],
)
def test_a_row_without_a_known_text_is_refused_with_the_map_that_may_read_it(
    row: dict[str, object], advice: str
) -> None:
    with pytest.raises(RowError, match=rf"say with a map which it is \({re.escape(advice)}\)"):
        read_row(row)


@pytest.mark.parametrize("row", [{"image": "a.png", "text": None}, {"image": "a.png", "caption": None}])
def test_a_text_that_is_null_is_none(row: dict[str, object]) -> None:
    """Not a row of no known form: that has no text, which OCR may find."""
    read = read_row(row)
    assert ([image.name for image in read.images], read.segments) == (["a.png"], (ImageSegment(index=0),))


@pytest.mark.parametrize("field", ["messages", "conversations"])
def test_an_empty_list_of_turns_is_called_by_its_name(field: str) -> None:
    with pytest.raises(RowError, match=rf"^{field} is a list of turns, at least one; found \[\]$"):
        read_row({field: [], "images": ["a.png"]}, RowRules())
