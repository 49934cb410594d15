"""Samples of every form that others have: read with all their images, or a PageError; nothing else leaves Decode."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from wdstream.errors import ConfigError, PageError, RowError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.decode import Decode, decode_page
from wdstream.nodes.items import Items
from wdstream.nodes.loader import Loader
from wdstream.raw.tars.samples import RawSample
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.text.row_forms import RowRules


def encoded(image_format: str = "PNG", **save: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "white").save(file, image_format, **save)
    return file.getvalue()


PNG = encoded()
TURNS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}]
TURNS += [{"role": "assistant", "content": "a"}]


def pil(mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new(mode, size)


def closed() -> Image.Image:
    image = Image.open(io.BytesIO(PNG))
    image.load()
    image.close()
    return image


READ: dict[str, tuple[Any, list[str]]] = {
    "images None": ({"images": None, "text": "plain"}, ["plain"]),
    "images PIL": ({"images": pil(), "text": "t"}, ["<6x4>", "t"]),
    "images bytes": ({"images": PNG, "text": "t"}, ["<60x40>", "t"]),
    "image list": ({"image": [pil(), pil()], "text": "t"}, ["<6x4>", "<6x4>", "t"]),
    "Arrow's Image, bytes": ({"image": {"bytes": PNG, "path": None}, "text": "t"}, ["<60x40>", "t"]),
    "placeholder": ({"image": pil(), "text": "<image>\nhello"}, ["<6x4>", "\nhello"]),
    "messages": ({"image": pil(), "messages": TURNS}, ["user", "<6x4>", "q", "assistant", "a"]),
    "picture in a part": (
        {"messages": [{"role": "user", "content": [{"type": "image", "image": pil()}]}, TURNS[1]]},
        ["user", "<6x4>", "assistant", "a"],
    ),
    "RGBA array": ({"image": np.zeros((4, 5, 4), np.uint8), "text": "t"}, ["<5x4>", "t"]),
    "bool array": ({"image": np.ones((4, 5), np.bool_), "text": "t"}, ["<5x4>", "t"]),
    "one channel": ({"image": np.zeros((4, 5, 1), np.uint8), "text": "t"}, ["<5x4>", "t"]),
    "slices of arrays": ({"image": np.zeros((8, 10, 3), np.uint8)[::2, ::-2], "text": "t"}, ["<5x4>", "t"]),
    "tensor, channels first": ({"image": torch.zeros(3, 4, 5, dtype=torch.uint8), "text": "t"}, ["<5x4>", "t"]),
    "tensor, channels last": ({"image": torch.zeros(4, 5, 3, dtype=torch.uint8), "text": "t"}, ["<5x4>", "t"]),
    "caption": ({"image": pil(), "caption": "t"}, ["<6x4>", "t"]),
    "markdown": ({"image": pil(), "markdown": "t"}, ["<6x4>", "t"]),
    "conversations": (
        {"image": pil(), "conversations": [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]},
        ["user", "<6x4>", "q", "assistant", "a"],
    ),
    "16 bits": ({"image": Image.fromarray(np.full((4, 6), 600, np.uint16)), "text": "t"}, ["<6x4>", "t"]),
    "animation": ({"image": encoded("GIF"), "text": "t"}, ["<60x40>", "t"]),
    "webdataset, decoded": ({"__key__": "a/b", "__url__": "x", "jpg": pil(), "txt": "hi"}, ["<6x4>", "hi"]),
    "webdataset, nulls": ({"__key__": "a", "jpg": pil(), "txt": "hi", "png": None, "json": None}, ["<6x4>", "hi"]),
    "what ReadTars gives": (RawSample("a", {"png": PNG, "txt": b"hi"}, 0, "x.tar"), ["<60x40>", "hi"]),
    "metadata": ({"image": pil(), "text": "t", "lang": "de", "boxes": np.zeros((50, 4)), "n": None}, ["<6x4>", "t"]),
}


@pytest.mark.parametrize("name", READ)
def test_read_with_all_images(name: str) -> None:
    sample, expected = READ[name]
    page = decode_page(sample)
    found = []
    for segment in page.segments:
        if isinstance(segment, ImageSegment):
            height, width = page.images[segment.index].shape[:2]
            found.append(f"<{width}x{height}>")
        else:
            found.append(segment.text if isinstance(segment, TextSegment) else getattr(segment, "role", "?"))
    assert found == expected
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in page.images)


class Raising(Mapping[str, object]):
    """A mapping that cannot be read."""

    def __getitem__(self, name: str) -> object:
        raise OSError("the shard is gone")

    def __iter__(self) -> Iterator[str]:
        return iter(["image", "text"])

    def __len__(self) -> int:
        return 2


class NoText:
    """An object without even a text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def endless() -> dict[str, object]:
    row: dict[str, object] = {"text": "t"}
    row["more"] = row
    return row


REFUSED: dict[str, tuple[Any, str]] = {
    "Arrow's Image, path": ({"images": [{"bytes": None, "path": "x.png"}], "text": "t"}, "is the name 'x.png'"),
    "a name": ({"image": "x.png", "text": "t"}, "image is the name 'x.png': read that file first"),
    "data URI of nothing": ({"image": "data:image/png;base64,", "text": "t"}, "cannot be decoded, or is empty"),
    "data URI of no image": ({"image": "data:image/png;base64,AAAA", "text": "t"}, "not an image: 3 bytes"),
    "text is a number": ({"image": pil(), "text": 5}, "text is int, a string expected"),
    "float array": ({"image": np.zeros((4, 4, 3), np.float32), "text": "t"}, "scale its values to 0..255"),
    "array, channels first": ({"image": np.zeros((3, 4, 5), np.uint8), "text": "t"}, "turned by array.transpose"),
    "stack of images": ({"images": np.zeros((2, 4, 5, 3), np.uint8), "text": "t"}, "one by one, in a list"),
    "array of nothing": ({"image": np.zeros((0, 5, 3), np.uint8), "text": "t"}, "a picture of 5x0 pixels has none"),
    "array of objects": ({"image": np.array([[None]]), "text": "t"}, "found an array of object"),
    "structured array": ({"image": np.zeros((4, 4), [("a", "u1")]), "text": "t"}, "found an array of "),
    "float tensor": ({"image": torch.zeros(3, 4, 4), "text": "t"}, "scale its values to 0..255"),
    "closed image": ({"image": closed(), "text": "t"}, "the image cannot be loaded: ValueError"),
    "truncated image": ({"image": Image.open(io.BytesIO(PNG[:-30])), "text": "t"}, "cannot be loaded: OSError"),
    "large image": (
        {"image": pil(size=(20_000, 20_000)), "text": "t"},
        "picture of 20000x20000 pixels is above the limit",
    ),
    "path": ({"image": Path("x.png"), "text": "t"}, "found PosixPath"),
    "open file": ({"image": io.BytesIO(PNG), "text": "t"}, "found BytesIO"),
    "pages of a TIFF": (
        {"image": Image.open(io.BytesIO(encoded("TIFF", save_all=True, append_images=[pil()]))), "text": "t"},
        "a TIFF of 2 pages; give each page as an image of its own",
    ),
    "webdataset, floats": ({"__key__": "a", "jpg": np.zeros((4, 4, 3), np.float32), "txt": "hi"}, "make it uint8"),
    "webdataset, a picture more": (
        {"__key__": "a", "txt": "hi", "jpg": pil(), "left": pil()},
        "a page has one image, a row numbers all of its own",
    ),
    "a picture more": (
        {"text": "t", "page": pil()},
        "field 'page' holds a picture, array or file .Image., which looks like an image",
    ),
    "a picture as metadata": (
        {"text": "t", "image": pil(), "meta": {"x": [pil()]}},
        "field 'meta' holds a picture, array or file .Image.",
    ),
    "misspelt": ({"text": "t", "Images": [PNG]}, "field 'Images' holds"),
    "a picture as key": ({"text": "t", "image": pil(), "id": PNG}, "field 'id' holds 128 bytes of an image"),
    "raising": (Raising(), "a Raising cannot be read: OSError: the shard is gone"),
    "without a text": ({"text": NoText(), "image": pil()}, "text is NoText, a string expected"),
    "endless": (endless(), "values nested more than 64 deep"),
    "tuple": ((PNG, "t"), "cannot read a page from a tuple"),
    "None": (None, "cannot read a page from a NoneType"),
    "page with an image left": (
        Page(key="a", images=(PNG, PNG), segments=(ImageSegment(index=0),)),
        r"has 2 images, and its segments name the images \[0\]",
    ),
    "page with a name": (Page(key="a", images=("x",), segments=(ImageSegment(index=0),)), "expected bytes, found str"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    sample, reason = REFUSED[name]
    with pytest.raises(PageError, match=reason):
        decode_page(sample)


def test_decode_passes_over_whatever_cannot_be_read() -> None:
    samples = [
        {"id": "first", "image": PNG, "text": "t"},
        *(sample for sample, _ in REFUSED.values() if sample is not None),
    ]
    samples += [{"id": "none", "images": None, "text": "text only"}, {"id": "last", "image": PNG, "text": "t"}]
    with Loader(Decode(Items(samples), workers=2, on_error="skip")) as loader:
        assert [(page.key, len(page.images)) for page in loader] == [("first", 1), ("none", 0), ("last", 1)]


def test_rules_of_rows() -> None:
    rules = RowRules(placeholder="[I]", metadata_fields=frozenset({"scan"}))
    page = as_page({"id": 0, "image": PNG, "text": "x[I]<image>", "scan": "b.png", "meta": {"lang": "de"}}, rules=rules)
    assert page.segments == (TextSegment(text="x"), ImageSegment(index=0), TextSegment(text="<image>"))
    assert (page.key, page.meta) == ("0", {"scan": "b.png", "lang": "de"})
    assert next(Decode(Items([{"text": "<image> is a tag"}]), rules=rules)).images == ()
    with pytest.raises(RowError, match="0 images, but the text has 1 of <image>"):
        as_page({"text": "<image> is a tag"})


def test_pillow_may_not_make_pixels_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES is set"):
        as_page({"image": Image.open(io.BytesIO(PNG[:-30])), "text": "t"})


IMAGES = st.sampled_from(
    [PNG, pil(), np.zeros((9, 9), np.uint8), {"bytes": PNG}, [PNG, None], "x.png", None, "", 3, []]
)
PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(max_size=8)
)
VALUES = st.recursive(
    PLAIN | IMAGES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["text", "image", "images", "file_name", "messages", "content", "conversations", "caption", "query", "response"]
NAMES += ["id", "meta", "scan", "image_id", "jpg", "txt", "json", "0.png", "__key__", "history", "system"]
TEXTS = st.sampled_from(["t", "<image>", "a <image> b <image>", "", "<|image_pad|>", "x.png"])


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS | VALUES, max_size=6))
@settings(deadline=None, max_examples=300)
def test_any_row_keeps_its_images_or_is_refused(sample: dict[str, Any]) -> None:
    """What is a picture or bytes of one at any depth of a sample is an image of its page."""
    try:
        page = decode_page(sample)
    except PageError:
        return
    assert len(page.images) == _num_images(sample)
    assert [s.index for s in page.segments if isinstance(s, ImageSegment)] == list(range(len(page.images)))


def _num_images(value: object) -> int:
    if isinstance(value, dict):
        return sum(_num_images(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(_num_images(inner) for inner in value)
    return int(isinstance(value, Image.Image | np.ndarray) or value == PNG)


def test_the_same_rows_as_json() -> None:
    """A row of a JSONL file is the same through as_page, but for images by name."""
    row = json.loads(
        '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "name": null}]}'
    )
    assert [getattr(segment, "text", "-") for segment in as_page(row).segments] == ["-", "q", "-", "a"]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "t", "x": np.array([PNG], dtype=object)},
        {"text": "t", "files": np.array(["a.png", "b.png"])},
        {"text": "t", "image": b""},
        {"__key__": "a", "npy": np.array([PNG], dtype=object), "txt": "t"},
    ],
)
def test_images_in_arrays_of_objects_do_not_vanish(row: dict[str, object]) -> None:
    """Tables of pandas and Arrow hold lists as arrays of objects; b"" is what a failed download leaves."""
    with pytest.raises(PageError):
        decode_page(row)


def test_arrays_of_objects_are_lists_of_images() -> None:
    listed = decode_page({"text": "t", "images": np.array([PNG, {"bytes": PNG, "path": None}], dtype=object)})
    assert len(listed.images) == 2
    assert len(decode_page({"__key__": "a", "jpg": bytearray(PNG), "txt": "t"}).images) == 1
