"""How samples of others were read, for reports: which part or field as what, and which are of no use."""

from collections.abc import Mapping

from wdstream.errors import PageError
from wdstream.shards.layout import TEXT_EXTENSION
from wdstream.shards.page_members import is_row_of_ours
from wdstream.shards.parts import sort_parts
from wdstream.shards.samples.mapped import mapped_page
from wdstream.shards.samples.parts_read import json_of_part
from wdstream.text.maps.readings import RowReading, region_mark
from wdstream.text.row_forms import RowRules, read_row
from wdstream.text.row_images import RowImage

_OF_IMG2DATASET = {"key", "caption", "url", "status"}


def reading_of_sample(key: str, members: Mapping[str, bytes], rules: RowRules) -> RowReading:
    """How a sample is read; nothing is said of one that is refused."""
    try:
        if rules.field_map is not None:
            return mapped_page(key, members, rules).reading
        if TEXT_EXTENSION in members:
            return _of_text(key, members, rules.metadata_fields)
        row = json_of_part(key, members)
        if row is not None and is_row_of_ours(row):
            return RowReading()
        parts = sort_parts(members)
        held = [RowImage(where=name, name=name, data=members[name]) for name in parts.images]
        return RowReading() if row is None else read_row(row, rules, held=held).reading
    except PageError:
        return RowReading()


def _of_text(key: str, members: Mapping[str, bytes], metadata: frozenset[str]) -> RowReading:
    """Of a sample with a text of its own, whose json is metadata."""
    parts = sort_parts(members)
    fields = json_of_part(key, members) or {}
    shown = [f"image={'+'.join(parts.images)}"] if parts.images else []
    name = "img2dataset: " if fields.keys() >= _OF_IMG2DATASET else ""
    how = f"{name}{', '.join([*shown, f'text={TEXT_EXTENSION}'])}"
    rest = {name: value for name, value in fields.items() if name not in metadata} if metadata else fields
    mark = region_mark(rest) if len(parts.images) == 1 else ""
    return RowReading(how=how, unused=(*fields, *sorted(parts.others)), mark=mark)
