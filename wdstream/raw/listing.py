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
from pathlib import Path, PurePosixPath

from wdstream.errors import ConfigError
from wdstream.raw.folder_state import OUTPUT_MARK, FolderState, is_output_folder, is_read_by_name, walk_raw
from wdstream.raw.folders import LEADS_OUT, Folder, FoundFile
from wdstream.raw.mets.finding import find_mets, read_all
from wdstream.raw.mets.groups import NO_GROUPS, MetsGroups
from wdstream.raw.mets.workspace import MetsImage, MetsWorkspace
from wdstream.raw.registry import (
    companion_names,
    doubtful_suffixes,
    page_suffixes,
    source_of_file,
    without_suffix,
)
from wdstream.raw.remote.access import is_raw_file, is_raw_folder, open_raw, raw_names, shown_raw
from wdstream.raw.source import RawFile, Source
from wdstream.raw.stems import assign_stems
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
        ignored: number of files of no use, by suffix, and of links to files that are read by their own names.
        outputs: folders that are passed over, as an earlier job of make-shards wrote them.
        unreadable: folders, links and pipes that cannot be read, with the reason.
        digest: 32 hex digits over names and sizes of all raw files, sidecars and images of rows.
        texts_left: text files that are not used.
        stamps: of each of those files, by path, its size and times of change, as one text.
        state: `folder_state` as it was listed; empty where that is not known.
    """

    files: tuple[RawFile, ...]
    left_to_rows: tuple[str, ...]
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
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A folder as it was walked.

    Attributes:
        folder: with its files.
        sources: which read which of them.
        has_rows: whether rows may name its images.
        copies: compressed tars next to a plain one.
        described: what is next to tars with what is in them.
    """

    folder: Folder
    sources: Mapping[str, Source]
    has_rows: bool
    copies: Mapping[str, str]
    described: Collection[str]


class Stamps(Mapping[str, str]):
    """Size and times of change of each file, by path, as one text; made when it is asked for, as there are millions."""

    def __init__(self, files: Mapping[str, FoundFile]) -> None:
        self._files = files

    def __getitem__(self, path: str) -> str:
        found = self._files[path]
        return f"{found.num_bytes} {found.version}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


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
        self.files: list[RawFile] = []
        self.left_to_rows: list[str] = []
        self.ignored: Counter[str] = Counter()
        self.outputs: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.used: dict[str, FoundFile] = {}
        self.unused_texts: Counter[str] = Counter()
        self.unknown_texts: list[tuple[str, str]] = []
        self.unmatched_texts: list[str] = []
        self._raw = raw
        self._keep_layers = keep_layers
        self._texts = TextFinder(text_from=text_from, read_head=self._read_head)
        self._has_rows: dict[str, bool] = {}
        self._read_whole: list[str] = []
        self._listed: list[_Listed] = []
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
        copies, described = packed_copies(folder.files), descriptions(folder.files)
        sources = self._sources(folder, copies, described)
        above = path[: path.rstrip("/").rfind("/") + 1]
        has_rows = self._has_rows.get(above, False) or any(source.names_images for source in sources.values())
        has_rows = has_rows or path.startswith(self._image_folders)
        self._has_rows[path] = has_rows
        self._texts.add(path, [name for name in folder.files if name not in sources])
        self._listed.append(
            _Listed(folder=folder, sources=sources, has_rows=has_rows, copies=copies, described=described)
        )

    def _sources(self, folder: Folder, copies: Mapping[str, str], described: Collection[str]) -> dict[str, Source]:
        """The files of one folder that a source reads, without those that would give the samples of a tar again."""
        owned = _owned_by_pages(folder)
        names = [name for name in folder.files if name not in owned]
        path = self._raw / folder.path
        found = {name: source for name in names if (source := source_of_file(path / name))}
        for name, plain in copies.items():
            reason = f"is next to {plain}, of which it seems to be a copy; remove one, or give it another name"
            self.unreadable.append((f"{folder.path}{name}", reason))
        return {name: source for name, source in found.items() if name not in copies and name not in described}

    def sort_out(self) -> None:
        """Sort the files of all folders, once every one has been added: texts may be in other folders."""
        described = self._read_mets()
        others = [(listed, [*self._add_files(listed)]) for listed in self._listed]
        chosen = {text for file in self.files for text in file.texts}
        for listed, name in ((listed, name) for listed, names in others for name in names):
            path = f"{listed.folder.path}{name}"
            if path in chosen:
                self._use(path, listed.folder)
            elif name in listed.described:
                self.ignored["next to tars, with what is in them"] += 1
            elif not self._texts.is_matched(listed.folder.path, name) and path not in described:
                self.ignored[short_name(without_suffix(name)[1].lower(), most=24) or "no suffix"] += 1
                self.unmatched_texts += [path] if says_text(name) else []
        self.empty_folders = (*self._texts.empty_folders(),)

    def _read_mets(self) -> set[str]:
        """Read the METS files of all folders, whose paths are returned; a damaged one changes nothing."""
        found = {path: listed.folder for listed in self._listed for path in self._find_mets(listed)}
        if found:
            self._kinds = {
                one.folder.path + name: _kind(one, name) for one in self._listed for name in one.folder.files
            }
        for path, digest in read_all(self._raw, found, self.mets, self.unreadable):
            self._use(path, found[path])
            self._read_whole.append(f"{path}\0{digest}\n")
        return {*found}

    def _find_mets(self, listed: _Listed) -> Iterator[str]:
        bare = {without_suffix(name)[0] for name in listed.sources}
        others = [name for name in listed.folder.files if name not in listed.sources]
        return find_mets(listed.folder.path, others, bare, self._read_head)

    def _add_files(self, listed: _Listed) -> Iterator[str]:
        """Take in the raw files of one folder and the files of sidecar.py; yields the names of all others."""
        folder, sources = listed.folder, listed.sources
        bare_names = {name: without_suffix(name)[0] for name, source in sources.items() if source.takes_sidecar}
        sidecars = find_sidecars(folder.files, bare_names)
        sidecar_names = set[str]().union(*sidecars.values())
        for name, found in folder.files.items():
            path, source = f"{folder.path}{name}", sources.get(name)
            if source is None:
                if name in sidecar_names or name in listed.copies:
                    self._use(path, folder)
                elif name not in companion_names():
                    yield name
                continue
            if path in self.mets.unused:
                continue
            file = RawFile(path=path, kind=source.kind, num_bytes=found.num_bytes)
            if source.takes_sidecar:
                file = self._with_texts(file, folder, source, sidecars[name])
            if source.may_belong_to_rows and listed.has_rows and not sidecars[name] and not file.texts:
                self.left_to_rows.append(path)
            else:
                self.files.append(file)
            self._use(path, folder)

    def _with_texts(self, file: RawFile, folder: Folder, source: Source, sidecars: Collection[str]) -> RawFile:
        """A raw file with the texts that are found for it."""
        name = file.path[len(folder.path) :]
        bare = without_suffix(name)[0]
        has_layer = not source.may_belong_to_rows
        if has_layer and self._keep_layers:
            return file
        stated = self.mets.images.get(file.path, _NO_METS)
        has_sidecar = bool(sidecars)
        found = self._texts.find(folder.path, name, bare, stated.texts, has_sidecar=has_sidecar, has_layer=has_layer)
        self.unused_texts.update(found.unused)
        self.unknown_texts += found.unknown
        near = None if has_sidecar or found.chosen else self._texts.near(name, bare)
        beside = None if folder.trouble else (*sorted(sidecars),)  # whoever reads a link that leads out refuses it
        return file.changed(texts=found.chosen, near=near, sidecars=beside, meta=stated.meta)

    def _use(self, path: str, folder: Folder) -> None:
        """Note a file that decides what is in the shards."""
        self.used[path] = folder.files[path[len(folder.path) :]]

    def _read_head(self, path: str, num_bytes: int) -> bytes:
        try:
            with open_raw(self._raw / path) as file:
                return file.read(num_bytes)
        except OSError:  # it is no text then, which is said
            return b""

    def in_order(self) -> tuple[RawFile, ...]:
        """The raw files in their order, with their stems; once, as they are not kept twice."""
        files = self.mets.in_order(sorted(self.files, key=lambda file: file.path))
        self.files.clear()
        for number, stem in enumerate(assign_stems([without_suffix(file.path) for file in files])):
            files[number] = files[number].changed(stem=stem)
        return tuple(files)

    def digest(self) -> str:
        """Names and sizes of every file that is used, as 32 hex digits."""
        content = hashlib.blake2b(digest_size=16)
        sizes = (f"{path}\0{self.used[path].num_bytes}\n" for path in sorted(self.used))
        for line in merge(sizes, sorted(self._read_whole)):
            content.update(line.encode("utf-8", "surrogatepass"))
        return content.hexdigest()


def _kind(listed: _Listed, name: str) -> str | None:
    """The kind of a file that METS may say is a page, None for any other."""
    source = listed.sources.get(name)
    return source.kind if source is not None and source.takes_sidecar else None


def _owned_by_pages(folder: Folder) -> set[str]:
    """Files that may be rows by their names, but are called like an image or a PDF next to them: they belong to it."""
    doubtful = {name: without_suffix(name)[0] for name in folder.files if name.lower().endswith(doubtful_suffixes())}
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
    if census.unreadable and census.unreadable[0][0] == "":
        raise ConfigError(f"{shown_raw(raw)}: {census.unreadable[0][1]}")
    census.sort_out()
    return Listing(
        files=census.in_order(),
        left_to_rows=tuple(census.left_to_rows),
        ignored=dict(sorted(census.ignored.items())),
        outputs=tuple(census.outputs),
        unreadable=tuple(census.unreadable),
        digest=census.digest(),
        stamps=Stamps(census.used),
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
