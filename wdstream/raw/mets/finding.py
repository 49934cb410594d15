"""The METS files of a raw folder, by their names and content, and what they say together."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from wdstream.errors import SourceError
from wdstream.raw.mets.document import read_mets
from wdstream.raw.mets.workspace import MetsWorkspace
from wdstream.raw.reading import limits, read_bytes
from wdstream.raw.registry import without_suffix
from wdstream.raw.texts.finder import ReadHead
from wdstream.raw.texts.formats import SNIFFED_BYTES, format_of
from wdstream.raw.texts.tree import check_lxml
from wdstream.text.characters import short_name

_LIKELY = re.compile(r"mets|\Ameta\.xml\Z", re.IGNORECASE)
_PROPER = ("mets.xml", "meta.xml")
_MOST_LOOKED_AT = 4
"""XML files of a folder of which each is looked at, whatever it is called, as long as it is not called like a page."""


def find_mets(folder: str, names: Iterable[str], pages: Iterable[str], read_head: ReadHead) -> Iterator[str]:
    """The METS files among the files of a folder.

    Args:
        folder: its path with a slash at its end, or empty.
        names: of its files that no source reads.
        pages: names of its pages.
        read_head: reads the beginning of a file.
    """
    found = [name for name in names if name.lower().endswith(".xml")]
    few = len(found) <= _MOST_LOOKED_AT
    known = {without_suffix(name)[0] for name in pages} if few and found else ()
    for name in found:
        may_be = _LIKELY.search(name) or (few and PurePosixPath(name).stem not in known)
        if may_be and format_of(read_head(folder + name, SNIFFED_BYTES))[0] == "mets":
            yield folder + name


def read_all(
    raw: Path, paths: Iterable[str], workspace: MetsWorkspace, damaged: list[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Read METS files of the raw folder into a workspace; gives the path and a digest of the bytes of each.

    Without lxml the job ends, where texts are plain, too: read without METS, thumbnails and worked-on copies would be
    pages, so that shards would depend on what is installed.

    Args:
        raw: the folder.
        paths: of the files; those that have METS' own name count before others, such as copies.
        workspace: what takes them in.
        damaged: gets the path of each that cannot be read, and why.

    Raises:
        ConfigError: lxml is not installed, or a group that is named is in none of them.
    """
    for path in sorted(paths, key=lambda path: (PurePosixPath(path).name.lower() not in _PROPER, path)):
        check_lxml(f"reading {short_name(path)}, a METS file that says which images are pages,")
        try:
            data = read_bytes(raw / path, limit=limits().max_text_bytes, option="--max-text-bytes")
            workspace.add(path, read_mets(data))
        except SourceError as error:
            damaged.append((path, f"METS is not used: {error}"))
            continue
        yield path, hashlib.blake2b(data, digest_size=8).hexdigest()
    workspace.finish()
