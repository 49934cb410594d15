"""Which pages a name stands for: a key, a raw file with or without its page, a pattern, the beginning of keys.

    pdf/report_v2@0003           the key of a page
    pdf/report.v2.pdf            a raw file: all its pages; its folders may be left out, and others be in front
    report.v2.pdf:3, ...@3       page, frame or line 3 of it
    scans/*                      a pattern of keys or raw files, with * ? and [...]
    pdf/rep                      what keys begin with

The first of these that fits anything counts. What was refused (quarantine.jsonl, index/left_out.jsonl) is found by the
same names, with its reason. Where nothing fits, the nearest names are found.
"""

import fnmatch
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.info import SOURCE
from wdstream.curation.near_names import near_names
from wdstream.curation.refused import LISTS, RefusedPage, read_refused
from wdstream.curation.stored_keys import OnShards, read_keys, search_keys
from wdstream.raw.stems import bare_names, possible_stems, stem_needles, stem_pattern
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.text.characters import replace_surrogates

MAX_REFUSED = 1000
"""Refused pages that one name lists."""
_SHOWN = 5
_HOW = {"raw file": "of a raw file", "pattern": "of this pattern", "beginning of keys": "whose keys begin so"}
_RANKS = ("key", "raw file", "pattern", "beginning of keys", "")
_PAGE = re.compile(r"(.+)[:@]([0-9]{1,9})", re.DOTALL)
_GLOB = re.compile(r"[*?\[]")
_GLOB_PARTS = re.compile(r"\[.*|[*?]", re.DOTALL)
"""What splits a pattern into texts that every name that it fits has; brackets and what comes later are not used."""
_NUMBERS = ("page", "line")
"""Metadata that number the pages of a raw file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a name stands for in a set.

    Attributes:
        name: as it was asked for.
        how: it fits: a "key", a "raw file", a "pattern", the "beginning of keys"; "" where no page does.
        rows: of the pages, rising.
        refused: pages of the name that did not get into the set.
        near: where there is neither, names that are like it.
    """

    name: str
    how: str = ""
    rows: tuple[int, ...] = ()
    refused: tuple[RefusedPage, ...] = ()
    near: tuple[str, ...] = field(default=())

    def remarks(self, shards: Shards) -> Iterator[str]:
        """Lines for people: how many pages are meant where it is not a key, and what was refused."""
        if self.how not in ("", "key"):
            keys = [name_of_row(shards, row) for row in self.rows[:_SHOWN]]
            more = f", and {len(self.rows) - _SHOWN:,} more" if len(self.rows) > _SHOWN else ""
            pages = "1 page" if len(self.rows) == 1 else f"{len(self.rows):,} pages"
            yield f"{self.name}: {pages} {_HOW[self.how]}: {', '.join(keys)}{more}"
        yield from (page.describe(str(shards.path)) for page in self.refused)


def resolve_in(sets: Sequence[Shards], name: str, on_progress: OnShards | None = None) -> list[Resolution]:
    """What a name stands for in each of several sets: where it is a key in one, it is not tried as less in others.

    Raises:
        ShardError: keys or columns cannot be read.
    """
    name = replace_surrogates(name)  # of an argument that is not UTF-8
    rows = [shards.find(name) for shards in sets]
    if any(row is not None for row in rows):
        return [Resolution(name=name) if row is None else Resolution(name=name, how="key", rows=(row,)) for row in rows]
    found = [_resolve(shards, name, on_progress) for shards in sets]
    best = min((_RANKS.index(each.how) for each in found), default=0)
    return [each if _RANKS.index(each.how) == best else replace(each, how="", rows=()) for each in found]


def _resolve(shards: Shards, name: str, on_progress: OnShards | None) -> Resolution:
    """The pages of a name that is not a key."""
    how, rows = _pages_of(shards, name, on_progress)
    refused = tuple(_refused_of(shards, name))
    near: list[str] = []
    if not rows and not refused:
        sources = shards.metadata[SOURCE].texts() if SOURCE in shards.metadata else []
        near = near_names(name, read_keys(shards, on_progress), sources)
    return Resolution(name=name, how=how, rows=rows, refused=refused, near=tuple(near))


def nearest(found: Sequence[Resolution]) -> str:
    """The end of a message that there is no such page: names that are like it, if there are any."""
    near = list(dict.fromkeys(name for each in found for name in each.near))[:_SHOWN]
    return f"; nearest names: {', '.join(near)}" if near else ""


def matching_keys(name: str, keys: Iterable[str]) -> list[str]:
    """Those of some keys that a name is, or else stands for, each once; of tars without an index, which have no more.

    Where keys begin with the name of their tar, it may be left out.
    """
    of_files = "|".join(_key_pattern(path, page) for path, page in _readings(name)) or "(?!)"
    ways = [re.escape(name), f"(?:.*/)?{re.escape(name)}", of_files, f"(?:[^/]*/)?{re.escape(name)}.*"]
    if _GLOB.search(name):
        ways[2:] = [_translated(name)]
    everything = list(dict.fromkeys(keys)) if name else []
    for way in ways:
        compiled = re.compile(way, re.DOTALL)
        if found := [key for key in everything if compiled.fullmatch(key)]:
            return found
    return []


def _pages_of(shards: Shards, name: str, on_progress: OnShards | None) -> tuple[str, tuple[int, ...]]:
    """How a name fits, and the rows."""
    if not name:
        return "", ()
    if _GLOB.search(name):
        pattern = _translated(name)
        needle = max(_GLOB_PARTS.split(name), key=len)
        rows = {*search_keys(shards, pattern, [needle] if needle else [], on_progress)}
        rows.update(_rows_of_files(shards, [pattern], None).tolist())
        return ("pattern", tuple(sorted(rows))) if rows else ("", ())
    for path, page in _readings(name):
        rows_of_file = _rows_of_files(shards, _file_patterns(path), page)
        if len(rows_of_file):
            return "raw file", tuple(rows_of_file.tolist())
    of_files = "|".join(_key_pattern(path, page) for path, page in _readings(name)) or "(?!)"
    needles = {needle for path, _ in _readings(name) for needle in (*stem_needles(path), *bare_names(path))}
    found = search_keys(shards, f"{of_files}|{re.escape(name)}.*", needles or {name}, on_progress)
    rows_of_keys = [row for row, key in found.items() if re.fullmatch(of_files, key, re.DOTALL)]
    if rows_of_keys:
        return "raw file", tuple(rows_of_keys)
    return ("beginning of keys", tuple(found)) if found else ("", ())


def _translated(pattern: str) -> str:
    """A pattern of names as a regular expression; one without a folder fits in every folder."""
    return ("" if "/" in pattern else "(?:.*/)?") + fnmatch.translate(pattern)


def _readings(name: str) -> list[tuple[str, int | None]]:
    """What a name may be: a file, or a file and the number of one of its pages."""
    match = _PAGE.fullmatch(name)
    readings = [(name, None), (match[1], int(match[2]))] if match else [(name, None)]
    return [(path, page) for path, page in readings if not path.endswith("/")]


def _file_patterns(path: str) -> list[str]:
    """Paths of raw files that a path may mean: itself or with folders in front; else without some of its own."""
    parts = _composed(posixpath.normpath(path)).strip("/").split("/")
    ends = [re.escape("/".join(parts[start:])) for start in range(1, len(parts))]
    return [f"(?:.*/)?{re.escape('/'.join(parts))}", *ends]


def _composed(text: str) -> str:
    """Accents as one file system writes them, and another does not."""
    return unicodedata.normalize("NFC", text)


def _rows_of_files(shards: Shards, patterns: Sequence[str], page: int | None) -> NDArray[np.int64]:
    """Rows of the raw files whose paths match the first pattern that any does: all pages of each, or this one."""
    nothing = np.empty(0, np.int64)
    if SOURCE not in shards.metadata:
        return nothing
    column = shards.metadata[SOURCE]
    paths = {text: _composed(text) for text in column.texts()}
    for pattern in map(re.compile, patterns):
        fitting = [text for text, path in paths.items() if pattern.fullmatch(path)]
        if fitting:
            rows = column.rows_of(fitting)
            return rows if page is None else rows[_has_number(shards, rows, page)]
    return nothing


def _has_number(shards: Shards, rows: NDArray[np.int64], page: int) -> NDArray[np.bool_]:
    """Which rows are this page, or this line, of their raw file."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for name in _NUMBERS:
        if name in shards.metadata and shards.metadata[name].has_numbers:
            found |= np.ma.filled(shards.metadata[name][rows] == page, fill_value=False)
    return found


def _key_pattern(path: str, page: int | None = None) -> str:
    """Keys of the pages of a raw file, as make-shards makes them, or as tars of others have them."""
    number = "(?:@[0-9]+)?" if page is None else f"@0*{page}"
    literal = "|".join(map(re.escape, bare_names(path)))
    return f"(?:{stem_pattern(path)}|(?:.*/)?(?:{literal})){number}"


def _refused_of(shards: Shards, name: str) -> Iterator[RefusedPage]:
    """What was refused under a name."""
    is_meant = _WasAskedFor(name)
    count = 0
    for listed_in in LISTS:
        for refused in read_refused(shards.index_storage, listed_in):
            if count < MAX_REFUSED and is_meant(refused):
                count += 1
                yield refused


class _WasAskedFor:
    """Whether a refused page is one that a name stands for."""

    def __init__(self, name: str) -> None:
        patterns = [
            (_key_pattern(path, page), (*_file_patterns(path), _key_pattern(path)), page)
            for path, page in _readings(name)
        ]
        if _GLOB.search(name):
            patterns = [(_translated(name), (_translated(name),), None)]
        self._keys = re.compile("|".join(keys for keys, _, _ in patterns) or "(?!)", re.DOTALL)
        self._files = [(re.compile("|".join(files), re.DOTALL), page) for _, files, page in patterns]
        self._of_place: dict[str, list[int | None]] = {}  # the pages of a raw file that are meant; None is all

    def __call__(self, refused: RefusedPage) -> bool:
        """Whether it is."""
        if isinstance(refused.page, str):  # a key
            return bool(self._keys.fullmatch(refused.page))
        place = refused.place
        if place not in self._of_place:
            names = (_composed(place), *possible_stems(place))
            self._of_place[place] = [page for files, page in self._files if any(map(files.fullmatch, names))]
        meant = self._of_place[place]
        return bool(meant) and (refused.page is None or None in meant or refused.page in meant)
