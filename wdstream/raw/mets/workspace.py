"""METS files of a raw folder, matched with the files that are there.

An image that is a page's in the best group that is there is read, with the page's place in the document as metadata;
the other images of the page are not read, and counted. A page whose best group has several images has them all, each
with the text of its name; an image of several pages has none of their texts, each of which is of a part. Keys are made
of paths, as without METS: a METS file that comes, changes or goes renames no page that is trained on. Addresses are
never fetched, and no file outside the raw folder is read.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from wdstream.raw.mets.document import MetsDocument, MetsFile, MetsPage
from wdstream.raw.mets.groups import GroupCount, MetsGroups
from wdstream.raw.source import RawFile
from wdstream.text.characters import replace_surrogates, short_name

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HERE = re.compile(r"file://(?=\./)")
"""What docWorks writes before paths that are relative to the METS file."""

PageKind = Callable[[str], str | None]
"""The kind of source of a file by its path, None for a file that is not a page; KeyError where there is no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetsImage:
    """A file that METS says is a page: its metadata, and paths of its texts, the best first."""

    meta: tuple[tuple[str, str | int], ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(slots=True)
class MetsWorkspace:
    """What the METS files of a raw folder say of its files.

    Args:
        groups: which are preferred.
        kind_of: what a file is.

    Attributes:
        images: files that are pages, by path.
        unused: other images of pages, by path, with their group.
    """

    groups: MetsGroups
    kind_of: PageKind
    images: dict[str, MetsImage] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    _read: GroupCount = field(default_factory=GroupCount)
    _addresses: GroupCount = field(default_factory=GroupCount)
    _missing: GroupCount = field(default_factory=GroupCount)
    _refused: list[str] = field(default_factory=list)
    _orders: list[list[str]] = field(default_factory=list)
    _found: set[str] = field(default_factory=set)
    _num_pages: int = 0
    _num_absent: int = 0
    _num_shared: int = 0

    def add(self, path: str, document: MetsDocument) -> None:
        """Take in the METS file at `path`, relative to the raw folder. Of two that say something of an image, the
        first counts."""
        folder = posixpath.dirname(path)
        name = document.name or path
        order: dict[str, None] = {}
        for page in document.pages:
            order |= dict.fromkeys(self._add_page(folder, name, page, order))
        for file, place in self._here(folder, document.whole):
            if self.kind_of(place) is not None and order:
                self.unused.setdefault(place, file.group)
        self._num_pages += len(document.pages)
        self._orders.append([*order])

    def finish(self) -> None:
        """Settle what several METS files say of one file.

        Raises:
            ConfigError: a group that is named is in no document.
        """
        self.groups.check(self._found)
        self.unused = {path: group for path, group in self.unused.items() if path not in self.images}

    def in_order(self, files: Iterable[RawFile]) -> Iterable[RawFile]:
        """Files in the order of their documents: those of each in the places that they have among all files."""
        if not self._orders:
            return files
        given = [*files]
        result = [*given]
        number_of = {file.path: number for number, file in enumerate(given)}
        for order in self._orders:
            numbers = [number_of[path] for path in order if path in number_of]
            for place, number in zip(sorted(numbers), numbers, strict=True):
                result[place] = given[number]
        return result

    def remarks(self) -> Iterator[str]:
        """What a report says of METS files."""
        if self.images:
            yield f"METS: {len(self.images):,} images of {self._num_pages:,} pages are read ({self._read})"
        if self.unused:
            unused = GroupCount(dict(Counter(self.unused.values())))
            yield f"{len(self.unused):,} other files of these pages are not read ({unused}); --mets-image chooses"
        if self._num_absent:
            yield f"{self._num_absent:,} pages of METS files have no image here"
        if self._num_shared:
            yield f"{self._num_shared:,} images show several pages of METS, whose texts are not used: each is of a part"
        if self._addresses.counts:
            yield f"files of METS that are addresses, which are not fetched: {self._addresses}; fetch them first"
        if self._missing.counts:
            yield f"files of METS that are not here: {self._missing}"
        if self._refused:
            yield f"{len(self._refused):,} paths in METS files lead out of RAW, as does {short_name(self._refused[0])}"

    def _add_page(self, folder: str, document: str, page: MetsPage, known: Container[str]) -> list[str]:
        """Take in a page; returns the paths of its images that are read, without those `known` from pages before."""
        here = [(file, path, self.kind_of(path)) for file, path in self._here(folder, page.files)]
        images = [(file, path, kind) for file, path, kind in here if kind is not None]
        self._num_absent += not images
        if not images:
            return []
        # A PDF of the page is its image only where there is none.
        best, _, _ = min(images, key=lambda item: (item[2] != "image", *self.groups.image_rank(item[0].group)))
        chosen = [*dict.fromkeys(path for file, path, _ in images if file.group == best.group)]
        others = [(file, path) for file, path, kind in here if kind is None and len(chosen) == 1]
        texts = [path for _, path in sorted(others, key=lambda pair: self.groups.text_rank(pair[0].group))]
        found = MetsImage(meta=_meta(document, page), texts=tuple(dict.fromkeys(texts)))
        self._part_texts([path for path in chosen if path in known], found.texts)
        new = [path for path in chosen if path not in self.images]
        self.images.update(dict.fromkeys(new, found))
        self._read.add(best.group, len(new))
        self.unused.update({path: file.group for file, path, _ in images if path not in chosen})
        return new

    def _part_texts(self, paths: Iterable[str], texts: tuple[str, ...]) -> None:
        """Take the texts from images that are those of a page before, with a text of its own: each is of a part."""
        for path in paths:
            image = self.images[path]
            if texts and image.texts and texts != image.texts:
                self.images[path] = replace(image, texts=())
                self._num_shared += 1

    def _here(self, folder: str, files: Iterable[MetsFile]) -> Iterator[tuple[MetsFile, str]]:
        """The files that are in the raw folder, each with its path; the others are counted."""
        for file in files:
            self._found.add(file.group)
            places = [self._place(folder, href) for href in file.hrefs]
            path = next((place for place in places if place), None)
            if path is not None:
                yield file, path
            elif any(_is_address(href) for href in file.hrefs):
                self._addresses.add(file.group)
            elif None in places:
                self._refused += [replace_surrogates(href) for href in file.hrefs]
            else:
                self._missing.add(file.group)

    def _place(self, folder: str, href: str) -> str | None:
        """The path of a file that is here, "" for one that is not, None for what leads elsewhere."""
        written = _HERE.sub("", href).replace("\\", "/")
        for spelling in dict.fromkeys((written, unquote(written))):
            path = posixpath.normpath(posixpath.join(folder, spelling))
            if path.startswith(("/", "../")) or path == "..":
                return None
            if self._is_there(path):
                return path
        return None if _ADDRESS.match(written) else ""

    def _is_there(self, path: str) -> bool:
        try:
            self.kind_of(path)
        except KeyError:
            return False
        return True


def _is_address(href: str) -> bool:
    scheme = _ADDRESS.match(href)
    return scheme is not None and len(scheme[0]) > len("C:") and scheme[0].lower() != "file:"


def _meta(document: str, page: MetsPage) -> tuple[tuple[str, str | int], ...]:
    label: tuple[tuple[str, str | int], ...] = (("page_label", page.label),) if page.label else ()
    return (("document", replace_surrogates(document)), ("page", page.order), *label)
