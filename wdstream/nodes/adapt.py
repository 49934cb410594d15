"""as_page: samples of other projects become pages, so that Decode reads whatever a loader gives.

    Page, DecodedPage                                         as they are
    {"__key__": ..., "jpg": bytes, "txt": ..., "json": ...}   a webdataset sample, raw or decoded
    {"image": ... or "images": [...], "text": str}            a row; images first, then the text

An image is an encoded file (bytes), a PIL image, or a uint8 array (h, w, 3) or (h, w). The key is `__key__`, `key` or
`id`; a row without one is named by a digest of its content.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wdstream.errors import DecodeError, RowError
from wdstream.pixels.modes import to_grey_or_rgb
from wdstream.records import DecodedPage, ImageSegment, Page, Pixels, Segment, TextSegment
from wdstream.shards.format import is_image
from wdstream.shards.rows import page_from_parts

if TYPE_CHECKING:
    from PIL import Image

KEY_NAMES = ("__key__", "key", "id")
EXPECTED = "a Page, a webdataset sample with '__key__', or a mapping with 'image' or 'images' and 'text'"


def as_page(sample: Any) -> Page | DecodedPage:
    """Turn one sample into a page; a DecodedPage when its images are pixels already.

    Raises:
        RowError: the sample has none of the accepted forms.
        DecodeError: a PIL image cannot be loaded.
    """
    if isinstance(sample, Page | DecodedPage):
        return sample
    if not isinstance(sample, Mapping):
        raise RowError(f"cannot read a page from a {type(sample).__name__}; expected {EXPECTED}")
    if "__key__" in sample:
        return _from_webdataset(sample)
    if not {"image", "images", "text"} & sample.keys():
        raise RowError(f"cannot read a page from a mapping with {sorted(map(str, sample))}; expected {EXPECTED}")
    return _from_row(sample, _text(sample, "text"), sample["images"] if "images" in sample else [sample.get("image")])


def _from_webdataset(sample: Mapping[str, Any]) -> Page | DecodedPage:
    parts = {name: value for name, value in sample.items() if not name.startswith("__")}
    pictures = [value for name, value in parts.items() if is_image(name)]
    if all(isinstance(value, bytes) for value in pictures):
        stored = {name: value if isinstance(value, bytes) else _stored(sample, value) for name, value in parts.items()}
        return page_from_parts(str(sample["__key__"]), stored)
    return _from_row(sample, _text(sample, "txt"), pictures)


def _stored(sample: Mapping[str, Any], value: Any) -> bytes:
    """The bytes a decoded part came from."""
    try:
        return (value if isinstance(value, str) else json.dumps(value)).encode()
    except (TypeError, ValueError) as error:
        raise RowError(f"sample {sample['__key__']!r}: a part is neither bytes, text nor JSON: {error}") from error


def _from_row(sample: Mapping[str, Any], text: str, images: Sequence[Any]) -> Page | DecodedPage:
    images = [image for image in images if image is not None]
    key = next((str(sample[name]) for name in KEY_NAMES if sample.get(name) is not None), None)
    if key is None:
        key = _digest(text, images)
    segments: list[Segment] = [ImageSegment(index=index) for index in range(len(images))]
    segments += [TextSegment(text=text)] if text else []
    if not segments:
        raise RowError(f"row {key!r} has neither an image nor text")
    meta = sample.get("json", sample.get("meta", {}))
    meta = meta if isinstance(meta, Mapping) else {}
    if all(isinstance(image, bytes) for image in images):
        return Page(key=key, images=tuple(images), segments=tuple(segments), meta=meta)
    pixels = tuple(_pixels(key, image) for image in images)
    return DecodedPage(key=key, images=pixels, segments=tuple(segments), meta=meta)


def _text(sample: Mapping[str, Any], name: str) -> str:
    text = sample.get(name) or ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not isinstance(text, str):
        raise RowError(f"{name!r} of a row is text, found {type(text).__name__}")
    return text


def _pixels(key: str, image: Any) -> Pixels:
    """uint8 (h, w, 3) of an image that is no file; PIL images by the same rules as files."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        if image.ndim == 3 and image.shape[2] == 3:
            return image
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
    if hasattr(image, "getexif"):
        return _pixels(key, _from_pil(key, image))
    shape = f" {image.dtype} {image.shape}" if isinstance(image, np.ndarray) else ""
    raise RowError(
        f"row {key!r}: an image is bytes, a PIL image or a uint8 array (h, w, 3) or (h, w); "
        f"found {type(image).__name__}{shape}"
    )


def _from_pil(key: str, image: "Image.Image") -> Any:
    from PIL import ImageOps

    try:
        image.load()
        return to_grey_or_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow's plugins raise whatever their parsing raises
        raise DecodeError(f"row {key!r}: the image cannot be loaded: {type(error).__name__}: {error}") from error


def _digest(text: str, images: Sequence[Any]) -> str:
    """A name that the same content always has."""
    content = hashlib.sha256(text.encode("utf-8", errors="surrogatepass"))
    for image in images:
        content.update(image if isinstance(image, bytes) else np.asarray(image).tobytes())
    return content.hexdigest()[:16]
