"""extract: the members of chosen pages as files, byte for byte as they are stored; or their text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wdstream.curation.resolve import nearest, resolve_in
from wdstream.curation.stored_keys import OnShards
from wdstream.errors import AbsentFileError, ConfigError, PageError, ShardError
from wdstream.records import Segment, TextSegment, TurnSegment
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.storage.atomic import atomic_write
from wdstream.storage.places import Place, open_place
from wdstream.text.messages import is_chat

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TEMP = ".wdstream-extract.tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPages:
    """What names stand for: rows in order, each once, and lines on what the names are."""

    rows: tuple[int, ...]
    remarks: tuple[str, ...]


def choose_pages(
    shards: Shards, names: Sequence[str], *, most: int, on_progress: OnShards | None = None
) -> ChosenPages:
    """The pages of names; each is a key, a raw file, a pattern, ... (resolve.py).

    Raises:
        ShardError: no page has one of the names, or `most` is exceeded.
    """
    rows: dict[int, None] = {}
    remarks: list[str] = []
    for name in names:
        found = resolve_in([shards], name, on_progress)
        remarks += found[0].remarks(shards)
        if not found[0].rows:
            why = "; ".join(page.describe(str(shards.path)) for page in found[0].refused)
            raise ShardError(f"{shards.path}: no page is called {name!r}{f': {why}' if why else nearest(found)}")
        rows.update(dict.fromkeys(found[0].rows))
    if len(rows) > most:
        raise ShardError(f"{len(rows):,} pages are meant, more than {most:,}: choose fewer, or raise --max-pages")
    return ChosenPages(rows=tuple(rows), remarks=tuple(remarks))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedPage:
    """What became of a page: its files, or its text; or why there is neither."""

    key: str
    files: tuple[str, ...] = ()
    text: str = ""
    trouble: str = ""


def extract_pages(
    shards: Shards, rows: Sequence[int], out: Path | str, *, overwrite: bool = False
) -> Iterator[ExtractedPage]:
    """Write the members of pages below a folder or URL, as `KEY.EXTENSION`; each file is whole or not there.

    A file that is there with the very bytes stays.

    Args:
        shards: to read from.
        rows: of the pages.
        out: the folder, which is made when it is missing, or a URL of a store.
        overwrite: replace files that are there with other bytes.

    Raises:
        ConfigError: a file is there already, or would be outside of the folder through a link.
        ShardError: a shard cannot be read.
    """
    written: set[str] = set()
    place = open_place(out)
    for row in rows:
        try:
            key, members = shards.read(row)
        except PageError as error:  # damage to this page alone
            yield ExtractedPage(key=name_of_row(shards, row), trouble=str(error))
            continue
        files = {f"{key}.{_UNSAFE.sub('_', extension)}": data for extension, data in members.items()}
        for name, data in files.items():
            _write(place, name, data, overwrite=overwrite and name not in written)
        written |= files.keys()
        yield ExtractedPage(key=key, files=tuple(f"{place.address}/{name}" for name in files))


def texts_of(shards: Shards, rows: Sequence[int]) -> Iterator[ExtractedPage]:
    """The text of each page: all its texts, one after the other. In a chat, each turn begins a line with its role, and
    with what else the chat template is given for it, such as calls of tools.

    Raises:
        ShardError: a shard cannot be read.
    """
    for row in rows:
        try:
            page = shards.read_page(row)
        except PageError as error:  # damage to this page alone
            yield ExtractedPage(key=name_of_row(shards, row), trouble=str(error))
            continue
        text = "".join(map(_text_of, page.segments))
        yield ExtractedPage(key=page.key, text=text.removeprefix("\n") if is_chat(page.segments) else text)


def _text_of(segment: Segment) -> str:
    if isinstance(segment, TurnSegment):
        return f"\n{segment.role}{segment.more and ' '}{segment.more}: "
    return segment.text if isinstance(segment, TextSegment) else ""


def _write(place: Place, name: str, data: bytes, *, overwrite: bool) -> None:
    """Write a member; a key never leads out of the folder, and no link in it may.

    Raises:
        ConfigError: a link is in the way, or another file is there.
    """
    path = place.local_path(name)
    if path is not None:
        _refuse_links(path, name)
    try:
        there = None if path is not None and path.is_symlink() else place.read(name)
    except AbsentFileError:
        there = None
    if there == data:
        return
    is_there = there is not None or (path is not None and (path.is_symlink() or path.exists()))
    if is_there and not overwrite:
        where = f"{place.address}/{name}"
        raise ConfigError(f"{where} is there already, with other content: --overwrite replaces it, or choose --out")
    if path is None:
        place.write(name, data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, temp=path.with_name(_TEMP)) as file:
        file.write(data)


def _refuse_links(path: Path, name: str) -> None:
    """A link among the folders of a key might lead out of the folder that is written to."""
    for parent in list(path.parents)[: name.count("/")]:
        if parent.is_symlink():
            raise ConfigError(f"{parent} is a link, which may lead elsewhere: choose another folder with --out")
