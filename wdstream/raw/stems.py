"""Keys of pages are made from the path of their raw file: safe in a tar, unique in the folder, the same every time.

    pdf/report.v2.pdf, page 3       pdf/report_v2@0003
    scans/a.jpg                     scans/a
    rows/mixed.jsonl, line 12       rows/mixed@000012

What is before `@` is the stem. `@` is in no stem, so that no numbered key can equal another file's.
"""

import hashlib
import re
from collections.abc import Callable, Iterable

from wdstream.raw.listed.packed import TextHashes
from wdstream.raw.registry import without_suffix

_SUFFIX = re.compile(r"[.\w]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]")
# A tar header holds 155 characters of folder and 100 of name; a hash, "@", a number and the extension come after.
_MAX_FOLDER = 120
_MAX_NAME = 48


class Stems:
    """Stems of raw files; those that would share one have their suffix appended, then a hash of their path.

    Each file is named once. When all are, and `settle` has been called, each has its stem. What is kept of each is 8
    bytes.
    """

    def __init__(self) -> None:
        self._stems, self._longer = TextHashes(), TextHashes()

    def add(self, stem: str) -> None:
        """Take in a file by its `short_stem`."""
        self._stems.add(stem)

    def settle(self, paths: Callable[[], Iterable[str]]) -> bool:
        """Find out which stems several files share; gives whether there are any.

        Args:
            paths: gives those of all files, in any order.
        """
        self._stems = self._stems.doubled()
        if self._stems:
            for path in paths():
                self._longer.add(self._with_ending(path))
            self._longer = self._longer.doubled()
        return bool(self._stems)

    def stem(self, path: str) -> str:
        """The stem of a file."""
        stem = self._with_ending(path)
        return f"{stem}-{_digest(path)}" if stem in self._longer else stem

    def _with_ending(self, path: str) -> str:
        bare, suffix = without_suffix(path)
        stem = short_stem(bare)
        return f"{stem}-{_ending(suffix)}" if stem in self._stems else stem


def _ending(suffix: str) -> str:
    return _UNSAFE.sub("", suffix.rpartition(".")[2].lower())


def short_stem(bare: str) -> str:
    """The stem of a file by its path without suffix, relative; its own, unless another file has it, too."""
    folder, slash, name = _UNSAFE.sub("_", bare).rpartition("/")
    # Names in other scripts would all become underscores; long ones are cut.
    if not bare.isascii() or len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}-{_digest(bare)}"
    if len(folder) > _MAX_FOLDER:
        folder = _digest(folder)
    stem = f"{folder}{slash}{name}"
    return f"k{stem}" if stem.startswith("__") else stem  # readers of tar shards keep names in __ for metadata


def bare_names(name: str) -> list[str]:
    """A name without its suffix, where it ends like one, and the whole of it."""
    bare, suffix = without_suffix(name)
    return list(dict.fromkeys((bare, name))) if bare and _SUFFIX.fullmatch(suffix) else [name]


def possible_stems(path: str) -> tuple[str, ...]:
    """The stems that a raw file may have, by which other files there are."""
    bare, suffix = without_suffix(path)
    stems = [short_stem(bare)]
    for ending in (_ending(suffix), _digest(path)):
        stems.append(f"{stems[-1]}-{ending}")
    return tuple(stems)


def stem_pattern(name: str) -> str:
    """A regular expression for the stems that a raw file of this name may have, in whatever folder it is."""
    return "|".join(map(_pattern_of, bare_names(name)))


def stem_needles(name: str) -> tuple[str, ...]:
    """Texts of which one is in every stem that `stem_pattern` describes."""
    return tuple(map(_cut_name, bare_names(name)))


def _cut_name(bare: str) -> str:
    return _UNSAFE.sub("_", bare.rpartition("/")[2])[:_MAX_NAME]


def _pattern_of(bare: str) -> str:
    folder = _UNSAFE.sub("_", bare.rpartition("/")[0])
    above = f"(?:.*/)?k?{re.escape(folder)}/" if folder and len(folder) <= _MAX_FOLDER else "(?:.*/)?"
    return rf"{above}k?{re.escape(_cut_name(bare))}(?:-[0-9a-f]{{10}})?(?:-[a-z0-9]{{1,16}}){{0,2}}"


def _digest(path: str) -> str:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
