"""What is in a folder of raw pages: the files that sources read, in one fixed order, each with a stem for its keys.

A text file next to a PDF or an image is its sidecar (sidecar.py). An image without one, in or below a folder that
holds a JSONL file, is left to the rows of that file, which name their images. Names that start with a dot are passed
over. What is of no use is counted by suffix, so that nothing vanishes without a word.

Keys are made from the file's path, safe in a tar, unique in the folder, the same every time:

    pdf/report.v2.pdf, page 3       pdf/report_v2@0003
    scans/a.jpg                     scans/a
    rows/mixed.jsonl, line 12       rows/mixed@000012

What is before `@` is the stem. `@` is in no stem, so that no numbered key can equal another file's.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
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


class _Census:
    """Sorts the files of a folder and all below it into raw files, sidecars, images of rows, and the rest."""

    def __init__(self, exclude: Path | None) -> None:
        self.files: list[RawFile] = []
        self.left_to_rows = 0
        self.ignored: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self._exclude = exclude
        self._used: list[str] = []

    def walk(self, folder: Path, path: str, above: frozenset[tuple[int, int]], has_rows: bool) -> None:
        """Take in a folder and those below it.

        Args:
            folder: to list.
            path: of the folder, relative, with a slash at its end; empty for the raw folder.
            above: the folders it is in, by device and inode.
            has_rows: whether rows are in one of those.
        """
        try:
            entries = sorted((e for e in os.scandir(folder) if not e.name.startswith(".")), key=lambda e: e.name)
            state = folder.stat()
            folders = [entry for entry in entries if entry.is_dir()]
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except OSError as error:
            self.unreadable.append((path.rstrip("/"), f"cannot be listed: {error.strerror}"))
            return
        here = (state.st_dev, state.st_ino)
        if here in above:  # a link back to a folder that is being walked
            return
        num_odd = len(entries) - len(folders) - len(sizes)
        if num_odd:
            self.ignored["broken link or device"] += num_odd
        sources = {name: source for name in sizes if (source := source_of_file(folder / name))}
        has_rows = has_rows or any(source.names_images for source in sources.values())
        self._add(path, sizes, sources, has_rows)
        for entry in folders:
            below = Path(entry.path)
            if self._exclude is None or below.resolve() != self._exclude:
                self.walk(below, f"{path}{entry.name}/", above | {here}, has_rows)

    def _add(self, folder: str, sizes: Mapping[str, int], sources: Mapping[str, Source], has_rows: bool) -> None:
        """Take in the files of one folder: name to size, and to source, where one reads it."""
        bare_names = {name: without_suffix(name)[0] for name, source in sources.items() if source.takes_sidecar}
        sidecars = find_sidecars(sizes, bare_names)
        texts = set[str]().union(*sidecars.values())
        for name, size in sizes.items():
            path, source = f"{folder}{name}", sources.get(name)
            if source and source.may_belong_to_rows and has_rows and not sidecars[name]:
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
    census = _Census(exclude.resolve() if exclude else None)
    census.walk(raw, "", frozenset(), has_rows=False)
    if census.unreadable and census.unreadable[0][0] == "":
        raise ConfigError(f"{raw}: {census.unreadable[0][1]}")
    files = sorted(census.files, key=lambda file: file.path)
    stems = assign_stems([without_suffix(file.path) for file in files])
    return Listing(
        files=tuple(replace(file, stem=stem) for file, stem in zip(files, stems, strict=True)),
        left_to_rows=census.left_to_rows,
        ignored=dict(sorted(census.ignored.items())),
        unreadable=tuple(census.unreadable),
        digest=census.digest(),
    )


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
