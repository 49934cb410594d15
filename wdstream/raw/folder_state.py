"""Whether a raw folder is as it was, for a fraction of listing it again; and which of its names are looked at."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from wdstream.raw.folders import Folder, FolderWalk
from wdstream.raw.registry import known_suffixes, without_suffix
from wdstream.raw.remote.access import name_below, store_of

OUTPUT_MARK = "make-shards.json"
"""The file by which the output of make-shards is known, and passed over."""
_OF_AN_INDEX = frozenset({"index.json", "key_hash.npy"})
_AT_ONCE = 1024


class FolderState:
    """Tells whether folders are as they were: names, sizes and times of change, and what was wrong with them."""

    def __init__(self) -> None:
        self._content = hashlib.blake2b(digest_size=16)

    def add(self, folder: Folder) -> None:
        """Take in the next folder."""
        files = (f"\0{name}\0{num_bytes} {version}" for name, num_bytes, version in folder.files.sizes())
        self._add(folder.path)
        while some := "".join(islice(files, _AT_ONCE)):
            self._add(some)
        self._add(f"\0\0{folder.trouble}{folder.passed_over}{folder.is_output}\n")

    def _add(self, text: str) -> None:
        self._content.update(text.encode("utf-8", "surrogatepass"))

    def digest(self) -> str:
        """32 hex digits over all of them, in their order."""
        return self._content.hexdigest()


def folder_state(raw: Path, *, exclude: Path, allow_outside_links: bool) -> str:
    """Names, sizes and times of change of all that `list_files` looks at, as 32 hex digits: while they are the same, it
    lists the same, for a fraction of its time."""
    state = FolderState()
    for folder in walk_raw(raw, exclude, allow_outside=allow_outside_links):
        state.add(folder)
    return state.digest()


def walk_raw(raw: Path, exclude: Path | None, *, allow_outside: bool) -> Iterable[Folder]:
    """The folders of a raw folder, one after the other."""
    store = store_of(raw)
    if store is not None:
        from wdstream.raw.remote.walk import StoreWalk  # what reads stores takes long to import, and is seldom needed

        return StoreWalk(store, exclude=name_below(exclude), is_output=is_output_folder)
    return FolderWalk(
        raw, exclude=exclude, allow_outside=allow_outside, is_read=is_read_by_name, is_output=is_output_folder
    )


def is_read_by_name(name: str) -> bool:
    """Whether a source reads files of this name, or may; else it is text next to another file, or of no use."""
    return without_suffix(name)[1].lower() in known_suffixes() if "." in name else False


def is_output_folder(names: Sequence[str]) -> bool:
    """Whether a folder with these names in it was written by make-shards, or is an index of the tars next to it."""
    if _OF_AN_INDEX.issubset(names):
        return True
    return OUTPUT_MARK in names and any(name.startswith((".make-shards", "shard-")) for name in names)
