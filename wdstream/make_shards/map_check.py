"""A field map is tried on the first rows of some files before a job begins: what none of them has is its mistake."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from wdstream.errors import ConfigError, PageError
from wdstream.raw.reading import reading
from wdstream.raw.registry import source_of_kind
from wdstream.raw.row_pages import RowFileSource
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile
from wdstream.text.characters import short_name
from wdstream.text.maps.field_map import FieldMap

ROWS_LOOKED_AT = 100
FILES_LOOKED_AT = 8


def check_map(raw: Path, files: Sequence[RawFile], settings: RawSettings) -> None:
    """Check the map of the settings against the first rows of some files.

    Raises:
        ConfigError: it names a field that no row of them has; says which are near.
    """
    field_map = FieldMap.chosen(settings.map, settings.preset)
    if field_map is None:
        return
    with reading(raw, settings):
        heads = {file.path: list(_first_rows(raw, file)) for file in _files_of_rows(files)}
    rows = [row for head in heads.values() for row in head]
    lacking = field_map.lacking(rows) if rows else []
    if lacking:
        looked = ", ".join(short_name(path) for path, head in heads.items() if head)
        raise ConfigError(f"{lacking[0]}; in none of the first {len(rows):,} rows of {looked}")


def _files_of_rows(files: Sequence[RawFile]) -> Iterator[RawFile]:
    found = (file for file in files if file.num_pages and isinstance(source_of_kind(file.kind), RowFileSource))
    return islice(found, FILES_LOOKED_AT)


def _first_rows(raw: Path, file: RawFile) -> Iterator[Mapping[str, object]]:
    """The rows at the beginning of a file; those that cannot be read are the job's to name."""
    source = source_of_kind(file.kind)
    assert isinstance(source, RowFileSource)
    count = min(ROWS_LOOKED_AT, file.num_pages)
    try:
        for _number, row in source.rows(PageRange(file=file, first=1, count=count), raw / file.path):
            try:
                fields = row.fields()
            except PageError:
                continue
            if fields is not None:
                yield fields
    except (PageError, OSError):
        return
