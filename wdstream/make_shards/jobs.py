"""Records of make-shards: what travels between its processes as JSON, what is quarantined, how far the job is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from wdstream.raw.source import PageRange

OnPage = Callable[[int, int | None], None]
"""Called before each page, with the number of its range in the job, and the page; None while its file is opened."""


class Setup(TypedDict):
    """The first line a process is sent: folders, and the `MakeShardsOptions`."""

    raw: str
    out: str
    options: dict[str, object]


class Message(TypedDict):
    """A line that a process sends; it has one of these.

    `ready`: it accepts jobs. `at`: it begins this page, see OnPage. `done`: the files of a survey, None for a shard,
    whose record is on disk. `fatal`: nothing can be written. `bug`: a traceback.
    """

    ready: NotRequired[bool]
    at: NotRequired[tuple[int, int | None]]
    done: NotRequired[list[dict[str, Any]] | None]
    fatal: NotRequired[str]
    bug: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A page that killed a process before: number of its range in the job, page or None for all of it, reason."""

    item: int
    page: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work for one process: a shard to build from page ranges, or files to survey.

    Attributes:
        kind: "shard" or "survey".
        number: of the shard, or of the survey job.
        items: what the shard is built from; for a survey, the files, whose pages are not known yet.
        num_pages: pages it works on, for progress.
        skips: what killed a process before.
    """

    kind: str
    number: int
    items: tuple[PageRange, ...]
    num_pages: int
    skips: tuple[Skip, ...] = ()

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Job":
        """The inverse of `dataclasses.asdict`."""
        items = tuple(PageRange.from_json(item) for item in tree["items"])
        skips = tuple(Skip(**skip) for skip in tree["skips"])
        return cls(kind=tree["kind"], number=tree["number"], items=items, num_pages=tree["num_pages"], skips=skips)


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
    """How far the job is: what is being done, pages done of all, shards done of all."""

    stage: str
    pages_done: int
    pages_total: int
    shards_done: int = 0
    shards_total: int = 0


OnProgress = Callable[[MakeShardsProgress], None]
