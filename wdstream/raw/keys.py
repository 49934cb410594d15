"""Keys of pages: made from the raw file's path, safe in a tar, unique in the folder, the same in every run.

    pdf/report.v2.pdf, page 3       pdf/report_v2@0003
    scans/a.jpg                     scans/a
    rows/mixed.jsonl, line 12       rows/mixed@000012

The part before `@` is the stem. `@` is in no stem, so that no numbered key can equal another file's.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_UNSAFE = re.compile(r"[^A-Za-z0-9_/-]")
# A tar header holds 155 characters of folder and 100 of name; a hash, "@", a number and the extension come behind.
_MAX_FOLDER = 120
_MAX_NAME = 48


def assign_stems(paths: Sequence[tuple[str, str]]) -> list[str]:
    """A stem for each raw file; files that would share one have their suffix appended, then a hash of their path.

    Args:
        paths: (path without suffix, suffix) of each file, relative, with forward slashes, all different.
    """
    stems = [_stem(bare) for bare, _suffix in paths]
    stems = _set_apart(stems, [_UNSAFE.sub("", suffix.rpartition(".")[2].lower()) for _bare, suffix in paths])
    return _set_apart(stems, [_digest(bare + suffix) for bare, suffix in paths])


def page_key(stem: str, page: int) -> str:
    """Key of page `page`, from 1, of a source of many pages."""
    return f"{stem}@{page:04d}"


def row_key(stem: str, line: int) -> str:
    """Key of the row on line `line`, from 1, of a JSONL file."""
    return f"{stem}@{line:06d}"


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
    """Append its ending to every stem that stands more than once."""
    times = Counter(stems)
    return [stem if times[stem] == 1 else f"{stem}-{ending}" for stem, ending in zip(stems, endings, strict=True)]


def _digest(path: str) -> str:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
