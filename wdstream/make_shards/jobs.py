"""The jobs of make-shards: which there are, and the records that travel between its processes as JSON.

First raw files are surveyed, then there is one job per shard (survey/shard_plan.py).
"""

import hashlib
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NotRequired, TypedDict

from wdstream.raw.source import PageRange

# The counts come first, also in time: whoever sees a new place then sees the counts that belong to it.
_COUNTS, _PLACE, _ALL = struct.Struct("=QQ"), struct.Struct("=Q"), struct.Struct("=QQQ")
_PLACE_AT = _COUNTS.size
# One word says where, and is written at once: the number of the range plus one, and the page plus one or 0 for None.
_NOWHERE = 0
_PAGE_BITS = 32

At = tuple[int, int | None]
"""Number of a range in its job, and the page; None while its file is opened."""
OnPage = Callable[[int, int | None], None]
"""Called before each page, with the number of its range in the job, and the page; None while its file is opened."""


class Setup(TypedDict):
    """The first line a process is sent: folders, the store that `out` stands for, if it does, the `MakeShardsOptions`,
    and names of plugins that raw files need."""

    raw: str
    out: str
    store: str
    options: dict[str, object]
    plugins: list[str]


class WorkerMessage(TypedDict):
    """A line that a process sends; it has one of these.

    `ready`: it accepts jobs. `alive`: it runs. `pages`: it has begun more; which, its `PageCell` says. `done`: the
    files of a survey, None for a shard, whose record is on disk, and for kept pages. `lost`: why it gives up on the
    page it is at, and ends. `fatal`: nothing can be written. `bug`: a traceback.
    """

    ready: NotRequired[bool]
    pages: NotRequired[bool]
    alive: NotRequired[bool]
    done: NotRequired[list[Sequence[Any]] | None]
    lost: NotRequired[str]
    fatal: NotRequired[str]
    bug: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A page that is given up: number of its range in the job, page or None for all of it, reason."""

    item: int
    page: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work for one process: a shard to build from page ranges, files to survey, or pages of a shard to read and keep.

    Attributes:
        kind: "shard", "survey" or "keep".
        number: of the shard, or of the survey job.
        items: what the shard is built from; for a survey, the files, whose pages are not known yet.
        num_pages: pages it works on, for progress.
        skips: what is given up, and why.
        kept: pages that other processes have read and kept (built_pages.py), each as (range, page).
        elsewhere: pages that other jobs read.
        is_alone: whether it is done by a process that has done nothing else.
    """

    kind: str
    number: int
    items: tuple[PageRange, ...]
    num_pages: int
    skips: tuple[Skip, ...] = ()
    kept: tuple[tuple[int, int], ...] = ()
    elsewhere: tuple[tuple[int, int], ...] = ()
    is_alone: bool = False

    @property
    def places(self) -> list[tuple[int, int]]:
        """The pages that it reads, in order, each as (range, page)."""
        settled = {*self.kept, *self.elsewhere}
        places = ((number, page) for number, item in enumerate(self.items) for page in item.numbers)
        return [place for place in places if place not in settled]

    @property
    def digest(self) -> str:
        """32 hex digits over the ranges of pages, and the names, sizes, keys, texts and metadata of their files."""
        ranges = [
            [i.file.path, i.file.kind, i.file.stem, i.file.num_bytes, i.first, i.count, *i.file.texts, *i.file.meta]
            for i in self.items
        ]
        return hashlib.blake2b(json.dumps(ranges).encode(), digest_size=16).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What is sent to a process."""
        tree = {name: getattr(self, name) for name in self.__slots__}
        lists = {"items": self.items, "skips": [asdict(skip) for skip in self.skips]}
        return {**tree, **lists}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Job":
        """The inverse of `to_json`."""
        items = tuple(PageRange.from_json(item) for item in tree["items"])
        skips = tuple(Skip(**skip) for skip in tree["skips"])
        pairs = {name: tuple((item, page) for item, page in tree[name]) for name in ("kept", "elsewhere")}
        return cls(**{**tree, "items": items, "skips": skips, **pairs})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Quarantined:
    """A page, or a whole file (page 0), that did not become a sample, and why. Sorts as it is listed."""

    file: str
    page: int
    reason: str

    def to_json(self) -> dict[str, object]:
        """One line of quarantine.jsonl: the page is null for a whole file; a JSONL file's page is its line."""
        return {"file": self.file, "page": self.page or None, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeShardsProgress:
    """How far the job is: what is being done, pages done of all, shards done of all.

    The total is 0 while it is not known. Before pages are made, files are counted in their place: `unit` says which.
    """

    stage: str
    pages_done: int
    pages_total: int
    shards_done: int = 0
    shards_total: int = 0
    unit: str = "pages"


OnProgress = Callable[[MakeShardsProgress], None]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.tar"


class PageCell:
    """The page that a process is at, in memory that it shares with its parent: exact whenever and however it ends.

    A message for each page would cost both sides more than reading a small page does. So a process writes down each
    page before it reads it, and sends a message now and then. The kernel keeps what was written when it is killed.

    Attributes:
        descriptor: of the file that both map; for the process that inherits it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a cell, or take the one that was inherited."""
        self._file = None
        if descriptor is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
            self._file.write(bytes(_ALL.size))  # a full disk is noticed here, not by a signal later
            self._file.flush()
            descriptor = self._file.fileno()
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _ALL.size, mmap.MAP_SHARED)
        self._signs = self._pages = 0
        self._place = _NOWHERE

    def turn_to(self, item: int, page: int | None, *, is_page: bool) -> None:
        """Write down where the process is from now on, or still is; `is_page`: whether that is a page to count."""
        place = (item + 1) << _PAGE_BITS | (0 if page is None else page + 1)
        self._signs += 1
        self._pages += is_page and place != self._place
        self._place = place
        _ALL.pack_into(self._map, 0, self._signs, self._pages, place)

    def clear(self) -> None:
        """Forget where the process was: by the parent, before it gives it a job."""
        _PLACE.pack_into(self._map, _PLACE_AT, _NOWHERE)

    def begin(self) -> None:
        """Forget what the process was at: by itself, when a job is done."""
        self._place = _NOWHERE

    @property
    def at(self) -> At | None:
        """Where the process is in its job; None where it has not begun."""
        (place,) = _PLACE.unpack_from(self._map, _PLACE_AT)
        if place == _NOWHERE:
            return None
        page = place & ((1 << _PAGE_BITS) - 1)
        return (place >> _PAGE_BITS) - 1, page - 1 if page else None

    @property
    def counts(self) -> tuple[int, int]:
        """How often the process gave a sign of where it is, and how many pages it has begun."""
        signs, pages = _COUNTS.unpack_from(self._map)
        return signs, pages

    def close(self) -> None:
        """Unmap it, and close the file that was made for it."""
        self._map.close()
        if self._file is not None:
            self._file.close()


def inherited_cell(argument: str) -> PageCell:
    """The cell whose descriptor the parent names on the command line."""
    cell = PageCell(int(argument))
    os.set_inheritable(cell.descriptor, False)  # not for programs that a page starts
    return cell
