"""Samples of which a map says which part is what: `image=jp2,text=json:caption`.

The parts are the fields of a row, and those of the json are on one level with them: `caption` is the part of that name,
or else that field of the json. Images that the map does not name are found as in any sample. One that is not used
refuses the sample, unless the map calls it metadata; other parts that are not used are counted, and not kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wdstream.errors import RowError
from wdstream.records import Page
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.parts import refuse_images_elsewhere, sort_parts
from wdstream.shards.samples.parts_read import held_images, json_of_part, text_of_part
from wdstream.text.image_names import unread_format
from wdstream.text.maps.field_map import Taken
from wdstream.text.maps.readings import RowReading
from wdstream.text.row_forms import RowRules, read_taken
from wdstream.text.row_images import RowImage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSample:
    """A sample as a page, and how it was read."""

    page: Page
    reading: RowReading


def mapped_page(key: str, members: Mapping[str, bytes], rules: RowRules) -> ReadSample:
    """The page of a sample by the map of the rules.

    Args:
        key: the sample's key.
        members: extension to bytes.
        rules: with a map.

    Raises:
        RowError: a part that the map names is missing, or an image would not be used.
    """
    assert rules.field_map is not None
    fields: dict[str, object] = {**members, JSON_EXTENSION: json_of_part(key, members) or {}}
    try:
        return _mapped(key, members, rules.field_map.take(fields, JSON_EXTENSION), rules)
    except RowError as error:
        raise RowError(f"sample {key!r}: {error.reason}") from error


def _mapped(key: str, members: Mapping[str, bytes], taken: Taken, rules: RowRules) -> ReadSample:
    assert rules.field_map is not None
    parts = {name for name, value in taken.rest.items() if value is members.get(name)}
    declared = taken.metadata | rules.metadata_fields
    held = [_held(key, name, members) for name in sort_parts(members).images if name not in declared]
    found = {name: value for name, value in taken.rest.items() if name not in parts}
    found |= {name: text for name in parts & declared if (text := _metadata_text(members[name])) is not None}
    if not rules.field_map.has_text and TEXT_EXTENSION in parts:
        found["text"] = members[TEXT_EXTENSION]
        parts.remove(TEXT_EXTENSION)
    is_chosen = rules.field_map.has_text and not rules.field_map.preset
    fields = _with_text(key, taken.fields, is_chosen=is_chosen)
    taken = replace(taken, fields=fields, rest=_with_text(key, found))
    read = read_taken(taken, rules, held=() if "images" in taken.fields else held, brings_images=bool(held))
    used = held_images(read.images, held)
    _refuse_unused(held, used, f"{rules.field_map}")
    others = sorted(parts - declared - {part.where for part in held})
    refuse_images_elsewhere(members, () if used else others)
    page = Page(key=key, images=tuple(used), segments=read.segments, meta=read.meta)
    return ReadSample(page=page, reading=replace(read.reading, unused=(*read.unused, *others)))


def _refuse_unused(held: Sequence[RowImage], used: Sequence[bytes], field_map: str) -> None:
    """Check that every image of a sample is used, and none is a document."""
    free = list(used)
    left: list[str] = []
    for part in held:
        if part.data in free:
            free.remove(part.data or b"")
        else:
            left.append(part.where)
    if left:
        raise RowError(
            f"its images {', '.join(left)} are not used by the map ({field_map}); name each as image or metadata"
        )
    if any(unread_format(image) == "PDF" for image in used):
        raise RowError(
            "its image is a PDF, whose pages are drawn by `wdstream make-shards TARS SHARDS`, and only there"
        )


def _held(key: str, name: str, members: Mapping[str, bytes]) -> RowImage:
    return RowImage(where=name, name=f"{key.rpartition('/')[2]}.{name}", data=members[name])


def _metadata_text(data: bytes) -> str | None:
    """A part as metadata; None of one that is not text, which metadata cannot hold."""
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None


def _with_text(key: str, fields: Mapping[str, object], *, is_chosen: bool = False) -> dict[str, object]:
    """Fields whose text, where it is a part, is read as any text file is."""
    text = fields.get("text")
    if not isinstance(text, bytes):
        return {**fields}
    return {**fields, "text": text_of_part(key, text, None, is_own=False, is_chosen=is_chosen)}
