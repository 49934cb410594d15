"""Members to pages and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, Segment, TextSegment, TurnSegment
from wdstream.shards.page_members import members_from_page, page_from_members, starts_with_text
from wdstream.text.row_fields import with_declared


def test_page_has_its_image_first() -> None:
    page = page_from_members("d/p1", {"txt": "Größe".encode(), "jpg": b"J", "json": b'{"lang": "de"}'})
    assert page == Page(
        key="d/p1", images=(b"J",), segments=(ImageSegment(index=0), TextSegment(text="Größe")), meta={"lang": "de"}
    )
    assert members_from_page(page, ["jpg"]) == {"jpg": b"J", "txt": "Größe".encode(), "json": b'{"lang":"de"}'}


def test_a_page_of_a_pdf_may_show_what_annotations_look_like() -> None:
    """It was written, and refused when it was read."""
    text = "72,25,326,25,326,64,72,64,TAN WOON YANN\n50,82,440,82,440,121,50,121,BOOK"
    meta = {"source": "format.pdf", "page": 1, "text_from": "text layer"}
    page = Page(key="k", images=(b"J",), segments=(ImageSegment(index=0), TextSegment(text=text)), meta=meta)
    assert page_from_members("k", members_from_page(page, ["jpg"])) == page
    with pytest.raises(RowError, match="its text has a box in numbers on each line"):
        page_from_members("k", {"jpg": b"J", "txt": text.encode(), "json": b'{"page": 1}'})


def test_page_without_text_and_text_without_image() -> None:
    image = page_from_members("k", {"png": b"P"})
    assert image.segments == (ImageSegment(index=0),)
    assert members_from_page(image, ["png"]) == {"png": b"P", "txt": b""}
    text = page_from_members("k", {"txt": b"abc"})
    assert (text.images, text.segments) == ((), (TextSegment(text="abc"),))
    assert members_from_page(text, []) == {"txt": b"abc"}


def test_row_in_order_of_its_content() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, {"type": "image"}]
    members = {"0.jpg": b"0", "1.png": b"1", "json": json.dumps({"content": content, "source": "x"}).encode()}
    page = page_from_members("r", members)
    assert page.images == (b"0", b"1")
    assert page.segments == (
        TextSegment(text="a"),
        ImageSegment(index=0),
        TextSegment(text="b"),
        ImageSegment(index=1),
    )
    assert page.meta == {"source": "x"}
    again = members_from_page(page, ["jpg", "png"])
    assert again["0.jpg"] == b"0"
    assert json.loads(again["json"]) == {"content": content, "source": "x"}


def test_row_of_twelve_images_keeps_their_order() -> None:
    content = [{"type": "image"}] * 12
    members = {f"{number}.jpg": b"%d" % number for number in range(12)} | {
        "json": json.dumps({"content": content}).encode()
    }
    assert page_from_members("r", members).images == tuple(b"%d" % number for number in range(12))


def test_text_that_is_not_trained_on_keeps_its_mark() -> None:
    page = Page(key="r", images=(), segments=(TextSegment(text="read", is_supervised=False), TextSegment(text="page")))
    members = members_from_page(page, [])
    assert json.loads(members["json"])["content"][0] == {"type": "text", "text": "read", "is_supervised": False}
    assert page_from_members("r", members) == page


def test_json_next_to_text_is_metadata_whatever_it_holds() -> None:
    page = page_from_members("k", {"jpg": b"J", "txt": b"t", "json": b'{"content": 3, "messages": []}'})
    assert page.meta == {"content": 3, "messages": []}


def test_only_image_of_a_row_may_do_without_its_number() -> None:
    members = {"jpg": b"J", "json": b'{"content": [{"type": "text", "text": "q"}, {"type": "image"}]}'}
    page = page_from_members("k", members)
    assert (page.images, page.segments) == ((b"J",), (TextSegment(text="q"), ImageSegment(index=0)))


def test_parts_of_other_kinds_are_left_alone() -> None:
    members = {"jpg": b"J", "txt": b"t", "cls": b"1", "md": b"# t", "npy": b"\x93NUMPY\x01", "mp4": b"\0\0\0\x18ftyp"}
    assert page_from_members("k", members).images == (b"J",)
    assert page_from_members("k", {"txt": b"t", "cls": b"1", "md": b"# t"}).images == ()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"mp4": b""}, r"has no image, text or json with 'content'; found the members \['mp4'\]$"),
        ({"jpg": b"J", "cls": b"1"}, r"where a map says; found \['cls', 'jpg'\]$"),
        ({"v2.jpg": b"", "v2.txt": b""}, "dot looks like this"),
        (
            {"jpg.gz": b"", "txt.gz": b""},
            r"\['jpg.gz', 'txt.gz'\]. Compressed parts are not read: write them as they are$",
        ),
        ({"json": b"{}"}, "row 'k': expected text .with images., content, messages or conversations.*found no fields"),
        ({"jpg": b"", "png": b"", "txt": b""}, "a page has one image"),
        ({"0.jpg": b"", "txt": b""}, "numbers all of its own"),
        ({"0.jpg": b"", "jpg": b""}, "numbers all of its own"),
        ({"jpg": b"", "txt": b"\xff"}, "not UTF-8"),
        ({"jpg": b"", "txt": b"", "json": b"{"}, "json cannot be read"),
        ({"jpg": b"", "txt": b"", "json": b"[" * 100_000}, "json cannot be read"),
        ({"jpg": b"", "json": b"[]"}, "holds a list"),
        ({"json": b'{"messages": []}'}, "messages is a list of turns"),
        ({"jpg": b"J", "json": b'{"messages": []}'}, "messages is a list of turns"),
        ({"json": b'{"content": []}'}, "list of texts and images"),
        ({"json": b'{"content": "text"}'}, "row 'k': content is a list of texts and images"),
        ({"json": b'{"content": [{"type": "video"}]}'}, "content block 0"),
        ({"json": b'{"content": [{"type": "text", "text": 3}]}'}, "content block 0"),
        ({"json": b'{"content": [{"type": "image"}]}'}, "has 1 images"),
        ({"2.jpg": b"", "json": b'{"content": [{"type": "image"}]}'}, "1 images, but 0 file names"),
        ({"0.jpg": b"", "2.jpg": b"", "json": b'{"text": "a"}'}, "0 images are used of 2 that the sample holds"),
    ],
)
def test_bad_samples(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(RowError, match=message):
        page_from_members("k", members)


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "name", ["jpg", "jpe", "jfif", "mpo", "heic", "jxl", "tiff", "bmp", "webp", "image.png", "page.jpeg"]
)
def test_the_only_image_of_a_sample_is_the_pages_by_its_suffix(name: str) -> None:
    assert page_from_members("k", {name: b"J", "txt": b"t"}).images == (b"J",)


@pytest.mark.parametrize("name", ["bin", "data", "img", "image", ""])
def test_or_by_its_bytes(name: str) -> None:
    assert page_from_members("k", {name: PNG, "txt": b"t"}).images == (PNG,)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"jpg": b"J", "seg.png": b"P"}, "a page has one image, a row numbers all of its own"),
        ({"jpg": b"J", "bin": PNG}, "a page has one image"),
        ({"left.jpg": b"J", "right.jpg": b"J"}, "a page has one image"),
        ({"npy": b"\x93NUMPY\x01\0"}, "its part 'npy' holds bytes that are not text, which could be one"),
        ({"pyd": b"\x80\x04\x95\0"}, "its part 'pyd' holds bytes that are not text"),
        ({"mp4": b"\0\0\0\x18ftypmp42"}, "its part 'mp4' holds bytes that are not text"),
        (
            {"url": b"https://example.org/a.jpg?size=2"},
            r"its part 'url' names one, 'https://example\.org/a\.jpg\?size=2'",
        ),
        ({"path": b"scans/7.TIF\n"}, r"its part 'path' names one, 'scans/7\.TIF'"),
        ({"b64": b"data:image/png;base64,iVBORw0KGgo="}, "its part 'b64' holds one as text"),
        (
            {"json": b'{"image": "a.jpg"}'},
            "'image' holds 'a.jpg', which looks like an image and is not used; give images in 'images' or 'image', or "
            r"say that this is metadata with --map metadata=image \(",
        ),
        ({"json": b'{"image_url": "https://x.org/1"}'}, "'image_url' holds"),
        ({"jpg": b"J", "json": b'{"images": ["a.jpg", "b.jpg"]}'}, "images has 2 images, the sample holds 1"),
        ({"txt": b"<image>\nText"}, "0 images, but the text has 1 of <image>.*needs one placeholder$"),
    ],
)
def test_no_image_vanishes_next_to_a_text(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(RowError, match=message):
        page_from_members("k", {"txt": b"t"} | members)


def test_metadata_of_the_image_that_is_used() -> None:
    """As img2dataset writes it: the json tells where the image came from."""
    meta = {"url": "https://example.org/cat.png", "key": "000000", "caption": "A cat", "image": "cat.png", "width": 3}
    page = page_from_members("000000", {"jpg": b"J", "txt": b"A cat", "json": json.dumps(meta).encode()})
    assert (page.images, page.meta) == ((b"J",), meta)


ROW: dict[str, object] = {"source": "x/rows.jsonl", "line": 7}
IMAGE_THEN = (ImageSegment(index=0),)


@pytest.mark.parametrize(
    ("row", "segments"),
    [
        ({"text": "Text of it"}, (*IMAGE_THEN, TextSegment(text="Text of it"))),
        ({"caption": "Text of it"}, (*IMAGE_THEN, TextSegment(text="Text of it"))),
        ({"text": "a <image> b"}, (TextSegment(text="a "), *IMAGE_THEN, TextSegment(text=" b"))),
        ({"image": "k.jpg", "text": "t"}, (*IMAGE_THEN, TextSegment(text="t"))),
        ({"image": "elsewhere/0007.jpg", "text": "t"}, (*IMAGE_THEN, TextSegment(text="t"))),
        (
            {"messages": [{"role": "user", "content": "<image>Read"}, {"role": "assistant", "content": "It"}]},
            (
                TurnSegment(role="user"),
                *IMAGE_THEN,
                TextSegment(text="Read", is_supervised=False),
                TurnSegment(role="assistant", is_plain=True, is_supervised=True),
                TextSegment(text="It"),
            ),
        ),
    ],
)
def test_json_of_any_form_of_row(row: dict[str, object], segments: tuple[Segment, ...]) -> None:
    page = page_from_members("k", {"jpg": b"J", "json": json.dumps(row).encode()})
    assert (page.images, page.segments) == ((b"J",), segments)


@pytest.mark.parametrize("names", [("0.jpg", "1.png"), ("1.jpg", "2.png"), ("001.jpg", "002.png"), ("2.png", "1.jpg")])
def test_numbered_images_in_their_order(names: tuple[str, str]) -> None:
    members = {name: name.encode() for name in names} | {"json": b'{"text": "see <image> and <image>"}'}
    assert page_from_members("r", members).images == tuple(name.encode() for name in sorted(names))


def test_named_images_in_the_order_of_the_json() -> None:
    row = {"text": "<image> before <image>", "images": ["right.jpg", "d.left.jpg"]}
    members = {"left.jpg": b"L", "right.jpg": b"R", "json": json.dumps(row).encode()}
    assert page_from_members("x/d", members).images == (b"R", b"L")
    del row["images"]
    with pytest.raises(
        RowError, match=r"which of the images \['left\.jpg', 'right\.jpg'\] comes first: .*needs one placeholder$"
    ):
        page_from_members("x/d", members | {"json": json.dumps(row).encode()})


def declared(**fields: object) -> dict[str, object]:
    """Metadata that the settings of make-shards say are metadata."""
    return with_declared(fields, fields)


def test_texts_of_others_are_normalised_as_make_shards_does() -> None:
    """BOM, CR LF, form feed; and the figures of an index of before tell that it was not so then."""
    stored = b"\xef\xbb\xbfLine one\r\nLine two\x0c"
    assert page_from_members("k", {"txt": stored}).segments == (TextSegment(text="Line one\nLine two"),)
    assert page_from_members("k", {"txt": stored}, text_chars=17).segments == (TextSegment(text="Line one\nLine two"),)
    before = page_from_members("k", {"txt": stored}, text_chars=20).segments
    assert before == (TextSegment(text="\ufeffLine one\r\nLine two\x0c"),)


@pytest.mark.parametrize(
    "page",
    [
        Page(key="k", images=(b"J",), segments=(ImageSegment(index=0), TextSegment(text="\nA \r\n")), meta=ROW),
        Page(key="k", images=(), segments=(TextSegment(text="the mark <image>"),), meta=with_declared(ROW, ROW)),
        Page(key="k", images=(), segments=(TextSegment(text="a"),), meta=ROW | declared(thumbnail="t.png")),
        Page(
            key="k",
            images=(),
            segments=(TextSegment(text="a <image>"), TextSegment(text="b")),
            meta=ROW | declared(image_id=3),
        ),
    ],
)
def test_what_make_shards_judged_is_read_as_it_is(page: Page) -> None:
    members = members_from_page(page, ["jpg"] * len(page.images))
    assert page_from_members("k", members) == page


@pytest.mark.parametrize(
    ("text", "images", "meta"),
    [
        ("Write <img>https://host/a.jpg</img> there.", (b"J",), {"source": "qwen.pdf", "page": 1}),
        (f"background: url({'data:image/png;base64,' + 'A' * 40})", (b"J",), {"source": "css.png"}),
        ("the mark <image>", (), {"source": "a.tar", "sample": "a"}),
        ("text", (), {"source": "a.tar", "scan": "a.png"}),
        ("text", (b"J",), {"source": "a.tar", "thumb": "data:image/png;base64,iVBORw0KGgo="}),
        ("chosen", (b"J",), {"source": "a.tar", "rejected": "no"}),
    ],
)
def test_what_was_judged_by_a_map_or_the_page_itself_is_written_so_that_it_is_read(
    text: str, images: tuple[bytes, ...], meta: dict[str, object]
) -> None:
    segments: tuple[Segment, ...] = (*(ImageSegment(index=0) for _ in images), TextSegment(text=text))
    page = Page(key="k", images=images, segments=segments, meta=meta)
    members = members_from_page(page, ["jpg"] * len(images))
    written = json.loads(members["json"])
    assert (written.keys() - meta.keys(), written["wdstream_metadata_fields"][:-1]) == (
        {"wdstream_metadata_fields"},
        sorted(meta),
    )
    read = page_from_members("k", members)
    assert (read.images, read.segments, read.meta) == (images, segments, written)


SAID = {"scan": "a.png", "wdstream_metadata_fields": ["scan", "blake2b:aaa196caa35629c0"]}


def test_only_what_wdstream_wrote_says_that_an_image_is_metadata() -> None:
    """A list of a tar of others is one field more, whatever it is called; so is ours next to another value."""
    assert with_declared({"scan": "a.png"}, ["scan"]) == SAID
    assert page_from_members("k", {"txt": b"text", "json": json.dumps(SAID).encode()}).meta == SAID
    for said in (
        {"scan": "a.png", "metadata_fields": ["scan", "metadata_fields"]},
        {"scan": "a.png", "wdstream_metadata_fields": ["scan"]},
        {"scan": "a.png", "wdstream_metadata_fields": []},
        {"scan": "a.png", "wdstream_metadata_fields": "scan"},
        {"scan": "a.png", "wdstream_metadata_fields": ["scan", "blake2b:0000000000000000"]},
        SAID | {"scan": "b.png"},
        SAID | {"second": "b.png"},
    ):
        members = {"txt": b"text", "json": json.dumps(said).encode()}
        with pytest.raises(RowError, match=r"field '(scan|second)' holds '[ab].png', which looks like an image"):
            page_from_members("k", members)
        row = {"json": json.dumps(said | {"text": "text"}).encode()}
        with pytest.raises(RowError, match=r"field '(scan|second)' holds '[ab].png', which looks like an image"):
            page_from_members("k", row)


def test_a_file_and_a_line_in_a_tar_of_others_let_no_image_go() -> None:
    for text in (
        b"see <image>",
        b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADwAAAAoCAIAAAAt2Q6oAAAA",
        b"scan.png",
    ):
        with pytest.raises(RowError, match=r"image"):
            page_from_members("k", {"txt": text, "json": b'{"source": "train.jsonl", "line": 3}'})


def test_rows_that_make_shards_of_before_took_their_image_from() -> None:
    dropped = json.dumps(ROW | {"image": "a.png"}).encode()
    with pytest.raises(RowError, match=r"'image' holds 'a.png', .*make these shards again"):
        page_from_members("k", {"txt": b"see it", "json": dropped})
    named = json.dumps(ROW | {"image": "a.png", "text": "see it"}).encode()
    with pytest.raises(RowError, match=r"image names 'a.png', which is not a part of the sample"):
        page_from_members("k", {"json": named})
    with pytest.raises(RowError, match="its part 'npy' holds bytes that are not text"):  # no part of ours
        page_from_members("k", {"txt": b"see it", "json": json.dumps(ROW).encode(), "npy": b"\x93NUMPY\0\0"})


URI = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAADwAAAAoCAIAAAAt2Q6oAAAA"
LINKED = {"caption": "A cat", "url": "https://example.org/x.jpg", "path": "x/y.jpg", "key": "0012", "exif": "{}"}


@pytest.mark.parametrize(
    "members",
    [
        {"jpg": b"J", "json": json.dumps(LINKED).encode()},
        {"jpg": b"J", "txt": b"A cat", "json": json.dumps(LINKED).encode()},
        {"jpg": b"J", "json": json.dumps(LINKED | {"file_name": "COCO_1.jpg"}).encode()},
        {"jpg": b"J", "txt": b"A cat", "json": b"[1, 2]"},
        {"jpg": b"J", "txt": b"A cat", "json": b"null"},
    ],
)
def test_where_an_image_is_from_is_metadata(members: dict[str, bytes]) -> None:
    page = page_from_members("k", members)
    assert (page.images, page.segments) == ((b"J",), (ImageSegment(index=0), TextSegment(text="A cat")))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"txt": b"t", "image": b"abc"}, "'image' is called like one"),
        ({"txt": b"t", "img_path": b"/data/1"}, "'img_path' is called like one"),
        ({"txt": b"t", "jpg.part": b""}, "'jpg.part' is called like one"),
        ({"txt": b"t", "lst": b"a.jpg\nb.jpg\n"}, "names one, 'a.jpg'"),
        ({"txt": b"t", "meta.json": b'{"image": "a.jpg"}'}, "names one: field 'image' holds 'a.jpg'"),
        ({"txt": b"t", "xml": b"<?xml version='1.0'?>\n<svg/>"}, "is a drawing"),
        ({"txt": b"t", "json": b'{"scan": "page 1.png"}'}, "field 'scan' holds 'page 1.png'"),
        ({"txt": URI.encode()}, "an image, not a text"),
        ({"txt": b"images/a.png"}, "its text is the name of an image, 'images/a.png'"),
        ({"jpg": b"J", "txt": b"t", "json": json.dumps({"image": URI}).encode()}, "not a part of the sample"),
        ({"jpg": b"J", "json": json.dumps({"text": "t", "image": URI}).encode()}, "the part 'jpg' is another"),
        ({"jpg": b"J", "txt": "Łódź".encode("utf-16-le").replace(b"\xf3", b"o")}, "its text is UTF-16, or no text"),
        ({"jpg": b"J", "txt": "hello".encode("utf-16-le")}, "its text is UTF-16, or no text"),
        ({"jpg": b"J", "txt": "Привет мир".encode("utf-16-le")}, "its text is UTF-16, or no text: write it as UTF-8"),
        ({"jpg": b"J", "txt": b"0 0.48172 0.63403 0.69063 0.71328\n"}, "its text has a box in numbers on each line"),
    ],
)
def test_no_image_vanishes_in_parts_texts_and_metadata(members: dict[str, bytes], reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        page_from_members("k", members)


def page_of(segments: tuple[Segment, ...], images: int = 0, **meta: object) -> Page:
    return Page(key="k", images=(b"I",) * images, segments=segments, meta=meta)


@pytest.mark.parametrize(
    ("page", "extensions", "message"),
    [
        (page_of(()), [], "neither an image nor text"),
        (page_of((), 1), ["jpg"], "each image is named once"),
        (page_of((ImageSegment(index=0),), 1), [], "0 extensions"),
        (page_of((ImageSegment(index=1), ImageSegment(index=0)), 2), ["jpg", "jpg"], "in order"),
        (page_of((ImageSegment(index=0),), 1), ["pdf"], "possible are"),
        (page_of((TextSegment(text="\ud800"),)), [], "UTF-8"),
        (page_of((TextSegment(text="a"),), x=float("nan")), [], "JSON"),
        (page_of((TextSegment(text="a"),), x=b""), [], "JSON"),
        (page_of((TextSegment(text="a"), TextSegment(text="b")), content=1), [], "cannot have the names"),
    ],
)
def test_pages_that_cannot_be_stored(page: Page, extensions: list[str], message: str) -> None:
    with pytest.raises(RowError, match=message):
        members_from_page(page, extensions)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
META = st.dictionaries(st.text("abcdefg", min_size=1, max_size=4), st.integers() | TEXTS | st.none(), max_size=3)


@given(
    kinds=st.lists(st.none() | st.builds(TextSegment, text=TEXTS, is_supervised=st.booleans()), min_size=1), meta=META
)
@settings(deadline=None)
def test_any_page_comes_back(kinds: list[TextSegment | None], meta: dict[str, object]) -> None:
    segments: list[Segment] = []
    images: list[bytes] = []
    for kind in kinds:
        segments.append(ImageSegment(index=len(images)) if kind is None else kind)
        images += [b"image %d" % len(images)] if kind is None else []
    page = Page(key="a/b", images=tuple(images), segments=tuple(segments), meta=meta | ROW)
    assert page_from_members("a/b", members_from_page(page, ["jpg"] * len(images))) == page


def test_starts_with_text() -> None:
    image, text = ImageSegment(index=0), TextSegment(text="a")
    expected: dict[tuple[Segment, ...], bool] = {
        (image, text): False,
        (text, image): True,
        (text,): True,
        (TextSegment(text=""), image): False,
    }
    for segments, starts in expected.items():
        assert starts_with_text(Page(key="k", images=(b"x",), segments=segments)) is starts
    assert not starts_with_text(Page(key="k", images=(), segments=()))


def test_tools_and_calls_keep_the_order_of_their_names() -> None:
    """Templates write them as they are: sorted, a model would see other tokens than from the row itself."""
    more = '{"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"b":1,"a":{"d":2,"c":3}}}}]}'
    tools = '{"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{}}}]}'
    turns = (TurnSegment(role="user", is_plain=True, more=tools), TextSegment(text="Q", is_supervised=False))
    answer = TurnSegment(role="assistant", is_supervised=True, is_plain=True, more=more)
    page = Page(
        key="k", images=(), segments=(*turns, answer), meta={"source": "a.jsonl", "line": 1, "b": {"y": 1, "x": 2}}
    )
    members = members_from_page(page, ())
    assert page_from_members("k", members).segments == page.segments
    assert members["json"].startswith(
        b'{"b":{"x":2,"y":1},"line":1,"messages":[{"content":"Q","role":"user","tools":[{"type"'
    )
