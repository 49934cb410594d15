"""Which text files belong to which raw file: next to it, in Transkribus' `page/`, or in folders that are named.

All files of the raw folder are listed before this is asked, so it costs no call of the file system, but for raw files
with several texts: of those, each that may be XML is opened to see what it is.
"""

import posixpath
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from wdstream.raw.listed.packed import TextHashes, TextPlaces, pack, unpack
from wdstream.raw.texts.formats import SNIFFED_BYTES, format_of
from wdstream.raw.texts.names import FORMS, UNKNOWN, TextName, is_plain, may_be_text, owners, plain_reading, readings
from wdstream.text.characters import short_name

_TRANSKRIBUS = "page/"
_SHOWN_NAMES = 5
_FOLDERS_KEPT = 16
_ByOwner = dict[str, list[tuple[str, TextName]]]
ReadHead = Callable[[str, int], bytes]
"""The first bytes of a file by its path relative to the raw folder; empty where it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A text that may be a raw file's: its path, the reading of its name, and how far it is from the best place."""

    path: str
    name: TextName
    distance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextsOfFile:
    """The texts of one raw file.

    Attributes:
        chosen: paths relative to the raw folder: one file, or one for each of some pages; empty where the files of
            sidecar.py are its text, or there is none.
        unused: forms of those that another one is preferred to.
        unknown: paths of XML files that hold no text, each with what it is.
    """

    chosen: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()


_NO_TEXTS = TextsOfFile()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextsLeft:
    """Text files that are not used.

    Attributes:
        unused: number of texts of raw files that another one is preferred to, by format.
        unknown: XML files with the name of a raw file that hold no text, and what they are.
        unmatched: text files that have no raw file.
        mets: what METS files say of files that are here, and that are not.
        empty: folders that settings name, in which no page has a text.
    """

    unused: Mapping[str, int]
    unknown: tuple[tuple[str, str], ...]
    unmatched: tuple[str, ...]
    mets: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def remarks(self) -> Iterator[str]:
        """What a report says of them."""
        yield from self.mets
        for folder in self.empty:
            yield f"--text-from {short_name(folder)}: no page has a text there"
        if self.unused:
            counts = ", ".join(f"{count:,} {form}" for form, count in self.unused.items())
            yield f"texts of pages that have another one, which comes first (--text-from): {counts}"
        if self.unknown:
            shown = _a_few([f"{path} ({what})" for path, what in self.unknown])
            yield f"{len(self.unknown):,} XML files next to pages hold no text: {shown}"
        if self.unmatched:
            yield f"{len(self.unmatched):,} text files have no page: {_a_few(self.unmatched)}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _a_few(names: Sequence[str]) -> str:
    shown = ", ".join(map(short_name, names[:_SHOWN_NAMES]))
    return shown if len(names) <= _SHOWN_NAMES else f"{shown}, and {len(names) - _SHOWN_NAMES:,} more"


@dataclass(slots=True)
class TextFinder:
    """Finds the texts of raw files among all files of the raw folder.

    Args:
        text_from: formats and folders in the order in which they are preferred (`RawSettings.text_from`).
        read_head: reads the beginning of a file.
    """

    text_from: Sequence[str]
    read_head: ReadHead
    _matched: TextHashes = field(default_factory=TextHashes)
    """Paths of texts that are, or may be, some raw file's."""
    _matched_in: set[str] = field(default_factory=set)
    """Their folders."""
    _names: dict[str, bytes] = field(default_factory=dict)
    """Of each folder, what may be a text, packed; who owns it is found when the folder is read."""
    _owned: dict[tuple[str, bool], _ByOwner] = field(default_factory=dict)
    """Of a few folders, by whom their names call their owner: names of files."""
    _around: tuple[str | None, list[tuple[int, str, _ByOwner]]] = (None, [])
    """The folder whose files were asked for last, and where texts of them may be."""
    _folded: tuple[str | None, TextPlaces, list[str]] = field(default_factory=lambda: (None, TextPlaces(), []))
    """The folder of `_alike` that was asked for last, owners of its texts, and all names once one is like another."""
    _anywhere: TextPlaces | None = None
    """Owners of texts of all folders, by number of the folder; None before one is asked for."""
    _folders: list[str] = field(default_factory=list)
    """Those that have texts, in their order."""

    def add(self, folder: str, names: Iterable[str]) -> None:
        """Take in the names of a folder; `folder` is its path with a slash at the end, or empty."""
        texts = [name for name in names if may_be_text(name)]
        if texts:
            self._names[folder] = pack(texts)

    def find(
        self, folder: str, name: str, bare: str, stated: Sequence[str] = (), *, has_sidecar: bool, has_layer: bool
    ) -> TextsOfFile:
        """The texts of a raw file.

        Args:
            folder: its folder.
            name: of the file.
            bare: the same without its suffix.
            stated: paths of texts that METS says are its, the best first: they come before all but what is named.
            has_sidecar: whether a file as in sidecar.py is next to it.
            has_layer: whether it may hold its text itself, so that a file which is none costs nothing.
        """
        if not stated and not self._texts_around(folder):  # as of most: without texts, or with those of sidecar.py
            return _NO_TEXTS
        found = [*_stated(stated), *self._candidates(folder, name, bare, {*stated})]
        for candidate in found:
            place, slash, _text = candidate.path.rpartition("/")
            self._matched.add(candidate.path)
            self._matched_in.add(place + slash)
        if not found or (len(found) == 1 and not has_sidecar and not has_layer):
            return TextsOfFile(chosen=tuple(candidate.path for candidate in found))
        is_stated = any(f"{folder}{owner}.txt" in stated for owner in (name, bare))
        return self._best(found, has_sidecar=has_sidecar and not is_stated)

    def is_matched(self, folder: str, name: str) -> bool:
        """Whether a text is, or may be, some raw file's."""
        return f"{folder}{name}" in self._matched

    def empty_folders(self) -> Iterator[str]:
        """The folders of `text_from` in which no text of any raw file was found."""
        for item in self.text_from:
            if item.endswith("/") and not any(_is_from(f"{place}_", item) for place in self._matched_in):
                yield item

    def near(self, folder: str, name: str, bare: str) -> str | None:
        """The path of a text of this name in any folder, for a raw file that has none; or of one in its own folder
        whose name is another in case or Unicode form alone."""
        if self._anywhere is None:
            self._anywhere = self._found_anywhere()
        for owner in owners(name, bare):
            for number in self._anywhere.of(owner):
                place = self._folders[number]
                for text, reading in self._by_owner(place).get(owner, ()):
                    if reading.page is None:
                        return place + text
        return self._alike(folder, {*map(_folded, owners(name, bare))}) if folder in self._names else None

    def _alike(self, folder: str, wanted: Collection[str]) -> str | None:
        """The path of a text in a folder whose owner has one of these names but for case and Unicode form."""
        if self._folded[0] != folder:
            found = TextPlaces()
            for number, reading in self._of_all_pages(folder):
                found.add(_folded(reading.owner), number)
            self._folded = folder, found, []
        _, found, names = self._folded
        for number in sorted(number for owner in wanted for number in found.of(owner)):
            if not names:
                names += unpack(self._names[folder])
            if any(reading.page is None and _folded(reading.owner) in wanted for reading in readings(names[number])):
                return folder + names[number]
        return None

    def _of_all_pages(self, folder: str) -> Iterator[tuple[int, TextName]]:
        """Numbers of texts in a folder, each with how it may be read as that of all pages of a file."""
        for number, name in enumerate(unpack(self._names[folder])):
            yield from ((number, reading) for reading in readings(name) if reading.page is None)

    def _found_anywhere(self) -> TextPlaces:
        found = TextPlaces()
        self._folders = [*self._names]
        for number, folder in enumerate(self._folders):
            for _, reading in self._of_all_pages(folder):
                found.add(reading.owner, number)
        return found

    def _by_owner(self, folder: str, *, is_own: bool = False) -> _ByOwner:
        """The texts of a folder by their owner, without those of sidecar.py where it is the owner's own; kept for a few
        folders, since pages are asked for in their order."""
        known = self._owned.get((folder, is_own))
        if known is None:
            while len(self._owned) >= _FOLDERS_KEPT:
                self._owned.pop(next(iter(self._owned)))
            known = self._owned[folder, is_own] = {}
            for name in unpack(self._names[folder]):
                for reading in () if is_own and is_plain(name) else readings(name):
                    known.setdefault(reading.owner, []).append((name, reading))
        return known

    def _texts_around(self, folder: str) -> Sequence[tuple[int, str, _ByOwner]]:
        """The folders with texts that may be those of a folder's files, best first, each with how far it is."""
        if self._around[0] != folder:
            places = enumerate(_places(folder, tuple(self.text_from)))
            known = (
                (distance, place, self._by_owner(place, is_own=place == folder))
                for distance, place in places
                if place in self._names
            )
            self._around = folder, [entry for entry in known if entry[2]]
        return self._around[1]

    def _candidates(self, folder: str, name: str, bare: str, seen: set[str]) -> Iterator[_Candidate]:
        """Every text that may be the file's by its name, each once, those in named folders first."""
        for distance, place, by_owner in self._texts_around(folder):
            for owner in owners(name, bare):
                for text, reading in by_owner.get(owner, ()):
                    is_sidecar = place == folder and reading.form == "txt"
                    if place + text not in seen and not is_sidecar:
                        seen.add(place + text)
                        yield _Candidate(path=place + text, name=reading, distance=distance)

    def _best(self, found: Sequence[_Candidate], *, has_sidecar: bool) -> TextsOfFile:
        forms = {candidate.path: self._form(candidate) for candidate in found}
        unknown = tuple((path, what) for path, (form, what) in forms.items() if form is None)
        ranked = [(self._rank(form, candidate), candidate) for candidate in found if (form := forms[candidate.path][0])]
        ranked.sort(key=lambda pair: pair[0])
        chosen: list[_Candidate] = []
        if ranked and not (has_sidecar and self._rank_of_sidecar() <= ranked[0][0]):
            chosen = _first_of(ranked)
        paths = tuple(candidate.path for candidate in chosen)
        unused = [forms[candidate.path][1] for _, candidate in ranked if candidate.path not in paths]
        unused += ["txt"] if has_sidecar and paths else []
        return TextsOfFile(chosen=paths, unused=tuple(unused), unknown=unknown)

    def _form(self, candidate: _Candidate) -> tuple[str | None, str]:
        """The form of a candidate, None for none, and in words what it is."""
        if candidate.name.form != UNKNOWN:
            return candidate.name.form, candidate.name.form
        form, what = format_of(self.read_head(candidate.path, SNIFFED_BYTES))
        return (None, what) if form in (None, "mets") else (form, str(form))

    def _rank(self, form: str, candidate: _Candidate) -> tuple[int, int, int]:
        """Where a candidate comes among others: as the settings say, then by its form, then by its place."""
        wanted = [
            number
            for number, item in enumerate(self.text_from)
            if item == form or (item.endswith("/") and _is_from(candidate.path, item))
        ]
        is_stated = candidate.distance < 0
        last = candidate.distance if is_stated else _form_rank(form), candidate.distance
        return wanted[0] if wanted else len(self.text_from), *last

    def _rank_of_sidecar(self) -> tuple[int, int, int]:
        wanted = [number for number, item in enumerate(self.text_from) if item == "txt"]
        return wanted[0] if wanted else len(self.text_from), _form_rank("txt"), len(self.text_from)


def _stated(paths: Sequence[str]) -> Iterator[_Candidate]:
    """Texts that are said to be a file's; the best is the farthest below all distances of others."""
    for number, path in enumerate(paths):
        name = posixpath.basename(path)
        if "." not in name or any(True for _ in readings(name)):
            yield _Candidate(path=path, name=plain_reading(name), distance=number - len(paths))


def _first_of(ranked: Sequence[tuple[tuple[int, int, int], _Candidate]]) -> list[_Candidate]:
    """The best text; where it is that of one page, all of its kind that are."""
    first, best = ranked[0]
    if best.name.page is None:
        return [best]
    return [other for rank, other in ranked if rank == first and other.name.page is not None]


def _form_rank(form: str) -> int:
    return [*map(str, FORMS)].index(form)


def _is_from(path: str, folder: str) -> bool:
    """Whether a path is in a folder that is named so."""
    plain = posixpath.normpath(folder).lstrip("./") or "."
    return f"/{plain}/" in f"/{posixpath.dirname(path)}/"


@lru_cache(maxsize=1024)
def _places(folder: str, text_from: tuple[str, ...]) -> tuple[str, ...]:
    """The folders in which texts of a folder's files are looked for, best first."""
    named = [place for item in text_from if item.endswith("/") for place in _named_places(folder, item)]
    return tuple(dict.fromkeys([*named, folder, folder + _TRANSKRIBUS]))


def folder_to_name(folder: str, text: str) -> str | None:
    """What `text_from` may say so that a text is found for the files of a folder; None where nothing would do."""
    place = posixpath.dirname(text)
    parts = place.split("/")
    ranges = ((end - length, end) for length in range(1, len(parts) + 1) for end in range(len(parts), length - 1, -1))
    wanted = (f"{'/'.join(parts[start:end])}/" for start, end in ranges)
    return next((item for item in wanted if f"{place}/" in _named_places(folder, item)), None)


def _named_places(folder: str, item: str) -> Iterator[str]:
    """Where a named folder may be for a folder of raw files: in it, next to it or above, with the folders below that
    or, as `alto/vol1/` mirrors `img/vol1/`, with all but the first of them."""
    parts = folder.rstrip("/").split("/") if folder else []
    for depth in range(len(parts), -1, -1):
        for skipped in (0, 1):
            below = parts[depth + skipped :]
            place = posixpath.normpath("/".join([*parts[:depth], item.rstrip("/"), *below]))
            if not place.startswith(".."):
                yield f"{place}/" if place != "." else ""
