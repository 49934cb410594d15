"""What is in a folder of raw pages: the files that sources read, in one fixed order, each with a stem for its keys.

A text file of its name next to a PDF or an image, or in a folder of texts, is its text (texts/). An image without one,
in or below a folder that holds a JSONL file, is left to the rows of that file, which name their images. Names that
start with a dot are passed over. What is of no use is counted by suffix, so that nothing vanishes without a word.

What keys are made of is in stems.py.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

from wdstream.errors import ConfigError
from wdstream.raw.folder_state import OUTPUT_MARK, FolderState, is_output_folder, is_read_by_name, walk_raw
from wdstream.raw.folders import LEADS_OUT, Folder
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listed.folders import FolderTree, ListedFolder, OpenFolder, Stamps, above
from wdstream.raw.listed.packed import PackedList, TextHashes, pack_many, packed_texts, unpack_many
from wdstream.raw.mets.finding import find_mets, read_all
from wdstream.raw.mets.groups import NO_GROUPS, MetsGroups
from wdstream.raw.mets.workspace import MetsImage, MetsWorkspace
from wdstream.raw.registry import (
    companion_names,
    doubtful_suffixes,
    page_suffixes,
    source_of_kind,
    source_of_name,
    without_suffix,
)
from wdstream.raw.remote.access import is_raw_file, is_raw_folder, open_raw, raw_names, shown_raw
from wdstream.raw.source import RawFile, Source
from wdstream.raw.stems import Stems, short_stem
from wdstream.raw.tars.neighbours import descriptions, packed_copies
from wdstream.raw.texts.finder import TextFinder, TextsLeft
from wdstream.raw.texts.names import says_text
from wdstream.raw.texts.sidecar import find_sidecars
from wdstream.text.characters import short_name

_NO_METS = MetsImage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A folder of raw pages.

    Attributes:
        files: raw files in the order of their paths, and of pages in a METS document, not yet surveyed.
        left_to_rows: paths of images that belong to the rows of a JSONL file.
        ignored: number of files of no use by suffix, of hidden names, and of links to files that are read by their own
            names.
        outputs: folders that are passed over, as make-shards or index wrote them before.
        unreadable: folders, links and pipes that cannot be read, with the reason.
        digest: 32 hex digits over names and sizes of all raw files, sidecars and images of rows.
        texts_left: text files that are not used.
        stamps: of each of those files, by path, in this order, its size and times of change, as one text.
        state: `folder_state` as it was listed; empty where that is not known.
    """

    files: RawFiles
    left_to_rows: Sequence[str]
    ignored: Mapping[str, int]
    outputs: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    digest: str
    stamps: Mapping[str, str]
    texts_left: TextsLeft
    state: str = ""

    @property
    def num_bytes(self) -> int:
        """Size of all raw files."""
        return self.files.num_bytes

    @property
    def kinds(self) -> set[str]:
        """Kinds of all raw files."""
        return {*self.files.kinds}


class _Census:
    """Sorts the files of a folder and all below it into raw files, their texts, images of rows, and the rest.

    Args:
        raw: the folder.
        text_from: as `RawSettings.text_from`.
        mets_groups: groups of METS that are preferred.
        keep_layers: whether PDFs take no text from other files.
        image_folders: whose images belong to rows.
    """

    def __init__(
        self,
        raw: Path,
        text_from: Sequence[str],
        mets_groups: MetsGroups,
        *,
        keep_layers: bool,
        image_folders: Sequence[str],
    ) -> None:
        self._image_folders = tuple(f"{name.strip('/')}/" for name in image_folders)
        self.tree = FolderTree()
        self.left_to_rows = packed_texts()
        self.ignored: Counter[str] = Counter()
        self.outputs: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.unused_texts: Counter[str] = Counter()
        self.unknown_texts: list[tuple[str, str]] = []
        self.unmatched_texts: list[str] = []
        self._raw = raw
        self._keep_layers = keep_layers
        self._texts = TextFinder(text_from=text_from, read_head=self._read_head)
        self._has_rows: dict[str, bool] = {}
        self._read_whole: list[str] = []
        self._stems = Stems()
        self._mets_in: dict[str, ListedFolder] = {}
        self._chosen = TextHashes()
        self._kinds: dict[str, str | None] = {}
        self.mets = MetsWorkspace(mets_groups, lambda path: self._kinds[path])

    def add(self, folder: Folder) -> None:
        """Take in a folder, after the one that it is in."""
        path = folder.path
        if folder.is_output:
            self.outputs.append(path.rstrip("/"))
            return
        for name, reason in folder.trouble:
            if not name or is_read_by_name(name) or reason == LEADS_OUT or Path(name).suffix.lower() in ("", ".txt"):
                self.unreadable.append((f"{path}{name}" if name else path.rstrip("/"), reason))
            else:
                self.ignored["broken link, pipe or device"] += 1
        if folder.passed_over:
            self.ignored["links to files that are read by their own names"] += folder.passed_over
        if folder.hidden:
            self.ignored["names that begin with a dot"] += folder.hidden
        copies = packed_copies(folder.files)
        described = descriptions(folder.files, lambda name: is_raw_folder(self._raw / path / name))
        sources = self._sources(folder, copies, described)
        has_rows = self._has_rows.get(above(path), False) or any(source.names_images for source in sources.values())
        has_rows = has_rows or path.startswith(self._image_folders)
        self._has_rows[path] = has_rows
        listed = ListedFolder.of(folder, sources, has_rows=has_rows, copies=copies, described=described)
        self.tree.add(listed)
        others = [name for name in folder.files if name not in sources]
        self._texts.add(path, others)
        self._mets_in |= dict.fromkeys(find_mets(path, others, sources, self._read_head), listed)

    def _sources(self, folder: Folder, copies: Mapping[str, str], described: Collection[str]) -> dict[str, Source]:
        """The files of one folder that a source reads, without those that would give the samples of a tar again."""
        owned = _owned_by_pages(folder)
        names = [name for name in folder.files if name not in owned]
        path = self._raw / folder.path
        left_out = copies.keys() | described
        found = ((name, source_of_name(path, name)) for name in names)
        for name, plain in copies.items():
            reason = f"is next to {plain}, of which it seems to be a copy; remove one, or give it another name"
            self.unreadable.append((f"{folder.path}{name}", reason))
        return {name: source for name, source in found if source is not None and name not in left_out}

    def sort_out(self) -> None:
        """Sort the files of all folders, once every one has been added: texts may be in other folders."""
        described = self._read_mets()
        for listed in self.tree:
            self._add_files(listed)
        for listed in self.tree:
            if listed.others:
                self._add_others(listed, described)
        self.empty_folders = (*self._texts.empty_folders(),)

    def _add_others(self, listed: ListedFolder, described: Collection[str]) -> None:
        """Tell apart the files of a folder that are neither raw files nor theirs by their names alone."""
        used = set[str]()
        for name in unpack_many(listed.others):
            path = f"{listed.path}{name}"
            if path in self._chosen:
                used.add(name)
            elif name in listed.described:
                self.ignored["next to tars or folders, with what is in them"] += 1
            elif not self._texts.is_matched(listed.path, name) and path not in described:
                self.ignored[short_name(without_suffix(name)[1].lower(), most=24) or "no suffix"] += 1
                self.unmatched_texts += [path] if says_text(name) else []
        listed.use(listed.open().names if used else (), used)
        listed.others = ()

    def _read_mets(self) -> set[str]:
        """Read the METS files of all folders, whose paths are returned; a damaged one changes nothing."""
        found = self._mets_in
        if found:
            self._kinds = {one.path + name: kind for one in self.tree for name, kind in _kinds(one.open())}
        for path, digest in read_all(self._raw, found, self.mets, self.unreadable):
            found[path].use(found[path].open().names, {path[len(found[path].path) :]})
            self._read_whole.append(f"{path}\0{digest}\n")
        return {*found}

    def _add_files(self, listed: ListedFolder) -> None:
        """Take in the raw files of one folder and the files of sidecar.py; all others are noted for later."""
        folder = listed.open()
        sources = {kind: None if kind is None else source_of_kind(kind) for kind in {*folder.kinds}}
        bare_names = {name: without_suffix(name)[0] for name, kind in _kinds(folder) if kind is not None}
        sidecars = find_sidecars(folder.names, bare_names)
        sidecar_names = {*chain.from_iterable(sidecars.values())}
        rows: PackedList[tuple[Any, ...]] = PackedList(tuple, tuple)
        used, others = set[str](), list[str]()
        for name, kind, num_bytes in zip(folder.names, folder.kinds, folder.sizes, strict=True):
            source = sources[kind]
            if source is None:
                if name in sidecar_names or name in listed.copies:
                    used.add(name)
                elif name not in companion_names():
                    others.append(name)
                continue
            path = f"{listed.path}{name}"
            if path in self.mets.unused:
                continue
            bare = bare_names.get(name) or without_suffix(name)[0]
            file = self._raw_file(listed, (name, bare), source, num_bytes, sidecars.get(name, ()))
            if source.may_belong_to_rows and listed.has_rows and not sidecars.get(name) and not file.texts:
                self.left_to_rows.append(path)
            else:
                rows.append_plain(tuple(file))
                self._stems.add(file.stem)
            used.add(name)
        listed.use(folder.names, used)
        listed.raw_files, listed.others = rows.packed(), pack_many(others)

    def _raw_file(
        self, listed: ListedFolder, names: tuple[str, str], source: Source, num_bytes: int, sidecars: Collection[str]
    ) -> RawFile:
        """A raw file, of this name with its suffix and without, with the texts that are found for it."""
        name, bare = names
        path = f"{listed.path}{name}"
        stem = short_stem(f"{listed.path}{bare}")
        is_document = not source.may_belong_to_rows
        if not source.takes_sidecar or (is_document and self._keep_layers):
            return RawFile(path=path, kind=source.kind, num_bytes=num_bytes, stem=stem)
        stated = self.mets.images.get(path, _NO_METS)
        has_sidecar = bool(sidecars)
        found = self._texts.find(listed.path, name, bare, stated.texts, has_sidecar=has_sidecar, has_layer=is_document)
        if found.unused or found.unknown:
            self.unused_texts.update(found.unused)
            self.unknown_texts += found.unknown
        near = None if has_sidecar or found.chosen else self._texts.near(listed.path, name, bare)
        beside = (
            None if listed.has_trouble else (*sorted(sidecars),)
        )  # a link that leads out is refused when it is read
        for text in found.chosen:
            self._chosen.add(text)
        return RawFile(
            path=path,
            kind=source.kind,
            num_bytes=num_bytes,
            stem=stem,
            texts=found.chosen,
            near=near,
            sidecars=beside,
            meta=stated.meta,
        )

    def _read_head(self, path: str, num_bytes: int) -> bytes:
        try:
            with open_raw(self._raw / path) as file:
                return file.read(num_bytes)
        except OSError:  # it is no text then, which is said
            return b""

    def in_order(self) -> RawFiles:
        """The raw files in their order, with their stems."""
        is_any_shared = self._stems.settle(lambda: (row[0] for folder in self.tree for row in _rows(folder)))
        rows = self.tree.in_path_order(_rows, itemgetter(0))
        packed = RawFiles()
        if self.mets.images or is_any_shared:
            for file in self.mets.in_order(map(RawFile._make, rows)):
                packed.append(file._replace(stem=self._stems.stem(file.path)))
        else:
            for row in rows:
                packed.append_plain(row)
        for folder in self.tree:
            folder.raw_files = ()
        return packed

    def digest(self) -> str:
        """Names and sizes of every file that is used, as 32 hex digits."""
        content = hashlib.blake2b(digest_size=16)
        used = self.tree.in_path_order(ListedFolder.stamps, lambda entry: entry[0])
        sizes = (f"{path}\0{num_bytes}\n" for path, num_bytes, _version in used)
        for line in merge(sizes, sorted(self._read_whole)) if self._read_whole else sizes:
            content.update(line.encode("utf-8", "surrogatepass"))
        return content.hexdigest()


def _rows(folder: ListedFolder) -> Iterator[tuple[Any, ...]]:
    """Records of the raw files of a folder."""
    return unpack_many(folder.raw_files)


def _kinds(folder: OpenFolder) -> Iterator[tuple[str, str | None]]:
    """The kind of each file that METS may say is a page, None for any other."""
    pages = {kind for kind in {*folder.kinds} if kind is not None and source_of_kind(kind).takes_sidecar}
    return zip(folder.names, (kind if kind in pages else None for kind in folder.kinds), strict=True)


def _owned_by_pages(folder: Folder) -> set[str]:
    """Files that may be rows by their names, but are called like an image or a PDF next to them: they belong to it."""
    endings = doubtful_suffixes()
    doubtful = {name: without_suffix(name)[0] for name in folder.files if name.lower().endswith(endings)}
    if not doubtful:
        return set()
    pages = {without_suffix(name)[0] for name in folder.files if name.lower().endswith(page_suffixes())}
    return {name for name, bare in doubtful.items() if bare in pages or bare in folder.files}


def list_files(
    raw: Path,
    *,
    exclude: Path | None = None,
    allow_outside_links: bool = False,
    text_from: Sequence[str] = (),
    mets_groups: MetsGroups = NO_GROUPS,
    keep_layers: bool = False,
    image_folders: Sequence[str] = (),
    on_found: Callable[[int], None] | None = None,
) -> Listing:
    """List a folder and all below it; see folders.py for links.

    Args:
        raw: the folder.
        exclude: a folder below it that is passed over, such as the output.
        allow_outside_links: follow links that lead out of the folder.
        text_from: where texts of pages are, and in which format, as `RawSettings.text_from`.
        mets_groups: groups of METS that are preferred, as `RawSettings.mets_images` and `mets_texts`.
        keep_layers: PDFs take no text from other files.
        image_folders: whose images belong to rows, as `RawSettings.image_folders`.
        on_found: called after each folder with the number of files so far.

    Raises:
        ConfigError: `raw` is not a folder that can be listed, or lacks one of `image_folders`.
    """
    _check_folder(raw, image_folders)
    census = _Census(raw, text_from, mets_groups, keep_layers=keep_layers, image_folders=image_folders)
    state, num_found = FolderState(), 0
    for folder in walk_raw(raw, exclude, allow_outside=allow_outside_links):
        state.add(folder)
        census.add(folder)
        num_found += len(folder.files)
        if on_found is not None:
            on_found(num_found)
        del folder  # it may be large, and is packed
    if census.unreadable and census.unreadable[0][0] == "":
        raise ConfigError(f"{shown_raw(raw)}: {census.unreadable[0][1]}")
    census.sort_out()
    return Listing(
        files=census.in_order(),
        left_to_rows=census.left_to_rows,
        ignored=dict(sorted(census.ignored.items())),
        outputs=tuple(census.outputs),
        unreadable=tuple(census.unreadable),
        digest=census.digest(),
        stamps=Stamps(census.tree),
        texts_left=TextsLeft(
            unused=dict(sorted(census.unused_texts.items())),
            unknown=tuple(sorted(census.unknown_texts)),
            unmatched=tuple(sorted(census.unmatched_texts)),
            mets=tuple(census.mets.remarks()),
            empty=census.empty_folders,
        ),
        state=state.digest(),
    )


def _check_folder(raw: Path, image_folders: Sequence[str]) -> None:
    """Check that there is a folder of raw pages, with the folders that are named.

    Raises:
        ConfigError: there is not.
    """
    for name in image_folders:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not is_raw_folder(raw / name):
            raise ConfigError(
                f"--image-folder {name}: there is no such folder in {shown_raw(raw)}; give a path relative to it"
            )
    if not is_raw_folder(raw):
        actual = f"a file; give the folder that it is in, {raw.parent}" if raw.exists() else "nothing there"
        raise ConfigError(f"{shown_raw(raw)}: expected a folder of raw pages (docs/sources.md), found {actual}")
    if is_raw_file(raw / OUTPUT_MARK) and is_output_folder(raw_names(raw)):
        raise ConfigError(
            f"{shown_raw(raw)}: make-shards wrote this folder: its tars are shards already, and are used as they are"
        )
