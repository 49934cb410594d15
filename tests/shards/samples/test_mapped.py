"""Samples by a map: which part is what, what is left, and which samples are refused."""

import base64
import json

import pytest

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.shards.page_members import members_from_page, page_from_members
from wdstream.shards.samples.mapped import mapped_page
from wdstream.text.maps.field_map import MapText
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

PNG, JPG = b"\x89PNG\r\n\x1a\n1", b"\xff\xd8\xff2"

LINK = {"url": "https://a.b/c.jpg"}
TWO = {"0_jpg": JPG, "1_png": PNG, "txt": b"t"}


def sample(json_fields: object = None, **parts: bytes) -> dict[str, bytes]:
    named = {name.replace("_", "."): data for name, data in parts.items()}
    return named if json_fields is None else {**named, "json": json.dumps(json_fields).encode()}


def read(given: MapText, members: dict[str, bytes]) -> Page:
    return page_from_members("k", members, rules=rules_with_map(DEFAULT_RULES, given))


@pytest.mark.parametrize(
    ("given", "members", "images", "text", "meta"),
    [
        ("image=png,text=json:cap", sample({"cap": "t", "lang": "en"}, png=PNG), (PNG,), "t", {"lang": "en"}),
        ("image=png,text=cap", sample({"cap": "t"}, png=PNG, txt=b"other"), (PNG,), "t", {}),
        ("text=json:cap", sample({"cap": "t"}, png=PNG), (PNG,), "t", {}),
        ("image=scan", sample(scan=PNG, txt=b"a\r\nb"), (PNG,), "a\nb", {}),
        ("image=right.jpg+left.jpg,text=txt", sample(left_jpg=JPG, right_jpg=PNG, txt=b"t"), (PNG, JPG), "t", {}),
        ("image=json:b64,text=txt", sample({"b64": base64.b64encode(PNG * 4).decode()}, txt=b"t"), (PNG * 4,), "t", {}),
        ("image=images,text=txt", sample({"images": ["1.png", "0.jpg"]}, **TWO), (PNG, JPG), "t", {}),
        ("image=png,text=txt", sample(LINK, png=PNG, txt=b"t"), (PNG,), "t", LINK),
        (
            "image=png,text=txt,metadata=jpg+cls",
            sample(png=PNG, jpg=JPG, txt=b"t", cls=b"3"),
            (PNG,),
            "t",
            {"cls": "3"},
        ),
    ],
)
def test_samples(
    given: MapText, members: dict[str, bytes], images: tuple[bytes, ...], text: str, meta: dict[str, object]
) -> None:
    page = read(given, members)
    assert page.images == images
    assert [segment.text for segment in page.segments if isinstance(segment, TextSegment)] == [text]
    assert [s.index for s in page.segments if isinstance(s, ImageSegment)] == list(range(len(images)))
    assert page.meta == meta


@pytest.mark.parametrize(
    ("given", "members", "reason"),
    [
        (
            "image=png,text=txt",
            sample(png=PNG, jpg=JPG, txt=b"t"),
            "sample 'k': its images jpg are not used by the map",
        ),
        ("image=a.png,text=txt", {"a.png": PNG, "b.png": PNG, "txt": b"t"}, "its images b.png are not used by the map"),
        ("image=pdf,text=txt", sample(pdf=b"%PDF-1.7", txt=b"t"), "whose pages are drawn by `wdstream make-shards"),
        ("image=jp2,text=txt", sample(png=PNG, txt=b"t"), "no jp2 here, which is the image by the map (image=jp2)"),
        ("text=json:captoin", sample({"caption": "t"}, png=PNG), "near it: json.caption"),
        ("text=txt", sample(txt=b"t", bin=b"\xff\x00"), "its part 'bin' holds bytes that are not text"),
        ("image=png,text=json:cap", sample({"cap": "t", "page_image": "x.png"}, png=PNG), "looks like an image"),
        ("image=images,text=txt", sample({"images": ["9.png"]}, png=PNG, jpg=JPG, txt=b"t"), "which is not a part"),
    ],
)
def test_samples_that_do_not_fit(given: MapText, members: dict[str, bytes], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read(given, members)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b'[{"bbox": [1, 2, 3, 4], "category": "Text", "text": "x"}]',
        b"72,25,326,25,326,64,72,64,TOTAL\n",
        b"0 0.481719 0.634028 0.690625 0.713278\n",
    ],
)
def test_a_text_of_places_is_read_where_a_map_names_it(text: bytes) -> None:
    """Some models are to write where words are; without a map such a text is an annotation."""
    members = {"png": PNG, "txt": text}
    page = read("image=png,text=txt", members)
    assert page.segments[1] == TextSegment(text=text.decode().rstrip())
    assert page_from_members("k", members_from_page(page, ["png"])).segments == page.segments
    page = page_from_members("k", sample({"text": text.decode()}, png=PNG)) if text.startswith(b"[") else page
    assert page_from_members("k", members_from_page(page, ["png"])).segments == page.segments
    for rules in (DEFAULT_RULES, rules_with_map(DEFAULT_RULES, "image=png")):
        with pytest.raises(RowError, match="or say with the map text=txt that it is wanted"):
            page_from_members("k", members, rules=rules)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(RowError, match=r"fetch it with `git lfs pull`\Z"):
        read("image=png,text=txt", {"png": PNG, "txt": pointer})


def test_what_is_said_of_a_sample() -> None:
    members = sample({"cap": "t", "lang": "en"}, png=PNG, cls=b"3")
    reading = mapped_page("k", members, rules_with_map(DEFAULT_RULES, "image=png,text=cap")).reading
    assert reading.how == "image=png, text=json.cap"
    assert reading.unused == ("lang", "cls")
