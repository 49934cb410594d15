"""as_page: samples of other projects become pages, so that Decode reads whatever a loader gives.

    Page, DecodedPage                                         as they are
    RawSample                                                 a sample of ReadTars
    {"__key__": ..., "jpg": bytes, "txt": ..., "json": ...}   a webdataset sample, raw or decoded
    {"image": ..., "text": str}, {"images": [...], ...}       a row of any form (wdstream/text/row_forms.py); chat rows
                                                              for nodes that write them out (families/shared/chat.py)

An image is an encoded file (bytes, base64, a data URI) or a picture in memory (pixels/pictures.py). A name is refused:
nothing says where the file is. The key is `__key__`, `key` or `id`; a row without one is named by a digest of its
content. Texts of a row are split at placeholders; where there are none, images come first. No image vanishes: a sample
with one that is not used is refused, unless the rules call its field metadata.

Whatever a sample is, nothing but a PageError leaves here; but for the ConfigError of a process that lets Pillow make up
what truncated files lack.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np

from wdstream.errors import ConfigError, DecodeError, PageError, RowError
from wdstream.pixels.decode import decode_image
from wdstream.pixels.pictures import pixels_of_picture
from wdstream.raw.tars.samples import RawSample
from wdstream.records import MAX_PIXELS, DecodedPage, ImageSegment, Page, Pixels, Segment, TextSegment
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.page_members import page_from_members
from wdstream.shards.parts import names_image
from wdstream.text.maps.field_map import FieldMap, MapText
from wdstream.text.row_fields import KEY_FIELDS, is_picture, refuse_unused_images
from wdstream.text.row_forms import DEFAULT_RULES, RowRules, read_row, rules_with_map
from wdstream.text.row_images import RowImage

EXPECTED = "a Page, a webdataset sample with '__key__', or a mapping with 'image' or 'images' and 'text' or 'messages'"
_META = "meta"
_STAND_IN = b"\x89PNG\r\n\x1a\n"
"""Before the name of a member that is a picture in memory: an image to every rule, and found again."""


def as_page(
    sample: object,
    *,
    rules: RowRules = DEFAULT_RULES,
    max_pixels: int = MAX_PIXELS,
    map: FieldMap | MapText | None = None,
    preset: str | None = None,
) -> Page | DecodedPage:
    """Turn one sample into a page; a DecodedPage when it has a picture in memory.

    Args:
        sample: anything.
        rules: how rows are read.
        map: which field or part is what, as `--map` has it; a text, or a mapping.
        preset: the name of a layout, in place of a map or for what the map does not name.
        max_pixels: a picture in memory with more is refused.

    Raises:
        RowError: the sample has none of the accepted forms, or an image that would not be used.
        DecodeError: a picture in memory cannot be loaded.
        ConfigError: see above.
    """
    rules = rules_with_map(rules, map, preset)
    try:
        return _as_page(sample, rules, max_pixels)
    except (PageError, ConfigError):
        raise
    except Exception as error:  # samples of strangers: mappings that raise, texts that are none, endless nesting
        raise RowError(f"a {type(sample).__name__} cannot be read: {type(error).__name__}: {error!s:.200}") from error


def _as_page(sample: object, rules: RowRules, max_pixels: int) -> Page | DecodedPage:
    if isinstance(sample, Page | DecodedPage):
        _check_page(sample)
        return sample
    if isinstance(sample, RawSample):
        if sample.fault:
            raise RowError(f"sample {sample.key!r}: {sample.fault}")
        return page_from_members(sample.key, sample.members, rules=rules)
    if not isinstance(sample, Mapping):
        raise RowError(f"cannot read a page from a {type(sample).__name__}; expected {EXPECTED}")
    fields = {str(name): value for name, value in sample.items()}
    if "__key__" in fields:
        return _from_webdataset(fields, rules, max_pixels)
    return _from_row(fields, rules, max_pixels)


def _check_page(page: Page | DecodedPage) -> None:
    """Every image of a page is in its segments, once."""
    named = sorted(segment.index for segment in page.segments if isinstance(segment, ImageSegment))
    if named != list(range(len(page.images))):
        raise RowError(
            f"page {page.key!r} has {len(page.images)} images, and its segments name the images {named}; each image is "
            "named once"
        )
    wanted = bytes if isinstance(page, Page) else np.ndarray
    for index, image in enumerate(page.images):
        if not isinstance(image, wanted):
            raise RowError(
                f"page {page.key!r}, image {index}: expected {wanted.__name__}, found {type(image).__name__}"
            )


def _from_webdataset(fields: Mapping[str, object], rules: RowRules, max_pixels: int) -> Page | DecodedPage:
    """By the rules of stored samples, whatever was decoded: which image is which, `content` and `messages` in json."""
    if not isinstance(fields["__key__"], str | Integral):
        raise RowError(f"a sample: its __key__ is {type(fields['__key__']).__name__}; expected a text that names it")
    key = str(fields["__key__"])
    members = {
        name: bytes(value) if isinstance(value, bytearray | memoryview) else value
        for name, value in fields.items()
        if not name.startswith("__") and value is not None
    }
    pictures = {name: value for name, value in members.items() if names_image(name) or _is_decoded(value)}
    others = {name: value for name, value in members.items() if name not in pictures and not isinstance(value, bytes)}
    used = [RowImage(where=name, name=name) for name in pictures]
    named = frozenset[str]() if rules.field_map is None else rules.field_map.fields
    try:
        known = rules.metadata_fields | named | {TEXT_EXTENSION, JSON_EXTENSION}
        refuse_unused_images(others, used, metadata_fields=known)
    except RowError as error:
        raise RowError(f"sample {key!r}: {error}") from error
    stored = {name: _stored(key, name, value) for name, value in members.items()}
    if all(isinstance(value, bytes) for value in pictures.values()):
        return page_from_members(key, stored, rules=rules)
    page = page_from_members(key, stored | {name: _STAND_IN + name.encode() for name in pictures}, rules=rules)
    found = [pictures.get(data.removeprefix(_STAND_IN).decode(errors="replace"), data) for data in page.images]
    images = tuple(_pixels(f"sample {key!r}", image, max_pixels) for image in found)
    return DecodedPage(key=key, images=images, segments=page.segments, meta=page.meta)


def _is_decoded(value: object) -> bool:
    """Whether a member is a picture in memory, whatever it is called."""
    return not isinstance(value, bytes) and is_picture(value)


def _stored(key: str, name: str, value: object) -> bytes:
    """The bytes that a decoded member came from; none of an object that no page has."""
    if isinstance(value, bytes):
        return value
    if name not in (TEXT_EXTENSION, JSON_EXTENSION) and not isinstance(value, str | Mapping | list):
        return b""
    try:
        return (value if isinstance(value, str) else json.dumps(value)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f"sample {key!r}: its {name} is neither bytes, text nor JSON: {error}") from error


def _from_row(fields: dict[str, object], rules: RowRules, max_pixels: int) -> Page | DecodedPage:
    named = next((name for name in KEY_FIELDS if name in fields and _is_key(fields[name])), None)
    key = None if named is None else str(fields.pop(named))
    shown = "row" if key is None else f"row {key!r}"
    try:
        row = read_row(fields, rules)
        meta = _meta(row.meta)
    except RowError as error:
        raise RowError(f"{shown}: {error}") from error
    if not row.segments:
        raise RowError(f"{shown} has neither an image nor text")
    name = next((image for image in row.images if image.is_named), None)
    if name is not None:
        raise RowError(
            f"{shown}: an image is bytes, a PIL image or an array; {name.where} is the name {name.name!r:.80}: read "
            "that file first"
        )
    encoded = tuple(image.data for image in row.images if image.data is not None)
    if len(encoded) == len(row.images):
        key = _digest(_content_of(fields, row.segments), encoded) if key is None else key
        return Page(key=key, images=encoded, segments=row.segments, meta=meta)
    pictures = [image.picture if image.data is None else image.data for image in row.images]
    pixels = tuple(_pixels(shown, picture, max_pixels) for picture in pictures)
    key = _digest(_content_of(fields, row.segments), pictures) if key is None else key
    return DecodedPage(key=key, images=pixels, segments=row.segments, meta=meta)


def _is_key(value: object) -> bool:
    """Whether a value names a row: a text or a number."""
    return (isinstance(value, str) and value != "") or (hasattr(value, "__index__") and not isinstance(value, bool))


def _meta(fields: Mapping[str, object]) -> dict[str, object]:
    """The metadata of a row: its other fields, those of `meta` among them where it has fields."""
    more = fields.get(_META)
    if not isinstance(more, Mapping):
        return dict(fields)
    return {name: value for name, value in fields.items() if name != _META} | {**more}


def _pixels(shown: str, image: object, max_pixels: int) -> Pixels:
    """uint8 (h, w, 3) of an image of a sample, encoded or not."""
    try:
        if isinstance(image, bytes):
            return decode_image(image, max_pixels=max_pixels)
        return pixels_of_picture(image, max_pixels=max_pixels)
    except DecodeError as error:
        raise DecodeError(f"{shown}: {error}") from error


def _content_of(fields: Mapping[str, object], segments: Sequence[Segment]) -> str:
    """What names a row of this text."""
    text = fields.get("messages")
    text = fields.get("text") if text is None else text
    if text is None:
        text = "\0".join(segment.text for segment in segments if isinstance(segment, TextSegment))
    return str(text)


def _digest(text: str, images: Sequence[object]) -> str:
    """A name that the same content always has; images are encoded, or have been found to be pictures."""
    content = hashlib.sha256(text.encode("utf-8", errors="surrogatepass"))
    for image in images:
        content.update(image if isinstance(image, bytes) else np.asarray(image).tobytes())
    return content.hexdigest()[:16]
