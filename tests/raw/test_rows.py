import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import RowError
from wdstream.raw.rows import Row, parse_row, resolve_image, split_text
from wdstream.records import ImageSegment, TextSegment


def row(placeholder: str | None = None, **fields: Any) -> Row:
    return parse_row(json.dumps(fields).encode(), placeholder)


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
    assert parsed.image_names == ("a.png", "b/c.jpg")
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
    assert shape(row(text="the tag <image> of HTML")) == ["the tag <image> of HTML"]
    assert shape(row(text="", images=None)) == []


def test_content_with_names_inside_or_next_to_it() -> None:
    inside = row(content=[{"type": "text", "text": "x"}, {"type": "image", "image": "a.png"}], lang="he")
    assert (shape(inside), inside.image_names, inside.meta) == (["x", 0], ("a.png",), {"lang": "he"})
    beside = row(content=[{"type": "image"}, {"type": "text", "text": "x"}, {"type": "image"}], images=["a", "b"])
    assert (shape(beside), beside.image_names) == ([0, "x", 1], ("a", "b"))
    unsupervised = row(content=[{"type": "text", "text": "q", "is_supervised": False}, {"type": "text", "text": ""}])
    assert unsupervised.segments == (TextSegment(text="q", is_supervised=False),)


def test_text_is_taken_word_for_word() -> None:
    text = "\r\n <｜User｜> \x00 \u0002\ttail \n"
    assert shape(row(text=text)) == [text]
    assert shape(parse_row(b'\xef\xbb\xbf{"text": "lone \\ud800, pair \\ud83d\\ude00", "m": ["\\udfff"]}')) == [
        "lone \ufffd, pair \U0001f600"
    ]
    assert parse_row(b'{"text": "", "m": ["\\udfff"]}').meta == {"m": ["\ufffd"]}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            b'{"text": "<image> <image>", "images": ["a"]}',
            "1 images, but the text has 2 of <image>, 0 of <|image_pad|>",
        ),
        (b'{"text": "none", "images": ["a"]}', "1 images, but the text has 0 of <image>, 0 of <|image_pad|>"),
        (b'{"text": "<image>", "images": []}', "0 images, but the text has 1 of <image>"),
        (b'{"text": "<|image_pad|>", "images": []}', "0 images, but the text has 0 of <image>, 1 of <|image_pad|>"),
        (b'{"text": 3}', "text is int, a string expected"),
        (b'{"text": "", "images": "a.png"}', "images is not a list of file names"),
        (b'{"text": "", "images": [3]}', "images is not a list of file names"),
        (b'{"text": "a", "content": []}', "one of them; found content, text"),
        (b"{}", "one of them; found no fields"),
        (b'{"messages": []}', "messages is a list of turns, at least one"),
        (b'{"content": {}}', "content is a list of texts and images"),
        (b'{"content": [{"type": "video"}]}', "content block 0 is neither a text nor an image"),
        (b'{"content": ["text"]}', "content block 0 is neither a text nor an image"),
        (b'{"content": [{"type": "image", "image": 3}]}', "image 0 of content is int"),
        (b'{"content": [{"type": "image"}]}', "content has 1 images, but 0 file names"),
        (b'{"content": [{"type": "image", "path": "a"}], "images": ["a"]}', "named both in images and in content"),
        (b"[]", "a JSON object expected, found list"),
        (b'{"text": "cut', "not readable JSON"),
        (b'{"text": NaN}', "not readable JSON: NaN is not a JSON number"),
        (b"\xff{}", "not UTF-8 (byte 0 of the line)"),
        (b"[" * 100_000, "not readable JSON: nested too deeply"),
    ],
)
def test_bad_rows(line: bytes, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(line)
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


def test_images_are_found_below_the_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "sub/a.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    assert resolve_image(folder, "sub/a.png") == folder / "sub/a.png"
    assert resolve_image(folder, "inner.png") == folder / "inner.png"
    for name in ("../secret.png", "sub/../sub/a.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(RowError, match="leaves the folder of the JSONL file"):
            resolve_image(folder, name)
        assert resolve_image(folder, name, allow_outside=True).is_file()
    for name in ("absent.png", "sub", "loop.png"):
        with pytest.raises(RowError, match=r"does not exist|cannot be found"):
            resolve_image(folder, name)
    for name in ("https://example.org/a.png", "file:///etc/hostname", "data:image/png;base64,AAAA"):
        with pytest.raises(RowError, match="is a URL; fetch it first"):
            resolve_image(folder, name)
    for name in ("", "a\0b"):
        with pytest.raises(RowError, match="is not a file name"):
            resolve_image(folder, name)
    with pytest.raises(RowError, match=r"cannot be found|does not exist"):
        resolve_image(folder, "n" * 5000)
