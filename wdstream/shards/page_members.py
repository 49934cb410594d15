"""The stored form of a page and back.

A page is `key.jpg` (or another image) + `key.txt` + `key.json` with its metadata, where each may be missing but not
image and text both. A row of several images or texts is `key.0.jpg`, `key.1.png`, ... + `key.json`, whose `content`
lists texts and images in reading order; the rest of that json is the row's metadata. The only image of a row may do
without its number. A chat row is stored like a row, with `messages` in place of `content`; both have the Hugging Face
form (wdstream/text/messages.py).
"""

import json
from collections.abc import Mapping, Sequence

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, Segment, TextSegment
from wdstream.shards.layout import IMAGE_EXTENSIONS, JSON_EXTENSION, TEXT_EXTENSION, image_number
from wdstream.text.messages import (
    content_from_segments,
    is_chat,
    messages_from_segments,
    segments_from_content,
    segments_from_messages,
)

CONTENT = "content"
MESSAGES = "messages"


def page_from_members(key: str, members: Mapping[str, bytes]) -> Page:
    """The page of one sample.

    Args:
        key: the sample's key.
        members: extension to bytes; extensions of neither form are left alone when the sample is a page.

    Raises:
        RowError: when the members are neither a page nor a row, or text, json and images do not belong together.
    """
    plain = [extension for extension in members if extension in IMAGE_EXTENSIONS]
    numbered = {number: extension for extension in members if (number := image_number(extension)) is not None}
    meta = _read_json(key, members[JSON_EXTENSION]) if JSON_EXTENSION in members else {}
    if len(plain) > 1 or (numbered and (plain or TEXT_EXTENSION in members)):
        raise RowError(f"sample {key!r}: a page has one image, a row numbers all of its own; found {sorted(members)}")
    if plain and TEXT_EXTENSION not in members and (CONTENT in meta or MESSAGES in meta):
        plain, numbered = [], {0: plain[0]}
    if plain or TEXT_EXTENSION in members:
        try:
            text = members.get(TEXT_EXTENSION, b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"sample {key!r}: its text is not UTF-8: {error}") from error
        segments: list[Segment] = [ImageSegment(index=0)] if plain else []
        segments += [TextSegment(text=text)] if text else []
        return Page(key=key, images=tuple(members[name] for name in plain), segments=tuple(segments), meta=meta)
    if CONTENT in meta or MESSAGES in meta:
        return _row(key, members, numbered, meta)
    raise RowError(
        f"sample {key!r} has no image, text or json with {CONTENT!r}; found the members {sorted(members)}. "
        "A key whose basename has a dot looks like this: rename it"
    )


def members_from_page(page: Page, extensions: Sequence[str]) -> dict[str, bytes]:
    """The members that store `page`; the inverse of `page_from_members`.

    Args:
        page: a page or a row.
        extensions: the extension of each image of the page, such as `jpg`.

    Returns:
        Extension to bytes: a page's form when it is at most one image followed by one text, else a row's.

    Raises:
        RowError: when images, segments and extensions do not belong together, or a text or the metadata cannot be
            stored as UTF-8 and JSON.
    """
    order = [segment.index for segment in page.segments if isinstance(segment, ImageSegment)]
    if order != list(range(len(page.images))) or len(extensions) != len(page.images):
        raise RowError(
            f"page {page.key!r}: {len(page.images)} images, {len(extensions)} extensions, and segments that name the "
            f"images {order}; each image is named once, in order"
        )
    if any(extension not in IMAGE_EXTENSIONS for extension in extensions):
        raise RowError(f"page {page.key!r}: extensions {list(extensions)}; possible are {', '.join(IMAGE_EXTENSIONS)}")
    texts = [segment for segment in page.segments if isinstance(segment, TextSegment)]
    if not page.segments:
        raise RowError(f"page {page.key!r} has neither an image nor text")
    chat = is_chat(page.segments)
    if not chat and len(order) <= 1 and len(texts) <= 1 and _is_page(page.segments):
        members = dict(zip(extensions, page.images, strict=True))
        members[TEXT_EXTENSION] = _encode(page.key, "".join(segment.text for segment in texts))
        return members | ({JSON_EXTENSION: _write_json(page.key, page.meta)} if page.meta else {})
    if CONTENT in page.meta or MESSAGES in page.meta:
        raise RowError(f"row {page.key!r}: its metadata cannot have the names {CONTENT!r} and {MESSAGES!r}")
    numbered = {f"{index}.{extension}": page.images[index] for index, extension in enumerate(extensions)}
    try:
        content = messages_from_segments(page.segments) if chat else content_from_segments(page.segments)
    except RowError as error:
        raise RowError(f"row {page.key!r}: {error}") from error
    return numbered | {JSON_EXTENSION: _write_json(page.key, {MESSAGES if chat else CONTENT: content, **page.meta})}


def starts_with_text(page: Page) -> bool:
    """Whether a page's first segment is text, and not empty."""
    first = page.segments[0] if page.segments else None
    return isinstance(first, TextSegment) and bool(first.text)


def _is_page(segments: Sequence[Segment]) -> bool:
    """Whether these one or two segments read as a page: an image first, then supervised text that is not empty."""
    last = segments[-1]
    if isinstance(last, ImageSegment):
        return len(segments) == 1
    return isinstance(last, TextSegment) and last.is_supervised and bool(last.text)


def _row(key: str, members: Mapping[str, bytes], numbered: dict[int, str], meta: dict[str, object]) -> Page:
    """A row with `content`, or with `messages`."""
    try:
        if CONTENT in meta:
            segments = segments_from_content(meta.pop(CONTENT))
            num_images = sum(isinstance(segment, ImageSegment) for segment in segments)
        else:
            num_images = len(numbered)
            segments = segments_from_messages(meta.pop(MESSAGES), num_images=num_images)
    except RowError as error:
        raise RowError(f"row {key!r}: {error}") from error
    if sorted(numbered) != list(range(num_images)):
        raise RowError(
            f"row {key!r} has {num_images} images, which would be numbered from 0; the sample's members are "
            f"{sorted(members)}"
        )
    images = tuple(members[numbered[index]] for index in range(num_images))
    return Page(key=key, images=images, segments=segments, meta=meta)


def _read_json(key: str, data: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RowError(f"sample {key!r}: its json cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise RowError(f"sample {key!r}: its json holds a {type(value).__name__}, an object expected")
    return value


def _write_json(key: str, value: Mapping[str, object]) -> bytes:
    """The same metadata gives the same bytes: sorted names, no spaces."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"page {key!r}: its metadata cannot be stored as JSON: {error}") from error
    return _encode(key, text)


def _encode(key: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(f"page {key!r}: its text cannot be stored as UTF-8: {error}; normalise it first") from error
