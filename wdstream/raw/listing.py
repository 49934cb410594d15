"""What is in a folder of raw pages: the files that sources read, in one fixed order, each with a stem for its keys.

A text file next to a PDF or an image is its sidecar (sidecar.py). An image without one, in or below a folder that
holds a JSONL file, is left to the rows of that file, which name their images. Names that start with a dot are passed
over. What is of no use is counted by suffix, so that nothing vanishes without a word.

Keys are made from the file's path, safe in a tar, unique in the folder, the same in every run:

    pdf/report.v2.pdf, page 3       pdf/report_v2@0003
    scans/a.jpg                     scans/a
    rows/mixed.jsonl, line 12       rows/mixed@000012

What is before `@` is the stem. `@` is in no stem, so that no numbered key can equal another file's.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.raw.registry import source_of_file, without_suffix
from wdstream.raw.sidecar import find_sidecars
from wdstream.raw.source import RawFile, Source

_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]")
# A tar header holds 155 characters of folder and 100 of name; a hash, "@", a number and the extension come after.
_MAX_FOLDER = 120
_MAX_NAME = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A folder of raw pages.

    Attributes:
        files: raw files in the order of their paths, not yet surveyed.
        left_to_rows: images that belong to the rows of a JSONL file.
        ignored: number of files of no use, by suffix.
        unreadable: folders that could not be opened, with the reason.
        digest: 32 hex digits over names and sizes of all raw files, sidecars and images of rows.
    """

    files: tuple[RawFile, ...]
    left_to_rows: int
    ignored: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]
    digest: str

    @property
    def num_bytes(self) -> int:
        """Size of all raw files."""
        return sum(file.num_bytes for file in self.files)


@dataclass(slots=True)
class _Folder:
    """The files of one folder: name to size, and to its source, if any.

    `has_rows`: whether rows are in it or above it; `num_odd`: entries that are neither files nor folders.
    """

    path: str
    sizes: dict[str, int]
    sources: dict[str, Source]
    has_rows: bool
    num_odd: int


class _Census:
    """Sorts the files of folders into raw files, sidecars, images of rows, and the rest."""

    def __init__(self) -> None:
        self.files: list[RawFile] = []
        self.left_to_rows = 0
        self.ignored: Counter[str] = Counter()
        self._used: list[str] = []

    def add(self, folder: _Folder) -> None:
        """Take in the files of one folder."""
        bare_names = {name: without_suffix(name)[0] for name, source in folder.sources.items() if source.takes_sidecar}
        sidecars = find_sidecars(folder.sizes, bare_names)
        texts = set[str]().union(*sidecars.values())
        if folder.num_odd:
            self.ignored["broken link or device"] += folder.num_odd
        for name, size in folder.sizes.items():
            path, source = f"{folder.path}{name}", folder.sources.get(name)
            if source and source.is_named and folder.has_rows and not sidecars[name]:
                self.left_to_rows += 1
            elif source:
                self.files.append(RawFile(path=path, kind=source.kind, num_bytes=size))
            elif name not in texts:
                self.ignored[without_suffix(name)[1].lower() or "no suffix"] += 1
                continue
            self._used.append(f"{path}\0{size}\n")

    def digest(self) -> str:
        """Names and sizes of every file that is used, as 32 hex digits."""
        lines = "".join(sorted(self._used)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(lines, digest_size=16).hexdigest()


def list_files(raw: Path, *, exclude: Path | None = None) -> Listing:
    """List a folder and all below it; links are followed, once.

    Args:
        raw: the folder.
        exclude: a folder below it that is passed over, such as the output.

    Raises:
        ConfigError: `raw` is not a folder that can be listed.
    """
    if not raw.is_dir():
        actual = "a file" if raw.exists() else "nothing there"
        raise ConfigError(f"{raw}: expected a folder of PDFs, images and JSONL files, found {actual}")
    unreadable: list[tuple[str, str]] = []
    census = _Census()
    for folder in _walk(raw, "", frozenset(), exclude.resolve() if exclude else None, unreadable, False):
        census.add(folder)
    if unreadable and unreadable[0][0] == "":
        raise ConfigError(f"{raw}: {unreadable[0][1]}")
    files = sorted(census.files, key=lambda file: file.path)
    stems = assign_stems([without_suffix(file.path) for file in files])
    return Listing(
        files=tuple(replace(file, stem=stem) for file, stem in zip(files, stems, strict=True)),
        left_to_rows=census.left_to_rows,
        ignored=dict(sorted(census.ignored.items())),
        unreadable=tuple(unreadable),
        digest=census.digest(),
    )


def _walk(
    folder: Path,
    path: str,
    above: frozenset[tuple[int, int]],
    exclude: Path | None,
    unreadable: list[tuple[str, str]],
    has_rows: bool,
) -> Iterator[_Folder]:
    """The folder and those below it; `above` are the folders it is in, by device and inode."""
    try:
        entries = sorted((e for e in os.scandir(folder) if not e.name.startswith(".")), key=lambda e: e.name)
        state = folder.stat()
        is_folder = [entry.is_dir() for entry in entries]
        is_file = [entry.is_file() for entry in entries]
        sizes = {entry.name: entry.stat().st_size for entry, wanted in zip(entries, is_file, strict=True) if wanted}
    except OSError as error:
        unreadable.append((path.rstrip("/"), f"cannot be listed: {error.strerror}"))
        return
    here = (state.st_dev, state.st_ino)
    if here in above:  # a link back to a folder that is being walked
        return
    sources = {name: source for name in sizes if (source := source_of_file(folder / name))}
    has_rows = has_rows or any(source.names_images for source in sources.values())
    num_odd = is_folder.count(False) - is_file.count(True)
    yield _Folder(path=path, sizes=sizes, sources=sources, has_rows=has_rows, num_odd=num_odd)
    for entry, is_sub in zip(entries, is_folder, strict=True):
        below = Path(entry.path)
        if is_sub and not (exclude is not None and below.resolve() == exclude):
            yield from _walk(below, f"{path}{entry.name}/", above | {here}, exclude, unreadable, has_rows)


def assign_stems(paths: Sequence[tuple[str, str]]) -> list[str]:
    """A stem for each raw file; files that would share one have their suffix appended, then a hash of their path.

    Args:
        paths: (path without suffix, suffix) of each file, relative, with forward slashes, all different.
    """
    stems = [_stem(bare) for bare, _suffix in paths]
    stems = _set_apart(stems, [_UNSAFE.sub("", suffix.rpartition(".")[2].lower()) for _bare, suffix in paths])
    return _set_apart(stems, [_digest(bare + suffix) for bare, suffix in paths])


def _stem(bare: str) -> str:
    folder, slash, name = _UNSAFE.sub("_", bare).rpartition("/")
    # Names in other scripts would all become underscores; long ones are cut.
    if not bare.isascii() or len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}-{_digest(bare)}"
    if len(folder) > _MAX_FOLDER:
        folder = _digest(folder)
    stem = f"{folder}{slash}{name}"
    return f"k{stem}" if stem.startswith("__") else stem  # readers of tar shards keep names in __ for metadata


def _set_apart(stems: list[str], endings: list[str]) -> list[str]:
    """Append its ending to every stem that several files share."""
    times = Counter(stems)
    return [stem if times[stem] == 1 else f"{stem}-{ending}" for stem, ending in zip(stems, endings, strict=True)]


def _digest(path: str) -> str:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
