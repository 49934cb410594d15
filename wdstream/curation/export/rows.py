"""A page as a row of a table, in the forms that `make-shards` reads again, and the types of the columns over all pages.

key       of the page
image     {"bytes", "path"}, where no page has more than one; else `images`, a list of these
text      of a page; null in a row or a chat
content   parts of a row, in order; `messages` turns of a chat; null elsewhere
...       a column for each name of the metadata
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdstream.curation.resharding.value_types import (
    JSON,
    NULL,
    ValueType,
    arrow_type,
    feature_of,
    holds_json,
    merge,
    settled,
    type_of,
)
from wdstream.errors import RowError
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.shards.page_members import CONTENT, MESSAGES
from wdstream.shards.parts import sort_parts
from wdstream.text.characters import replace_surrogates
from wdstream.text.messages import content_from_segments, is_chat, messages_from_segments
from wdstream.text.placeholders import split_text

if TYPE_CHECKING:
    import pyarrow as pa

KEY_COLUMN, IMAGE_COLUMN, IMAGES_COLUMN, TEXT_COLUMN = "key", "image", "images", "text"
_OWN = (KEY_COLUMN, IMAGE_COLUMN, IMAGES_COLUMN, TEXT_COLUMN, CONTENT, MESSAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTypes:
    """What rows have.

    Attributes:
        fields: type of all columns but key and images.
        has_lists: whether a page has several images.
    """

    fields: ValueType = NULL
    has_lists: bool = False

    def merged(self, other: "RowTypes") -> "RowTypes":
        """Of the rows of both."""
        has_lists = self.has_lists or other.has_lists
        return RowTypes(fields=merge(self.fields, other.fields), has_lists=has_lists)

    def columns(self) -> dict[str, ValueType]:
        """The type of each column but key and images, those of the text first; what no type of Arrow holds is JSON."""
        settled_types = {name: settled(each) for name, each in self.fields.fields.items()}
        names = sorted(settled_types, key=lambda name: (name not in _OWN, name))
        return {name: JSON if holds_json(settled_types[name]) else settled_types[name] for name in names}

    def schema(self) -> "pa.Schema":
        """Of the table, with what `datasets` wants to know of it."""
        import pyarrow as pa

        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        picture = (IMAGES_COLUMN, pa.list_(image)) if self.has_lists else (IMAGE_COLUMN, image)
        columns = [(KEY_COLUMN, pa.string()), picture]
        columns += [(name, arrow_type(each)) for name, each in self.columns().items()]
        features = json.dumps({"info": {"features": self.features()}})
        return pa.schema(columns, metadata={"huggingface": features})

    def features(self) -> dict[str, Any]:
        """The columns as `datasets` declares them."""
        image: dict[str, Any] = {"_type": "Image"}
        picture = {IMAGES_COLUMN: {"feature": image, "_type": "List"}} if self.has_lists else {IMAGE_COLUMN: image}
        columns = {name: feature_of(each) for name, each in self.columns().items()}
        return {KEY_COLUMN: {"dtype": "string", "_type": "Value"}, **picture, **columns}


def row_of(page: Page) -> dict[str, object]:
    """The columns of a page but key and images."""
    row: dict[str, object] = {(f"meta_{name}" if name in _OWN else name): each for name, each in page.meta.items()}
    if is_chat(page.segments):
        return {MESSAGES: messages_from_segments(page.segments), **row}
    if _is_page(page):
        texts = [segment.text for segment in page.segments if isinstance(segment, TextSegment)]
        return {TEXT_COLUMN: "".join(texts), **row}
    return {CONTENT: content_from_segments(page.segments), **row}


def types_of(pages: Iterable[Page]) -> RowTypes:
    """The types of rows of pages."""
    fields, has_lists = NULL, False
    for page in pages:
        fields = merge(fields, type_of(row_of(page)))
        has_lists = has_lists or len(page.images) > 1
    return RowTypes(fields=fields, has_lists=has_lists)


def table_of(samples: Sequence[tuple[Page, Mapping[str, bytes]]], types: RowTypes, schema: "pa.Schema") -> "pa.Table":
    """Rows of pages, each with the members it is stored as, as a table."""
    import pyarrow as pa

    rows = [row_of(page) for page, _ in samples]
    images = [_images(page, members) for page, members in samples]
    columns: dict[str, Any] = {KEY_COLUMN: pa.array([page.key for page, _ in samples], pa.string())}
    if types.has_lists:
        columns[IMAGES_COLUMN] = pa.array(images, schema.field(IMAGES_COLUMN).type)
    else:
        columns[IMAGE_COLUMN] = pa.array([next(iter(each), None) for each in images], schema.field(IMAGE_COLUMN).type)
    for name, type_ in types.columns().items():
        columns[name] = _column([row.get(name) for row in rows], type_)
    return pa.table(columns, schema=schema)


def _column(values: list[object], type_: ValueType) -> "pa.Array":
    import pyarrow as pa

    if type_ != JSON:
        try:
            return pa.array(values, arrow_type(type_))
        except UnicodeEncodeError:  # half a letter, from an escape in json, that no table holds
            return pa.array(json.loads(replace_surrogates(json.dumps(values, ensure_ascii=False))), arrow_type(type_))
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def _images(page: Page, members: Mapping[str, bytes]) -> list[dict[str, object]]:
    """Bytes of a page's images, and names such as they had."""
    name = page.key.rpartition("/")[2]
    extensions = sort_parts(members).images
    if len(extensions) != len(page.images):
        extensions = [str(number) for number in range(len(page.images))]
    return [
        {"bytes": data, "path": f"{name}.{extension}"} for data, extension in zip(page.images, extensions, strict=True)
    ]


def _is_page(page: Page) -> bool:
    """Whether it is at most one image, then at most one text, which is supervised and nothing but text."""
    kinds = [type(segment) for segment in page.segments]
    texts = [segment for segment in page.segments if isinstance(segment, TextSegment)]
    if kinds not in ([ImageSegment], [TextSegment], [ImageSegment, TextSegment]):
        return False
    return all(text.is_supervised and not _has_placeholder(text.text, len(page.images)) for text in texts)


def _has_placeholder(text: str, num_images: int) -> bool:
    """Whether whoever reads a row would take something in its text for the place of an image."""
    try:
        return len(split_text(text, num_images)) != num_images + 1
    except RowError:
        return True
