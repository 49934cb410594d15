"""as_page: samples of other projects become pages, so that Decode reads whatever a loader gives.

    Page, DecodedPage                                         as they are
    RawSample                                                 a sample of ReadTars
    {"__key__": ..., "jpg": bytes, "txt": ..., "json": ...}   a webdataset sample, raw or decoded
    {"image": ... or "images": [...], "text": str}            a row; images first, then the text
    {"images": [...], "messages": [...]}                      a chat row, for nodes that write it out
    (families/shared/chat.py)

An image is an encoded file (bytes), a PIL image, or a uint8 array (h, w, 3) or (h, w). The key is `__key__`, `key` or
`id`; a row without one is named by a digest of its content. Text is text: an `<image>` in it is no image. Rows in which
images and text alternate are webdataset samples with `content` in their json (shards/page_members.py), or Pages.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import DecodeError, RowError
from wdstream.nodes.read_tars import RawSample
from wdstream.pixels.pillow import to_grey_or_rgb
from wdstream.records import DecodedPage, ImageSegment, Page, Pixels, Segment, TextSegment
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION, is_image
from wdstream.shards.page_members import page_from_members
from wdstream.text.messages import segments_from_messages

if TYPE_CHECKING:
    from PIL import Image

KEY_NAMES = ("__key__", "key", "id")
EXPECTED = "a Page, a webdataset sample with '__key__', or a mapping with 'image' or 'images' and 'text' or 'messages'"


def as_page(sample: object) -> Page | DecodedPage:
    """Turn one sample into a page; a DecodedPage when its images are pixels already.

    Raises:
        RowError: the sample has none of the accepted forms.
        DecodeError: a PIL image cannot be loaded.
    """
    if isinstance(sample, Page | DecodedPage):
        return sample
    if isinstance(sample, RawSample):
        if sample.fault:
            raise RowError(f"sample {sample.key!r}: {sample.fault}")
        return page_from_members(sample.key, sample.members)
    if not isinstance(sample, Mapping):
        raise RowError(f"cannot read a page from a {type(sample).__name__}; expected {EXPECTED}")
    if "__key__" in sample:
        return _from_webdataset(sample)
    if not {"image", "images", "text", "messages"} & sample.keys():
        raise RowError(f"cannot read a page from a mapping with {sorted(map(str, sample))}; expected {EXPECTED}")
    return _from_row(sample, sample["images"] if "images" in sample else [sample.get("image")])


def _from_webdataset(sample: Mapping[str, object]) -> Page | DecodedPage:
    """By the rules of stored samples, whatever was decoded: which image is which, `content` and `messages` in json."""
    key, members = str(sample["__key__"]), {name: value for name, value in sample.items() if not name.startswith("__")}
    pictures = {name: value for name, value in members.items() if is_image(name)}
    stored = {name: _stored(key, name, value) for name, value in members.items()}
    if all(isinstance(value, bytes) for value in pictures.values()):
        return page_from_members(key, stored)
    page = page_from_members(key, stored | {name: name.encode() for name in pictures})  # names stand for the images
    images = tuple(_pixels(key, pictures[name.decode()]) for name in page.images)
    return DecodedPage(key=key, images=images, segments=page.segments, meta=page.meta)


def _stored(key: str, name: str, value: object) -> bytes:
    """The bytes that a decoded member came from; a member that no page has is left as it is."""
    if isinstance(value, bytes) or name not in (TEXT_EXTENSION, JSON_EXTENSION):
        return value if isinstance(value, bytes) else b""
    try:
        return (value if isinstance(value, str) else json.dumps(value)).encode()
    except (TypeError, ValueError) as error:
        raise RowError(f"sample {key!r}: its {name} is neither bytes, text nor JSON: {error}") from error


def _from_row(sample: Mapping[str, object], images: Sequence[object]) -> Page | DecodedPage:
    images = [image for image in images if image is not None]
    key = next((str(sample[name]) for name in KEY_NAMES if sample.get(name) is not None), None)
    if key is None:
        key = _digest(str(sample.get("messages", sample.get("text"))), images)
    segments = _segments(key, sample, len(images))
    if not segments:
        raise RowError(f"row {key!r} has neither an image nor text")
    meta = sample.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise RowError(f"row {key!r}: 'meta' is a mapping, found {type(meta).__name__}")
    encoded = tuple(image for image in images if isinstance(image, bytes))
    if len(encoded) == len(images):
        return Page(key=key, images=encoded, segments=segments, meta=meta)
    pixels = tuple(_pixels(key, image) for image in images)
    return DecodedPage(key=key, images=pixels, segments=segments, meta=meta)


def _segments(key: str, sample: Mapping[str, object], num_images: int) -> tuple[Segment, ...]:
    """Images first, then the text; or the turns of a chat row."""
    if "text" not in sample and "messages" not in sample:
        raise RowError(f"row {key!r} has neither 'text' nor 'messages'; found {sorted(map(str, sample))}")
    text = "" if sample.get("text") is None else sample["text"]
    if sample.get("messages") is not None:
        if text:
            raise RowError(f"row {key!r} has both 'text' and 'messages': keep one")
        try:
            return segments_from_messages(sample["messages"], num_images=num_images)
        except RowError as error:
            raise RowError(f"row {key!r}: {error}") from error
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise RowError(f"row {key!r}: its text is not UTF-8: {error}") from error
    if not isinstance(text, str):
        raise RowError(f"row {key!r}: 'text' is text, found {type(text).__name__}")
    images = (ImageSegment(index=index) for index in range(num_images))
    return (*images, TextSegment(text=text)) if text else tuple(images)


def _pixels(key: str, image: object) -> Pixels:
    """uint8 (h, w, 3) of an image that is not a file; PIL images by the same rules as files."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if image.ndim == 3 and image.shape[2] == 3:
            return image
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
    if hasattr(image, "getexif"):
        return _pixels(key, _from_pil(key, cast("Image.Image", image)))
    shape = f" {image.dtype} {image.shape}" if isinstance(image, np.ndarray) else ""
    raise RowError(
        f"row {key!r}: an image is bytes, a PIL image or a uint8 array (h, w, 3) or (h, w); "
        f"found {type(image).__name__}{shape}"
    )


def _from_pil(key: str, image: "Image.Image") -> NDArray[np.uint8]:
    from PIL import ImageOps

    try:
        image.load()
        return to_grey_or_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's plugins raise whatever their parsing raises
        raise DecodeError(f"row {key!r}: the image cannot be loaded: {type(error).__name__}: {error}") from error


def _digest(text: str, images: Sequence[object]) -> str:
    """A name that the same content always has."""
    content = hashlib.sha256(text.encode("utf-8", errors="surrogatepass"))
    for image in images:
        content.update(image if isinstance(image, bytes) else np.asarray(image).tobytes())
    return content.hexdigest()[:16]
