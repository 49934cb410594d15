"""Keys of pages are made from the path of their raw file: safe in a tar, unique in the folder, the same every time.

    pdf/report.v2.pdf, page 3       pdf/report_v2@0003
    scans/a.jpg                     scans/a
    rows/mixed.jsonl, line 12       rows/mixed@000012

What is before `@` is the stem. `@` is in no stem, so that no numbered key can equal another file's.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from wdstream.raw.registry import without_suffix

_SUFFIX = re.compile(r"[.\w]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]")
# A tar header holds 155 characters of folder and 100 of name; a hash, "@", a number and the extension come after.
_MAX_FOLDER = 120
_MAX_NAME = 48


def assign_stems(paths: Sequence[tuple[str, str]]) -> list[str]:
    """A stem for each raw file; files that would share one have their suffix appended, then a hash of their path.

    Args:
        paths: (path without suffix, suffix) of each file, relative, with forward slashes, all different.
    """
    stems = [_stem(bare) for bare, _suffix in paths]
    stems = _set_apart(stems, [_ending(suffix) for _bare, suffix in paths])
    return _set_apart(stems, [_digest(bare + suffix) for bare, suffix in paths])


def _ending(suffix: str) -> str:
    return _UNSAFE.sub("", suffix.rpartition(".")[2].lower())


def _stem(bare: str) -> str:
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
    stems = [_stem(bare)]
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


def _set_apart(stems: list[str], endings: list[str]) -> list[str]:
    """Append its ending to every stem that several files share."""
    times = Counter(stems)
    return [stem if times[stem] == 1 else f"{stem}-{ending}" for stem, ending in zip(stems, endings, strict=True)]


def _digest(path: str) -> str:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
