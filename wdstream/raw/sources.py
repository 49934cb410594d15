"""What lies in a folder of raw pages: PDFs, images and JSONL rows, in one fixed order, each with a stem for its keys.

A text file beside a PDF or an image is its sidecar (`sidecar.py`). An image without one, in or below a folder that
holds a JSONL file, is left to the rows of that file, which name their images. Names that start with a dot are passed
over. What is of no use is counted by suffix, so that nothing vanishes without a word.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from wdstream.errors import ConfigError
from wdstream.raw.keys import assign_stems

Kind = Literal["pdf", "image", "rows"]

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".jp2", ".avif", ".ppm", ".pgm")
_KINDS: dict[str, Kind] = {".pdf": "pdf", ".pdf.gz": "pdf", ".jsonl": "rows", **dict.fromkeys(_IMAGE_SUFFIXES, "image")}
_WITH_TEXT = ("pdf", "image")
_SIDECAR = re.compile(r"(?P<name>.*?)(?P<page>\.[1-9][0-9]*)?\.txt", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """One raw file.

    Attributes:
        path: relative to the folder, with forward slashes.
        kind: pdf, image or rows.
        num_bytes: its size.
        stem: what the keys of its pages start with; no other file of the folder has it.
    """

    path: str
    kind: Kind
    num_bytes: int
    stem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A folder of raw pages.

    Attributes:
        files: sources in the order of their paths.
        left_to_rows: images that belong to the rows of a JSONL file.
        ignored: number of files of no use, by suffix.
        unreadable: folders that could not be opened, with the reason.
        digest: 32 hex digits over names and sizes of all sources, sidecars and images of rows.
    """

    files: tuple[RawFile, ...]
    left_to_rows: int
    ignored: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]
    digest: str

    @property
    def num_bytes(self) -> int:
        """Size of all sources."""
        return sum(file.num_bytes for file in self.files)


@dataclass(slots=True)
class _Folder:
    """The files of one folder, name to size; whether rows lie in it or above it; entries that are no files at all."""

    path: str
    sizes: dict[str, int]
    has_rows: bool
    num_odd: int


class _Census:
    """Sorts the files of folders into sources, sidecars, images of rows, and the rest."""

    def __init__(self) -> None:
        self.files: list[RawFile] = []
        self.left_to_rows = 0
        self.ignored: Counter[str] = Counter()
        self._used: list[str] = []

    def add(self, folder: _Folder) -> None:
        """Take in the files of one folder."""
        sidecars = _sidecars(folder.sizes)
        texts = set[str]().union(*sidecars.values())
        if folder.num_odd:
            self.ignored["broken link or device"] += folder.num_odd
        for name, size in folder.sizes.items():
            path = f"{folder.path}{name}"
            _bare, suffix, kind = split_suffix(name)
            if kind == "image" and folder.has_rows and not sidecars[name]:
                self.left_to_rows += 1
            elif kind is not None:
                self.files.append(RawFile(path=path, kind=kind, num_bytes=size))
            elif name not in texts:
                self.ignored[suffix.lower() or "no suffix"] += 1
                continue
            self._used.append(f"{path}\0{size}\n")

    def digest(self) -> str:
        """Names and sizes of every file that is used, as 32 hex digits."""
        lines = "".join(sorted(self._used)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(lines, digest_size=16).hexdigest()


def list_sources(raw: Path, *, exclude: Path | None = None) -> Listing:
    """List a folder and all below it; links are followed, once.

    Args:
        raw: the folder.
        exclude: a folder below it that is passed over, the output say.

    Raises:
        ConfigError: `raw` is no folder that can be listed.
    """
    if not raw.is_dir():
        found = "a file" if raw.exists() else "nothing there"
        raise ConfigError(f"{raw}: expected a folder of PDFs, images and JSONL files, found {found}")
    unreadable: list[tuple[str, str]] = []
    census = _Census()
    for folder in _walk(raw, "", frozenset(), exclude.resolve() if exclude else None, unreadable, False):
        census.add(folder)
    if unreadable and unreadable[0][0] == "":
        raise ConfigError(f"{raw}: {unreadable[0][1]}")
    files = sorted(census.files, key=lambda file: file.path)
    stems = assign_stems([split_suffix(file.path)[:2] for file in files])
    return Listing(
        files=tuple(replace(file, stem=stem) for file, stem in zip(files, stems, strict=True)),
        left_to_rows=census.left_to_rows,
        ignored=dict(sorted(census.ignored.items())),
        unreadable=tuple(unreadable),
        digest=census.digest(),
    )


def split_suffix(name: str) -> tuple[str, str, Kind | None]:
    """A file name without its suffix, the suffix, and what the file is: (`a.b`, `.pdf.gz`, `pdf`) of `a.b.pdf.gz`."""
    lower = name.lower()
    for suffix, kind in _KINDS.items():
        if lower.endswith(suffix) and lower != suffix:
            return name[: -len(suffix)], name[-len(suffix) :], kind
    path = PurePosixPath(name)
    return path.stem, path.suffix, None


def _sidecars(sizes: Mapping[str, int]) -> dict[str, set[str]]:
    """Text files of a folder by the source they stand beside."""
    texts: dict[str, set[str]] = {}
    for name in sizes:
        match = _SIDECAR.fullmatch(name)
        if match:
            texts.setdefault(match["name"], set()).add(name)
            if match["page"]:
                texts.setdefault(match["name"] + match["page"], set()).add(name)
    sources = [(name, bare) for name in sizes for bare, _suffix, kind in (split_suffix(name),) if kind in _WITH_TEXT]
    return {name: texts.get(name, set()) | texts.get(bare, set()) for name, bare in sources}


def _walk(
    folder: Path,
    path: str,
    above: frozenset[tuple[int, int]],
    exclude: Path | None,
    unreadable: list[tuple[str, str]],
    has_rows: bool,
) -> Iterator[_Folder]:
    """The folder and those below it; `above` are the folders it lies in, by device and inode."""
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
    has_rows = has_rows or any(split_suffix(name)[2] == "rows" for name in sizes)
    num_odd = is_folder.count(False) - is_file.count(True)
    yield _Folder(path=path, sizes=sizes, has_rows=has_rows, num_odd=num_odd)
    for entry, is_sub in zip(entries, is_folder, strict=True):
        below = Path(entry.path)
        if is_sub and not (exclude is not None and below.resolve() == exclude):
            yield from _walk(below, f"{path}{entry.name}/", above | {here}, exclude, unreadable, has_rows)
