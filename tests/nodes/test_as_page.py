"""as_page and decode_page on the samples of other projects: webdataset, Hugging Face rows, our own records."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.errors import DecodeError, RowError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.decode import Decode, decode_page
from wdstream.nodes.items import Items
from wdstream.records import DecodedPage, ImageSegment, Page, TextSegment
from wdstream.text.messages import segments_from_messages

IMAGES = PAGES / "images"
IMAGE_THEN_TEXT = (ImageSegment(index=0), TextSegment(text="A line."))


def png(size: tuple[int, int] = (4, 3), color: tuple[int, int, int] = (10, 20, 30), **save: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG", **save)
    return file.getvalue()


def test_our_records_pass() -> None:
    page = Page(key="a", images=(png(),), segments=IMAGE_THEN_TEXT)
    assert as_page(page) is page
    decoded = decode_page(page)
    assert decode_page(decoded) is decoded
    assert decoded.images[0].shape == (3, 4, 3)
    assert decoded.images[0][0, 0].tolist() == [10, 20, 30]
    assert (decoded.key, decoded.segments) == ("a", IMAGE_THEN_TEXT)


def test_raw_webdataset_sample() -> None:
    data = png()
    sample = {"__key__": "shard/0001", "__url__": "x.tar", "png": data, "txt": b"A line.", "json": b'{"lang": "de"}'}
    assert as_page(sample) == Page(key="shard/0001", images=(data,), segments=IMAGE_THEN_TEXT, meta={"lang": "de"})


def test_decoded_webdataset_samples() -> None:
    data = png()
    texts_decoded = {"__key__": "1", "png": data, "txt": "A line.", "json": {"lang": "de"}}
    assert as_page(texts_decoded) == Page(key="1", images=(data,), segments=IMAGE_THEN_TEXT, meta={"lang": "de"})
    page = as_page({"__key__": "1", "png": Image.open(io.BytesIO(data)), "txt": "A line.", "json": {"lang": "de"}})
    assert isinstance(page, DecodedPage)
    assert (page.key, page.segments, page.meta) == ("1", IMAGE_THEN_TEXT, {"lang": "de"})
    assert page.images[0][0, 0].tolist() == [10, 20, 30]


def test_interleaved_webdataset_row() -> None:
    content = b'{"content": [{"type": "text", "text": "before"}, {"type": "image"}]}'
    page = as_page({"__key__": "1", "0.png": png(), "json": content})
    assert page.segments == (TextSegment(text="before"), ImageSegment(index=0))


def test_an_interleaved_row_is_the_same_when_its_images_are_decoded() -> None:
    """Eleven images, in a tar's order of names: 0, 1, 10, 2, ...; the text is after the third."""
    images = {f"{number}.png": Image.new("L", (1, 1), number) for number in (0, 1, 10, *range(2, 10))}
    content = [*[{"type": "image"}] * 3, {"type": "text", "text": "between"}, *[{"type": "image"}] * 8]
    page = as_page({"__key__": "1", **images, "json": {"content": content, "lang": "de"}, "npy": np.zeros(2)})
    assert [int(np.asarray(image)[0, 0, 0]) for image in page.images] == list(range(11))
    assert page.segments == (
        *(ImageSegment(index=index) for index in range(3)),
        TextSegment(text="between"),
        *(ImageSegment(index=index) for index in range(3, 11)),
    )
    assert page.meta == {"lang": "de"}


def test_a_chat_row_keeps_its_turns() -> None:
    turns = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]},
        {"role": "assistant", "content": "A line."},
    ]
    segments = segments_from_messages(turns, num_images=1)
    assert segments[-1] == TextSegment(text="A line.")
    row = as_page({"key": "a", "images": [png()], "messages": turns})
    stored = as_page({"__key__": "a", "0.png": Image.new("L", (1, 1)), "json": {"messages": turns}})
    assert row.segments == stored.segments == segments


def test_rows_of_bytes_arrays_and_pil_images() -> None:
    data = png()
    row = as_page({"id": 7, "image": data, "text": "A line."})
    assert row == Page(key="7", images=(data,), segments=IMAGE_THEN_TEXT)
    two = as_page({"key": "two", "images": [np.zeros((2, 5, 3), np.uint8), np.full((2, 5), 9, np.uint8)], "text": ""})
    assert isinstance(two, DecodedPage)
    assert two.segments == (ImageSegment(index=0), ImageSegment(index=1))
    assert [image.shape for image in two.images] == [(2, 5, 3), (2, 5, 3)]
    assert two.images[1][0, 0].tolist() == [9, 9, 9]
    text_only = as_page({"key": "t", "image": None, "text": "A line."})
    assert text_only == Page(key="t", images=(), segments=(TextSegment(text="A line."),))


def test_a_row_without_a_key_is_named_by_its_content() -> None:
    first, same = as_page({"image": png(), "text": "x"}), as_page({"image": png(), "text": "x"})
    other = as_page({"image": png(), "text": "y"})
    assert first.key == same.key != other.key
    assert len(first.key) == 16


def test_pil_images_follow_the_rules_of_files() -> None:
    turned = Image.new("RGB", (4, 3))
    turned.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    from_file = decode_page({"key": "a", "image": file.getvalue(), "text": ""}).images[0]
    from_pil = decode_page({"key": "a", "image": Image.open(io.BytesIO(file.getvalue())), "text": ""}).images[0]
    assert from_file.shape == (4, 3, 3)
    np.testing.assert_array_equal(from_file, from_pil)
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert decode_page({"key": "a", "image": clear, "text": ""}).images[0].tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (17, "cannot read a page from a int; expected a Page"),
        ({"url": "x", 5: 6}, "row: expected text .with images., content, .*; found 5, url"),
        ({"key": "a", "text": ""}, "row 'a' has neither an image nor text"),
        ({"key": "a", "image": b"x", "words": "b"}, "row 'a': expected text .*; found image, words"),
        ({"key": "a", "text": 3}, "row 'a': text is int, a string expected"),
        ({"key": "a", "text": b"caf\xe9"}, r"row 'a': text is not UTF-8 \(byte 3\)"),
        ({"key": "a", "image": b"x", "conversations": []}, "row 'a': conversations is a list of turns, at least one"),
        ({"key": "a", "text": "b", "messages": []}, "row 'a': expected .* found 'text', 'messages'; more than one"),
        (
            {"key": "a", "image": b"x", "messages": [{"role": "user", "content": "Read."}]},
            "row 'a': there is no turn of the assistant",
        ),
        ({"key": "a", "image": "page.png", "text": ""}, "row 'a': an image is bytes.*; image is the name 'page.png'"),
        ({"__key__": "a", "cls": 3}, "sample 'a' has no image, text or json"),
        (
            {"__key__": "a", "png": b"x", "json": {"a": object()}},
            "sample 'a': its json is neither bytes, text nor JSON",
        ),
        ({"__key__": "a", "png": Image.new("L", (1, 1)), "txt": b"caf\xe9"}, "sample 'a': its text is not UTF-8"),
        ({"__key__": "a", "0.png": Image.new("L", (1, 1)), "txt": "b"}, "sample 'a': a page has one image"),
    ],
)
def test_other_samples_are_refused(sample: object, message: str) -> None:
    with pytest.raises(RowError, match=message):
        as_page(sample)


def test_metadata_that_have_no_fields_are_kept_as_they_are() -> None:
    """Rows of Nougat have a list there."""
    for meta in ("de", [], [1], None):
        assert as_page({"key": "a", "text": "b", "meta": meta}).meta == ({} if meta is None else {"meta": meta})
    assert as_page({"key": "a", "text": "b", "meta": {"lang": "de"}, "n": 1}).meta == {"lang": "de", "n": 1}


def test_decode_names_the_page_and_the_image() -> None:
    with pytest.raises(DecodeError, match="page 'a', image 1: not an image"):
        decode_page({"key": "a", "images": [png(), b"no image at all"], "text": ""})
    with pytest.raises(DecodeError, match=r"page 'a', image 0: .*above the limit of 11 pixels"):
        decode_page({"key": "a", "image": png((4, 3)), "text": ""}, max_pixels=11)
    broken = Image.open(io.BytesIO(png((64, 64))[:-40]))
    with pytest.raises(DecodeError, match="row 'b': the image cannot be loaded: OSError"):
        decode_page({"key": "b", "image": broken, "text": ""})


def test_decode_skips_what_cannot_be_decoded() -> None:
    samples = [{"key": "a", "image": b"x", "text": ""}, {"key": "b", "image": png(), "text": ""}, {"key": "c"}]
    node = Decode(Items(samples), workers=2, on_error="skip")
    assert [page.key for page in node] == ["b"]
    assert node.skipped == 2


def test_every_shipped_image_decodes() -> None:
    paths = sorted(IMAGES.glob("*.*"))
    paths = [
        path for path in paths if path.suffix != ".txt" and path.name != "pillow-g4-multi.tiff"
    ]  # of several pages
    rows = [{"key": path.stem, "image": path.read_bytes(), "text": ""} for path in paths]
    assert len(rows) > 5
    for page in Decode(Items(rows), workers=2):
        assert page.images[0].dtype == np.uint8
        assert page.images[0].shape[2] == 3
