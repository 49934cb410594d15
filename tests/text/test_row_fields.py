"""What a row may hold besides its text and its images: metadata, and nothing that could be an image."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from wdstream.errors import RowError
from wdstream.text.row_fields import refuse_unused_images
from wdstream.text.row_images import RowImage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
JPEG64 = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(64)).decode()
USED = [RowImage(where="image", name="pages/a.png")]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"scan": "b.png"}, "field 'scan' holds 'b.png'"),
        ({"scan": " ./x/b.TIFF "}, "field 'scan' holds"),
        ({"scan": "https://host/b.jpg?width=3#top"}, "field 'scan' holds"),
        ({"scan": "sub\\b.heic"}, "field 'scan' holds"),
        ({"scan": "with space.png"}, "field 'scan' holds 'with space.png'"),  # there is such a file
        ({"scan": JPEG64}, "field 'scan' holds"),
        ({"scan": "data:image/svg+xml,%3Csvg"}, "field 'scan' holds"),
        ({"scan": PNG}, "field 'scan' holds 72 bytes of an image"),
        ({"scan": bytearray(b"%PDF-1.7")}, "field 'scan' holds 8 bytes of an image"),
        ({"scan": b"\xff\x0a" + bytes(62)}, "field 'scan' holds 64 bytes of an image"),
        ({"scan": list(PNG)}, "field 'scan' holds the bytes of an image as a list of 72 numbers"),
        ({"scan": np.frombuffer(PNG, np.uint8)}, "field 'scan' holds a picture, array or file (ndarray)"),
        ({"scan": np.zeros((20, 30, 3))}, "field 'scan' holds a picture, array or file (ndarray)"),
        ({"scan": {"path": ["b.png", "c.png"], "n": 1}}, "field 'scan' holds 'b.png'"),
        ({"m": {"a": [{"b": ({"c": "b.webp"},)}]}}, "field 'm' holds 'b.webp'"),
        ({"image_s": ["b"]}, "field 'image_s' holds ['b']"),
        ({"Images": ["b"]}, "field 'Images' holds"),
        ({"imges": "b"}, "field 'imges' holds 'b'"),
        ({"image2": "b"}, "field 'image2' holds 'b'"),
        ({"pageImage": {"name": "b"}}, "field 'pageImage' holds"),
        ({"thumbnail": "https://host/7"}, "field 'thumbnail' holds"),
        ({"videos": ["b.mp4"]}, "field 'videos' holds"),
    ],
)
@pytest.mark.parametrize("images", [USED, []], ids=["with images", "without"])
def test_what_could_be_an_image_is_refused(fields: dict[str, Any], what: str, images: list[RowImage]) -> None:
    with pytest.raises(RowError, match="is not used") as caught:
        refuse_unused_images(fields, images, is_image_file=lambda name: name == "with space.png")
    (field,) = fields
    assert str(caught.value).startswith(what)
    assert f"say that this is metadata with --metadata-field {field}" in str(caught.value)
    refuse_unused_images(fields, images, metadata_fields=frozenset(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {
            "image_id": "000000123",
            "image_width": 640,
            "image_caption": "A page.",
            "num_images": 1,
            "has_image": True,
            "image_classes": ["Belt"],
            "image_metadata": [{"url": "x", "alt": "A page"}],
            "image_info": {"camera": "X"},
        },
        {"image_alt": "A photo of a page", "image": "", "images": [], "photo": None},
        {"source": "pages/a.png", "file": "a.png", "url": "https://host/other/a.png", "id": "b.png"},
    ],
)
def test_metadata_of_images_that_are_used(fields: dict[str, Any]) -> None:
    refuse_unused_images(fields, USED)
    if any(fields.values()):
        with pytest.raises(RowError, match="is not used"):
            refuse_unused_images(fields, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://host/page.html", "path": "s3://bucket/x.warc.gz", "file": "chapter.txt", "lang": "en"},
        {"note": "Save it as photo.png", "title": "How image.jpg came about", "format": "png", "mime": "image/png"},
        {"words": ["open", "photo.png", "now"], "boxes": np.zeros((400, 4)), "vector": np.zeros(300), "n": np.int64(3)},
        {"message": "image", "usage": {"tokens": 5}, "pages": 4, "stages": ["a", "b"]},
        {"hash": "d41d8cd98f00b204e9800998ecf8427e" * 3, "workdir": "/work/data/files/of/this/set/0000000001"},
        {"bbox": [255, 10, 90, 40], "boxes": [[0, 1, 2, 3], [255, 10, 9, 9]], "tokens": np.array([2815] * 99)},
        {"sha256": b"\xff\x0a" + bytes(range(30)), "corner": np.array([255, 10, 9, 9], np.uint8)},
        {"ids": [66, 77, 1, 2], "bytes": b"plain", "empty": b"", "nothing": [], "score": 0.5},
    ],
)
@pytest.mark.parametrize("images", [USED, []], ids=["with images", "without"])
def test_sound_metadata_is_kept(fields: dict[str, Any], images: list[RowImage]) -> None:
    refuse_unused_images(fields, images)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"scan": "page 1.png"}, "field 'scan' holds 'page 1.png'"),
        ({"meta": {"file_path": ["x/page 1.TIF"]}}, "field 'meta' holds 'x/page 1.TIF'"),
        ({"x": "plate.eps"}, "field 'x' holds 'plate.eps'"),
        ({"x": "chest.dcm"}, "field 'x' holds 'chest.dcm'"),
        ({"x": b"\x00\x00\x01\x00" + bytes(100)}, "field 'x' holds 104 bytes that are not text"),
        ({"text_file": "page 1.png"}, "field 'text_file' holds 'page 1.png'"),
        ({"x": '<?xml version="1.0"?>\n<svg/>'}, "field 'x' holds '<\\?xml version"),
        ({"x": '<!-- a -->\n<!DOCTYPE svg PUBLIC "x">\n<svg>'}, "field 'x' holds '<!-- a -->"),
        ({"x": "%!PS-Adobe-3.0 EPSF-3.0"}, "field 'x' holds '%!PS-Adobe"),
        ({"x": '{"pages": [{"path": "b.png"}]}'}, "field 'x' holds 'b.png'"),
        ({"x": PNG.hex()}, "field 'x' holds '89504e47"),
        ({"x": "0x" + PNG.hex()}, "field 'x' holds '0x89504e47"),
        ({"x": repr(PNG)}, "field 'x' holds .*PNG"),
    ],
)
def test_what_could_be_the_image_of_a_row_that_has_none_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(RowError, match=what):
        refuse_unused_images(fields, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://wafa.ps", "domain": "wafa.ps", "pdf": "thesis.ps", "sha512": "ff0a" + "ab" * 62},
        {"html": '<?xml version="1.0"?><!DOCTYPE html><html><svg>', "page": "<!-- a --><p><svg></p>"},
        {"page_title": "How to crop a.png", "file": {"description": "Drawn after plate 1.svg"}},
        {"digest": bytes(range(200, 232)), "sha512": bytes(range(64, 128))},
        {"x": "{not JSON}", "y": '["a", {"b": 1}]', "z": "[" * 5000, "svg": "an <svg> in prose"},
        {"x": "ffd8ff" + "0" * 58, "y": "b'plain'", "file": "see the scan.", "path": "a b/c.txt"},
    ],
)
def test_and_what_could_not_is_kept(fields: dict[str, Any]) -> None:
    refuse_unused_images(fields, [])


UNIT = np.random.default_rng(0).normal(size=384)
UNIT /= np.linalg.norm(UNIT)
PIXELS = np.random.default_rng(0).integers(0, 256, (28, 28))


@pytest.mark.parametrize(
    "fields",
    [
        {"embedding": UNIT.tolist()},
        {"anything": UNIT.tolist()},
        {"embedding": (UNIT * 7).astype("<f4").tobytes()},
        {"text_emb": {"ada": UNIT.astype("<f2").tobytes()}},
        {"minHash": PIXELS.astype("u1").tobytes()},
        {"input_ids": np.arange(900, dtype="<u2").tobytes()},
        {"e5": UNIT.astype("<f4").tobytes()},
        {"e5": UNIT.astype("<f2").tobytes()},
        {"e5": UNIT.astype("<f8").tobytes()},
        {"raw": b"\xff\xfe" + bytes(62)},  # as short as a hash
        {"utf8": "Größe".encode() * 100},
        {"token_embeddings": [UNIT[:16].tolist()] * 20},
        {"logits": np.zeros((20, 30))},
        {"word_boxes": [[0, 0, 9, 0, 9, 9, 0, 9]] * 40},
        {"xywh": [[0, 0, 9, 9]] * 40},
        {"ocr_lines": [[10, 10, 200, 10, 200, 30, 10, 30]] * 40},
        {"page": {"regions": [[10, 10, 200, 10, 200, 30, 10, 30]] * 40}},
        {"top_logprobs": [[-0.5] * 20] * 30},
        {"adjacency": [[0, 1] * 6] * 12},
        {"rle": [7, 250] * 600},
        {"word_starts": [7, 250] * 600},
        {"table": [[1.5, 2.0, 3, 4, 5, 6, 7, 8]] * 12},
        {"attention_mask": [1] * 2000},
        {"tokens": [7, 250] * 600},
        {"line_lengths": [72, 200] * 600},
        {"codes": [65, 128, 300] * 400},  # above 255
        {"utf": list("Größe".encode()) * 300},
        {"sentences": [[101, 7, 8], [101, 9]] * 20},
        {"ner": [["B", "O"] * 8] * 20},
    ],
)
def test_numbers_that_are_no_picture_are_metadata(fields: dict[str, Any]) -> None:
    refuse_unused_images(fields, [])


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"data": PIXELS.tolist()}, "numbers in 28 rows of 28, as of pixels"),
        ({"data": (PIXELS / 255).tolist()}, "numbers in 28 rows of 28, as of pixels"),
        ({"data": [[[1, 2, 3]] * 30] * 20}, "numbers in 20 rows of 30, as of pixels"),
        ({"data": [[[0.5] * 30] * 20] * 3}, "numbers in 20 rows of 30, as of pixels"),
        ({"lines": [[0] * 9] * 9}, "numbers in 9 rows of 9, as of pixels"),
        ({"x": {"y": [[0] * 8] * 8}}, "numbers in 8 rows of 8, as of pixels"),
        ({"x": json.dumps([[0.5] * 8] * 8)}, "numbers in 8 rows of 8, as of pixels"),
        ({"data": PIXELS.ravel().tolist()}, "784 numbers from 0 to 255, as of pixels"),
        ({"data": PIXELS.astype("u1").tobytes()}, "784 bytes that are not text"),
        ({"data": (PIXELS / 255).astype("<f4").tobytes()}, "3136 bytes that are not text"),
        ({"data": b"\x93NUMPY\x01\x00" + bytes(500)}, "508 bytes that are not text"),
        ({"embedding": PNG}, "72 bytes of an image"),
        ({"embedding": list(PNG)}, "the bytes of an image as a list of 72 numbers"),
        ({"image_embedding": UNIT.tolist()}, r"\[0.0"),
        ({"embedding": np.zeros((20, 30, 3))}, r"a picture, array or file \(ndarray\)"),
    ],
)
def test_numbers_that_could_be_pixels_are_refused_without_an_image(fields: dict[str, Any], what: str) -> None:
    (field,) = fields
    with pytest.raises(RowError, match=f"field '{field}' holds {what}"):
        refuse_unused_images(fields, [])


def test_a_vector_of_the_image_is_metadata_next_to_it() -> None:
    refuse_unused_images({"image_embedding": UNIT.astype("<f4").tobytes(), "img_vector": UNIT.tolist()}, USED)


def test_a_source_says_where_an_image_is_from_unless_it_is_an_image_here() -> None:
    fields = {"source": "scans/page.v1.tif"}
    refuse_unused_images(fields, [RowImage(where="image", name="page_v1.jpg")])
    with pytest.raises(RowError, match="field 'source' holds"):
        refuse_unused_images(fields, [])
    with pytest.raises(RowError, match="field 'source' holds"):
        refuse_unused_images(fields, USED, is_image_file=lambda name: name == "scans/page.v1.tif")
    with pytest.raises(RowError, match="field 'source' holds"):
        refuse_unused_images({"source": JPEG64}, USED)
