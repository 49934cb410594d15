"""Members to pages and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, Segment, TextSegment
from wdstream.shards.page_members import members_from_page, page_from_members, starts_with_text


def test_page_has_its_image_first() -> None:
    page = page_from_members("d/p1", {"txt": "Größe".encode(), "jpg": b"J", "json": b'{"lang": "de"}'})
    assert page == Page(
        key="d/p1", images=(b"J",), segments=(ImageSegment(index=0), TextSegment(text="Größe")), meta={"lang": "de"}
    )
    assert members_from_page(page, ["jpg"]) == {"jpg": b"J", "txt": "Größe".encode(), "json": b'{"lang":"de"}'}


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
    assert page_from_members("k", {"jpg": b"J", "txt": b"t", "seg.png": b"?", "cls": b"1"}).images == (b"J",)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"mp4": b""}, "neither|no image, text or json"),
        ({"v2.jpg": b"", "v2.txt": b""}, "dot looks like this"),
        ({"json": b"{}"}, "no image, text or json"),
        ({"jpg": b"", "png": b"", "txt": b""}, "a page has one image"),
        ({"0.jpg": b"", "txt": b""}, "numbers all of its own"),
        ({"0.jpg": b"", "jpg": b""}, "numbers all of its own"),
        ({"jpg": b"", "txt": b"\xff"}, "not UTF-8"),
        ({"jpg": b"", "txt": b"", "json": b"{"}, "json cannot be read"),
        ({"jpg": b"", "txt": b"", "json": b"[" * 100_000}, "json cannot be read"),
        ({"jpg": b"", "txt": b"", "json": b"[]"}, "holds a list"),
        ({"json": b'{"messages": []}'}, "messages is a list of turns"),
        ({"jpg": b"J", "json": b'{"messages": []}'}, "messages is a list of turns"),
        ({"json": b'{"content": []}'}, "list of texts and images"),
        ({"json": b'{"content": "text"}'}, "row 'k': content is a list of texts and images"),
        ({"json": b'{"content": [{"type": "video"}]}'}, "content block 0"),
        ({"json": b'{"content": [{"type": "text", "text": 3}]}'}, "content block 0"),
        ({"json": b'{"content": [{"type": "image"}]}'}, "has 1 images"),
        ({"0.jpg": b"", "json": b'{"content": [{"type": "text", "text": "a"}]}'}, "has 0 images"),
        ({"1.jpg": b"", "json": b'{"content": [{"type": "image"}]}'}, "numbered from 0"),
    ],
)
def test_bad_samples(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(RowError, match=message):
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
    page = Page(key="a/b", images=tuple(images), segments=tuple(segments), meta=meta)
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
