"""What changed in the raw folder since pages were read: while the job ran, or between two runs of it.

Size and times of change of every file are kept (`.make-shards/input.jsonl`), and in the record of each shard a digest
of every file that was read for it. A file whose times differ is read again for its digest; one that is the same was
only touched or copied. With `check_content`, all files are. Shards that were made from what is no longer there are made
again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from pathlib import Path, PurePosixPath

from wdstream.errors import PageError
from wdstream.make_shards.jobs import Job
from wdstream.make_shards.record import STATE_FOLDER, load_record
from wdstream.raw.listed.folders import Stamps
from wdstream.raw.reading import file_digest, is_of_lines
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageRange
from wdstream.storage.atomic import atomic_write
from wdstream.storage.json_lines import read_lines

_STAMPS = "input.jsonl"


@dataclass(slots=True)
class StaleShards:
    """Shards whose input changed, by number, with the files that did and the pages of them that the shard has.

    `files` are all that changed; new files, and those that are gone, are among them.
    """

    shards: set[int] = field(default_factory=set)
    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, number: int, path: str, item: PageRange | None) -> None:
        """Note that a file changed, which shard `number` was made from."""
        self.shards.add(number)
        pages = self.files.setdefault(path, [])
        if item is not None and not item.file.is_single_image:
            pages.append(f"{item.first}-{item.first + item.count - 1}" if item.count > 1 else f"{item.first}")

    def named(self) -> list[str]:
        """The files, with their pages, in order."""
        return [f"{path} (pages {', '.join(pages)})" if pages else path for path, pages in sorted(self.files.items())]


def save_stamps(out: Path, stamps: Mapping[str, str]) -> None:
    """Keep size and times of change of the files of the input."""
    quoted = json.encoder.encode_basestring_ascii  # what an encoder does with a text, without the rest
    lines = (f'{{"path": {quoted(path)}, "stamp": {quoted(stamp)}}}\n' for path, stamp in _in_order(stamps))
    with atomic_write(out / STATE_FOLDER / _STAMPS) as file:
        file.writelines(map(str.encode, lines))


def moved_files(out: Path, stamps: Mapping[str, str]) -> set[str]:
    """Files that are new, gone, or may have changed since their stamps were kept; none where none were kept."""
    kept = ((line["path"], line["stamp"]) for line in read_lines(out / STATE_FOLDER / _STAMPS))
    try:
        first = next(kept, None)
        return set() if first is None else _differing(chain([first], kept), _in_order(stamps))
    except (ValueError, KeyError, TypeError):  # zeroed by a power cut, say: then every file is looked at
        return {*stamps}


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Names that two sets of stamps do not have in common, or with another stamp."""
    return _differing(_in_order(before), _in_order(after))


def _differing(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> set[str]:
    """`differing` of pairs of path and stamp, sorted by path; there may be millions, and few differ."""
    found = set[str]()
    last: tuple[str, str] | None = None
    for entry in merge(before, after):
        if entry == last:
            last = None  # it is in both
            continue
        if last is not None:
            found.add(last[0])
        last = entry
    return found if last is None else found | {last[0]}


def _in_order(stamps: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Paths with their stamps, sorted by path."""
    return stamps.in_order() if isinstance(stamps, Stamps) else sorted(stamps.items())


def find_stale(
    raw: Path, out: Path, jobs: Sequence[Job], suspects: Collection[str], *, check_all: bool = False
) -> StaleShards:
    """The shards that were made from content that is no longer there.

    Args:
        raw: the raw folder.
        out: the folder of shards, with their records.
        jobs: by which they were made.
        suspects: files that may have changed.
        check_all: read all files that the shards were made from, not only the suspects.
    """
    found, digests, unknown = StaleShards(), _Digests(raw), {*suspects}
    for job in jobs if suspects or check_all else ():
        record = load_record(out, job.number)
        if record is None:
            continue
        items = {item.file.path: item for item in job.items}
        unknown -= record.read.keys()
        for path, digest in record.read.items():
            if (check_all or path in suspects) and digests.of(path, items.get(path), digest) != digest:
                found.add(job.number, path, items.get(path))
    # Files that a library reads by their path, whose content is not known; and texts that were put next to others.
    names = {_name(path): path for path in unknown}
    for job in jobs if unknown else ():
        for item in job.items:
            own = item.file.path
            changed = own if own in unknown else names.get(_name(own))
            if changed is not None:
                found.add(job.number, changed, item)
    return found


class _Digests:
    """The content of files as it is now; whole files are read once."""

    def __init__(self, raw: Path) -> None:
        self._raw = raw
        self._whole: dict[str, str | None] = {}

    def of(self, path: str, item: PageRange | None, before: str) -> str | None:
        """The digest of a file, or of the lines of a range if `before` is of lines; None where it cannot be read."""
        if is_of_lines(before):
            return _digest_of_lines(self._raw, item) if item is not None else None
        if path not in self._whole:
            self._whole[path] = _digest_of(self._raw / path)
        return self._whole[path]


def _digest_of(path: Path) -> str | None:
    try:
        return file_digest(path)
    except OSError:
        return None


def _digest_of_lines(raw: Path, item: PageRange) -> str | None:
    try:
        return source_of_kind(item.file.kind).rows_digest(item, raw / item.file.path)
    except (OSError, PageError):
        return None


def _name(path: str) -> str:
    """What a raw file and the texts next to it share, in any folder, as formats differ: all before the first dot."""
    return PurePosixPath(path).name.split(".")[0]
