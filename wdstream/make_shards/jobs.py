"""Records that travel between the processes of make-shards, as JSON: units of raw pages, jobs, and their results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wdstream.raw.line_offsets import LineMap
from wdstream.raw.sources import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedFile:
    """A raw file and how many pages it has.

    Attributes:
        path: relative to the raw folder.
        kind: pdf, image or rows.
        stem: what its keys start with.
        num_bytes: its size.
        num_pages: pages of a PDF or TIFF, lines of a JSONL file, 1 for other images; 0 when it cannot be read.
        marks: offset of every thousandth line of a JSONL file.
        reason: why it cannot be read, or None.
    """

    path: str
    kind: Kind
    stem: str
    num_bytes: int
    num_pages: int
    marks: tuple[int, ...] = ()
    reason: str | None = None

    @property
    def line_map(self) -> LineMap:
        """Where the lines of a JSONL file stand."""
        return LineMap(num_lines=self.num_pages, marks=self.marks)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "SurveyedFile":
        """The inverse of `to_json`."""
        return cls(**{**tree, "marks": tuple(tree["marks"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Pages `first` to `first + count - 1`, from 1, of one raw file."""

    file: SurveyedFile
    first: int
    count: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"file": self.file.to_json(), "first": self.first, "count": self.count}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Unit":
        """The inverse of `to_json`."""
        return cls(file=SurveyedFile.from_json(tree["file"]), first=tree["first"], count=tree["count"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A page that killed a process before: unit (or file of a survey) number, page or None for all of it, reason."""

    item: int
    page: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work for one process: a shard to build from units, or files to survey.

    Attributes:
        kind: "shard" or "survey".
        number: of the shard, or of the survey job.
        items: what the shard is built from; for a survey, the files with no pages known yet.
        num_pages: pages it works on, for progress.
        skips: what killed a process before.
    """

    kind: str
    number: int
    items: tuple[Unit, ...]
    num_pages: int
    skips: tuple[Skip, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        items = [item.to_json() for item in self.items]
        return {
            "kind": self.kind,
            "number": self.number,
            "items": items,
            "num_pages": self.num_pages,
            "skips": [asdict(skip) for skip in self.skips],
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Job":
        """The inverse of `to_json`."""
        items = tuple(Unit.from_json(item) for item in tree["items"])
        skips = tuple(Skip(**skip) for skip in tree["skips"])
        return cls(kind=tree["kind"], number=tree["number"], items=items, num_pages=tree["num_pages"], skips=skips)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Quarantined:
    """A page, or a whole file (page 0), that did not become a sample, and why. Sorts as it is listed."""

    file: str
    page: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        """One line of quarantine.jsonl: the page is null for a whole file; a JSONL file's page is its line."""
        return {"file": self.file, "page": self.page or None, "reason": self.reason}
