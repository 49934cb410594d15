"""Folders as they were walked, packed; and what is in them, in the order of whole paths without sorting it."""

import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

from wdstream.raw.folders import Folder
from wdstream.raw.listed.packed import pack_many, unpack_many
from wdstream.raw.source import Source

_T = TypeVar("_T")
_FOLDERS_OPEN = 4


@dataclass(slots=True, kw_only=True)
class OpenFolder:
    """A folder with its files.

    Attributes:
        names: of them, in their order.
        kinds: of the source that reads each; None where none does.
        sizes: of each, in bytes.
    """

    names: Sequence[str]
    kinds: Sequence[str | None]
    sizes: Sequence[int]


@dataclass(slots=True, kw_only=True)
class ListedFolder:
    """A folder as it was walked, with its files packed.

    Attributes:
        path: relative to the raw folder, with a slash at its end; empty for the raw folder.
        has_trouble: whether a name in it cannot be read.
        has_rows: whether rows may name its images.
        copies: compressed tars next to a plain one.
        described: what is next to tars with what is in them.
        used: of each file, 1 where it decides what is in the shards.
        raw_files: packed records of its raw files.
        others: packed names of its files that are neither raw files nor theirs for certain.
    """

    path: str
    has_trouble: bool
    has_rows: bool
    copies: Mapping[str, str]
    described: Collection[str]
    used: bytes = b""
    raw_files: tuple[bytes, ...] = ()
    others: tuple[bytes, ...] = ()
    _files: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        folder: Folder,
        sources: Mapping[str, Source],
        *,
        has_rows: bool,
        copies: Mapping[str, str],
        described: Collection[str],
    ) -> "ListedFolder":
        """A folder of the walk, with the sources of its raw files by name."""
        kinds = {name: source.kind for name, source in sources.items()}
        files = ((name, kinds.get(name), num_bytes, version) for name, num_bytes, version in folder.files.sizes())
        listed = cls(
            path=folder.path,
            has_trouble=bool(folder.trouble),
            has_rows=has_rows,
            copies=copies,
            described=described,
        )
        listed._files = pack_many(files)
        return listed

    def open(self) -> OpenFolder:
        """Its files, unpacked for the moment."""
        names, kinds, sizes = list[str](), list[str | None](), array("q")
        for name, kind, num_bytes, _version in unpack_many(self._files):
            names.append(name)
            kinds.append(kind and sys.intern(kind))
            sizes.append(num_bytes)
        return OpenFolder(names=names, kinds=kinds, sizes=sizes)

    def use(self, files: Sequence[str], names: Collection[str]) -> None:
        """Note which of its files, all of which are given in their order, decide what is in the shards."""
        if names:
            before = self.used or bytes(len(files))
            self.used = bytes(flag or name in names for flag, name in zip(before, files, strict=True))

    def stamps(self) -> Iterator[tuple[str, int, str]]:
        """Path, size and version of each file that decides what is in the shards, in their order."""
        if self.used:
            for name, _kind, num_bytes, version in compress(unpack_many(self._files), self.used):
                yield f"{self.path}{name}", num_bytes, version


class FolderTree:
    """The listed folders, by path; each was added after the one that it is in."""

    def __init__(self) -> None:
        self._folders: dict[str, ListedFolder] = {}
        self._below: dict[str, list[str]] = {}

    def add(self, folder: ListedFolder) -> None:
        """Take in a folder."""
        self._folders[folder.path] = folder
        if folder.path:
            self._below.setdefault(above(folder.path), []).append(folder.path)

    def __iter__(self) -> Iterator[ListedFolder]:
        return iter(self._folders.values())

    def get(self, path: str) -> ListedFolder | None:
        """The folder of a path."""
        return self._folders.get(path)

    def in_path_order(self, read: Callable[[ListedFolder], Iterable[_T]], path_of: Callable[[_T], str]) -> Iterator[_T]:
        """What is in the folders, in the order of paths, where each gives what is in it in that order."""

        def entries(path: str) -> Iterator[_T | ListedFolder]:
            """With the folders below in their places: a folder's path sorts as all that is in it."""
            below = sorted(self._below.get(path, ()), reverse=True)
            for item in read(self._folders[path]):
                while below and below[-1] < path_of(item):
                    yield self._folders[below.pop()]
                yield item
            while below:
                yield self._folders[below.pop()]

        if not self._below:  # nothing is in between
            yield from read(self._folders[""])
            return
        stack = [entries("")]
        while stack:
            for entry in stack[-1]:
                if not isinstance(entry, ListedFolder):
                    yield entry
                elif entry.path not in self._below:
                    yield from read(entry)
                else:
                    stack.append(entries(entry.path))
                    break
            else:
                stack.pop()


def above(path: str) -> str:
    """The folder that a folder or a file is in, with a slash at its end; empty for the raw folder."""
    return path[: path.rstrip("/").rfind("/") + 1]


class Stamps(Mapping[str, str]):
    """Size and times of change of each file that is used, by path, in the order of paths; unpacked when it is asked."""

    def __init__(self, tree: FolderTree) -> None:
        self._tree = tree
        self._open: dict[str, dict[str, str]] = {}

    def __getitem__(self, path: str) -> str:
        folder = above(path)
        if folder not in self._open:
            listed = self._tree.get(folder)
            while len(self._open) >= _FOLDERS_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[folder] = dict(_texts(listed)) if listed is not None else {}
        return self._open[folder][path]

    def __iter__(self) -> Iterator[str]:
        return (path for path, _stamp in self.in_order())

    def in_order(self) -> Iterator[tuple[str, str]]:
        """All of them with their paths, faster than one after the other."""
        return self._tree.in_path_order(_texts, lambda entry: entry[0])

    def __len__(self) -> int:
        return sum(sum(folder.used) for folder in self._tree)


def _texts(folder: ListedFolder) -> Iterator[tuple[str, str]]:
    return ((path, f"{num_bytes} {version}") for path, num_bytes, version in folder.stamps())
