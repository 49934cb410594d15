"""The stored form of a page and back, and samples of others in the forms that rows have.

A page is `key.jpg` (or another image) + `key.txt` + `key.json` with its metadata, where each may be missing but not
image and text both. A row of several images or texts is `key.0.jpg`, `key.1.png`, ... + `key.json`, whose `content`
lists texts and images in reading order; the rest of that json is the row's metadata. The only image of a row may do
without its number. A chat row is stored like a row, with `messages` in place of `content`; both have the Hugging Face
form (wdstream/text/messages.py).

Samples of others may have any image suffix (parts.py) and, in place of `txt`, a json of any form of row
(wdstream/text/row_forms.py), whose images are the sample's. Their texts come from anywhere: `txt` is normalised as
`make-shards` normalises text files, and a sample that would lose an image is refused. A row that `make-shards` wrote,
which its metadata tell, was judged then, and is read word for word.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, Segment, TextSegment, TurnSegment
from wdstream.shards.layout import IMAGE_EXTENSIONS, JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.parts import SampleParts, refuse_images_elsewhere, sort_parts
from wdstream.shards.samples.mapped import mapped_page
from wdstream.shards.samples.parts_read import held_images, json_of_part, text_of_part
from wdstream.text.half_read import refuse_places, refuse_preferences, refuse_unfetched
from wdstream.text.image_names import is_image_name
from wdstream.text.maps.forms import IMAGE_FIELDS
from wdstream.text.messages import (
    content_from_segments,
    is_chat,
    messages_from_segments,
    segments_from_content,
    segments_from_messages,
)
from wdstream.text.placeholders import split_texts
from wdstream.text.row_fields import (
    declared_fields,
    refuse_held_images,
    refuse_image_text,
    refuse_images_in_text,
    refuse_unused_images,
    with_declared,
)
from wdstream.text.row_forms import DEFAULT_RULES, RowRules, read_row
from wdstream.text.row_images import RowImage, images_of_value
from wdstream.text.tool_calls import CALLS, TOOLS

CONTENT = "content"
MESSAGES = "messages"
ROW_SUFFIXES = (
    *(".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".arrow", ".feather", ".csv", ".tsv"),
    *(f"{lines}.{packed}" for lines in (".jsonl", ".ndjson", ".json") for packed in ("gz", "zst", "bz2", "xz")),
)
"""Of files of rows."""
_IN_ORDER = (TOOLS, CALLS)
# Made once: `json.dumps` makes one for each call. The same metadata gives the same bytes: sorted names, no spaces.
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
_IN_OWN_ORDER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
ROW_OF = "row_of"
"""Metadata of a row that has its own `source` or `line`: the file that it is from, a colon, and its line there."""
_OF_EVERY_ROW = frozenset({"source", "line"})
_DOTTED = (
    ". A key whose basename has a dot looks like this: rename it, "
    "or let keys end at the last dot (wdstream index --key dotted, make-shards --key-rule dotted, "
    "data.streaming.key_rule: dotted)"
)
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_TEXTS = (
    "text is in txt, or in json as 'text', 'caption', 'content', 'messages' or 'conversations', or where a map says"
)


def page_from_members(
    key: str, members: Mapping[str, bytes], *, text_chars: int | None = None, rules: RowRules = DEFAULT_RULES
) -> Page:
    """The page of one sample.

    Args:
        key: the sample's key.
        members: extension to bytes; parts that are neither images, text nor json are left alone.
        text_chars: characters of its text, where an index says so: indexes of before have texts as they are in the tar.
        rules: how rows are read; their map, if they have one, says which part is what.

    Raises:
        RowError: the members are neither a page nor a row; text, json and images do not belong together; or one of them
            is, holds or names an image that would not be used.
    """
    if rules.field_map is not None:
        return mapped_page(key, members, rules).page
    parts = sort_parts(members)
    meta = json_of_part(key, members)
    is_own = is_row_of_ours(meta or {}) and not parts.others
    if TEXT_EXTENSION in members:
        return _page(key, members, parts, meta or {}, text_chars, is_own=is_own)
    try:
        if meta is not None:
            return _row(key, members, parts, meta, rules, is_own=is_own)
    except RowError as error:
        raise RowError(f"row {key!r}: {error.reason}") from error
    if not parts.images:
        raise RowError(
            f"sample {key!r} has no image, text or json with {CONTENT!r}; found the members {sorted(members)}"
            f"{_about_dots(members)}"
        )
    if len(parts.images) > 1:
        raise _several_images(key, members)
    if parts.others:
        raise RowError(
            f"sample {key!r} has an image, and no text that is read: {_TEXTS}; found {sorted(members)}"
            f"{_about_dots(members)}"
        )
    return Page(key=key, images=(members[parts.images[0]],), segments=(ImageSegment(index=0),))


def _about_dots(members: Mapping[str, bytes]) -> str:
    """What may be the matter where a part's name has a dot inside, as of a key with dots."""
    if any(name.lower().endswith(_PACKED) for name in members):
        return ". Compressed parts are not read: write them as they are"
    return _DOTTED if any("." in name for name in members) else ""


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
    _check_images(page, extensions)
    members = _members(page, extensions)
    try:
        _check_is_read(page, members, extensions)
    except RowError:  # without the map, the options or the file of rows by which it was judged when it was read
        return _members(replace(page, meta=with_declared(page.meta, page.meta)), extensions)
    return members


def starts_with_text(page: Page) -> bool:
    """Whether a page's first segment is text, and not empty."""
    first = page.segments[0] if page.segments else None
    return isinstance(first, TextSegment) and bool(first.text)


def is_row_of_ours(meta: Mapping[str, object]) -> bool:
    """Whether these are the metadata that `make-shards` gives every row: the file that it is from, and its line; or
    both as one text, where the row has a source or line of its own."""
    source, line = meta.get("source"), meta.get("line")
    if isinstance(source, str) and source.lower().endswith(ROW_SUFFIXES) and isinstance(line, int):
        return True
    file, colon, number = str(meta.get(ROW_OF, "")).rpartition(":")
    return bool(colon) and number.isdecimal() and file.lower().endswith(ROW_SUFFIXES)


def _page(
    key: str,
    members: Mapping[str, bytes],
    parts: SampleParts,
    meta: dict[str, object],
    text_chars: int | None,
    *,
    is_own: bool,
) -> Page:
    """A page: one image at most, and `txt`."""
    if parts.are_numbered or len(parts.images) > 1:
        raise _several_images(key, members)
    data, is_chosen = members[TEXT_EXTENSION], declared_fields(meta) is not None
    text = text_of_part(key, data, text_chars, is_own=is_own, is_chosen=is_chosen, meta=meta)
    if not is_own or not parts.images:
        try:
            _refuse_lost_images(members, parts, meta, [text], is_own=is_own)
        except RowError as error:
            raise RowError(f"sample {key!r}: {error.reason}") from error
    segments: list[Segment] = [ImageSegment(index=0) for _ in parts.images]
    segments += [TextSegment(text=text)] if text else []
    return Page(key=key, images=tuple(members[name] for name in parts.images), segments=tuple(segments), meta=meta)


def _row(
    key: str,
    members: Mapping[str, bytes],
    parts: SampleParts,
    row: dict[str, object],
    rules: RowRules,
    *,
    is_own: bool,
) -> Page:
    """A row: as we store it, or in any other form that rows have."""
    segments = None if row.get(TOOLS) and not is_own else _stored_segments(row, parts)
    if segments is not None:
        meta = {name: value for name, value in row.items() if name != (CONTENT if CONTENT in row else MESSAGES)}
        texts = [segment.text for segment in segments if isinstance(segment, TextSegment)]
        if not is_own or not parts.images:
            _refuse_lost_images(members, parts, meta, texts, is_own=is_own)
        return Page(key=key, images=tuple(members[name] for name in parts.images), segments=segments, meta=meta)
    held = [RowImage(where=name, name=f"{key.rpartition('/')[2]}.{name}", data=members[name]) for name in parts.images]
    rules = replace(rules, metadata_fields=rules.metadata_fields | (declared_fields(row) or frozenset()))
    try:
        read = read_row(row, rules, held=held if parts.has_order else ())
    except RowError as error:
        if parts.has_order:
            raise
        raise RowError(
            f"nothing says which of the images {sorted(parts.images)} comes first: {error.reason}"
        ) from error
    images = held_images(read.images, held)
    if any(part.data not in images for part in held) or len(images) < len(held):
        raise RowError(
            f"{len(images)} images are used of {len(held)} that the sample holds, {sorted(parts.images)}: number them "
            "0.jpg, 1.jpg, ..., or name them in images, in their order"
        )
    refuse_images_elsewhere(members, () if images else parts.others)
    return Page(key=key, images=tuple(images), segments=read.segments, meta=read.meta)


def _stored_segments(row: Mapping[str, object], parts: SampleParts) -> tuple[Segment, ...] | None:
    """The segments of a row as we store it, whose image blocks are its images; None for any other."""
    try:
        if CONTENT in row:
            segments = segments_from_content(row[CONTENT])
        elif MESSAGES in row:
            segments = segments_from_messages(row[MESSAGES], num_images=len(parts.images))
        else:
            return None
    except RowError:
        return None  # read as a row of others, whose reader names what is wrong
    num_images = sum(isinstance(segment, ImageSegment) for segment in segments)
    return segments if num_images == len(parts.images) and parts.has_order else None


def _refuse_lost_images(
    members: Mapping[str, bytes],
    parts: SampleParts,
    meta: Mapping[str, object],
    texts: Sequence[str],
    *,
    is_own: bool,
) -> None:
    """Check that a sample has no image which is not among its parts.

    A row with images that `make-shards` wrote was judged then; those of before dropped images. So was a sample that
    lists which of its fields are metadata, and what they held, which wdstream writes where the rules here would refuse
    it. What else a sample says of itself, such as the file and line of a row, does not let it go without its image.

    Raises:
        RowError: metadata, text or other parts name or hold one, or the text has a placeholder, and there is no image;
            or metadata hold one, or name more images than there are.
    """
    declared = declared_fields(meta)
    _refuse_metadata(meta, len(parts.images), declared or frozenset(), is_own=is_own)
    if declared is not None:
        return
    for text in texts:
        refuse_image_text(text, "its text")
        refuse_images_in_text(text, has_images=bool(parts.images))
    if not parts.images:
        refuse_images_elsewhere(members, parts.others)
        if len(texts) == 1 and is_image_name(texts[0]):
            raise RowError(f"its text is the name of an image, {texts[0]!r:.80}, and no part of it is one")
        split_texts(texts, 0)


def _refuse_metadata(meta: Mapping[str, object], num_images: int, declared: frozenset[str], *, is_own: bool) -> None:
    """Check that metadata are nothing that should be trained on; those that say so of themselves are not looked at."""
    if is_own and meta.keys() <= _OF_EVERY_ROW:  # most rows of text: their file and line
        return
    rest = {field: value for field, value in meta.items() if field not in declared} if declared else meta
    if not num_images:
        if not is_own:
            refuse_unfetched(rest)
        try:
            refuse_unused_images(rest, ())
        except RowError as error:
            more = "; `make-shards` of before let it go: make these shards again, with --overwrite" if is_own else ""
            raise RowError(error.reason + more) from error
    if is_own:
        return
    refuse_preferences(rest, frozenset(), is_mapped=False)
    if not num_images:
        refuse_places(rest)
        return
    refuse_held_images(rest)
    for field in () if rest.keys().isdisjoint(IMAGE_FIELDS) else IMAGE_FIELDS:
        named = images_of_value(rest[field], field) if isinstance(rest.get(field), str | list | dict) else []
        if len(named) > num_images:
            raise RowError(f"{field} has {len(named)} images, the sample holds {num_images}: bring all of them")


def _several_images(key: str, members: Mapping[str, bytes]) -> RowError:
    return RowError(
        f"sample {key!r}: a page has one image, a row numbers all of its own (0.jpg, 1.jpg, ... and a json that says "
        f"where they are in the text), or a map says which is which (image=A+B); found {sorted(members)}"
        f"{_key_rule(members)}"
    )


def _key_rule(members: Mapping[str, bytes]) -> str:
    """What helps where names of parts are those of several samples."""
    ends = [name.rpartition(".")[2] for name in members]
    repeated = len(set(ends)) < len(ends) and all("." in name for name in members)
    return "; where keys have dots, choose the key rule `dotted`" if repeated else ""


def _check_is_read(page: Page, members: Mapping[str, bytes], extensions: Sequence[str]) -> None:
    """Check that `page_from_members` takes what a page is written as; of a page's form, without its json."""
    if TEXT_EXTENSION not in members:
        page_from_members(page.key, members)
        return
    parts = SampleParts(images=extensions, has_order=True, others=())  # as `sort_parts` finds them
    is_own = is_row_of_ours(page.meta)
    if not is_own:  # a text of places, of a field of json or by a map
        text_of_part(page.key, members[TEXT_EXTENSION], None, is_own=False, meta=page.meta)
    if not is_own or not parts.images:
        texts = [segment.text for segment in page.segments if isinstance(segment, TextSegment)]
        _refuse_lost_images(members, parts, page.meta, texts or [""], is_own=is_own)


def _check_images(page: Page, extensions: Sequence[str]) -> None:
    order = [segment.index for segment in page.segments if isinstance(segment, ImageSegment)]
    if order != list(range(len(page.images))) or len(extensions) != len(page.images):
        raise RowError(
            f"page {page.key!r}: {len(page.images)} images, {len(extensions)} extensions, and segments that name the "
            f"images {order}; each image is named once, in order"
        )
    if any(extension not in IMAGE_EXTENSIONS for extension in extensions):
        raise RowError(f"page {page.key!r}: extensions {list(extensions)}; possible are {', '.join(IMAGE_EXTENSIONS)}")
    if not page.segments:
        raise RowError(f"page {page.key!r} has neither an image nor text")


def _members(page: Page, extensions: Sequence[str]) -> dict[str, bytes]:
    """The members of a page whose images are in order."""
    texts = [segment for segment in page.segments if isinstance(segment, TextSegment)]
    chat = is_chat(page.segments)
    if not chat and len(page.images) <= 1 and len(texts) <= 1 and _is_page(page.segments):
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
    has_tools = chat and any(isinstance(segment, TurnSegment) and segment.more for segment in page.segments)
    row = {MESSAGES if chat else CONTENT: content, **page.meta}
    return numbered | {JSON_EXTENSION: _write_json(page.key, row, has_tools=has_tools)}


def _sorted(value: object, name: str = "") -> object:
    """A value with sorted names, but for tools and their calls, which templates write in the order that they have."""
    if isinstance(value, Mapping) and name not in _IN_ORDER:
        return {key: _sorted(inner, key) for key, inner in sorted(value.items())}
    if isinstance(value, list | tuple) and name not in _IN_ORDER:
        return [_sorted(inner) for inner in value]
    return value


def _is_page(segments: Sequence[Segment]) -> bool:
    """Whether these one or two segments read as a page: an image first, then supervised text that is not empty."""
    last = segments[-1]
    if isinstance(last, ImageSegment):
        return len(segments) == 1
    return isinstance(last, TextSegment) and last.is_supervised and bool(last.text)


def _write_json(key: str, value: object, *, has_tools: bool = False) -> bytes:
    try:
        text = _IN_OWN_ORDER.encode(_sorted(value)) if has_tools else _JSON.encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"page {key!r}: its metadata cannot be stored as JSON: {error}") from error
    return _encode(key, text)


def _encode(key: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(f"page {key!r}: its text cannot be stored as UTF-8: {error}; normalise it first") from error
