"""What verify finds: kinds of trouble, what to do about each, and the report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from rich.console import Console
from rich.table import Table

from wdstream.storage.addresses import shown_url
from wdstream.text.characters import one_line

MAX_KEPT = 10_000
"""Findings of one kind that are kept with their places; all are counted."""
_MAX_PRINTED = 10
_State = Literal["damage", "not read", "to look at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingKind:
    """A kind of trouble.

    Attributes:
        state: damage: the shards are not what was written; not read: nothing is known of what was written; to look at.
        what_to_do: never what would make an index of the damage.
    """

    state: _State
    what_to_do: str


_COPY = "bring the file back from a copy, or make the shard again from its raw files; do not index it as it is"
_FROM_TARS = "`wdstream index` makes it again from the tars, once verify finds nothing else in them"
_LOOK = "look at them; `where:` and --skip-bad keep pages out of a run"

KINDS: Mapping[str, FindingKind] = {
    "index": FindingKind(state="damage", what_to_do=_FROM_TARS),
    "column": FindingKind(state="damage", what_to_do="the message says how the column is made again from sound tars"),
    "not readable": FindingKind(
        state="not read",
        what_to_do="check rights, device and network, and verify again: of its content nothing is known",
    ),
    "tar": FindingKind(state="damage", what_to_do=_COPY),
    "checksum": FindingKind(state="damage", what_to_do=_COPY),
    "sample": FindingKind(state="damage", what_to_do=_COPY),
    "image": FindingKind(state="damage", what_to_do=_COPY),
    "meta": FindingKind(state="damage", what_to_do=_FROM_TARS),
    "not indexed": FindingKind(state="damage", what_to_do="find out where it comes from before it is indexed"),
    "tokens": FindingKind(state="damage", what_to_do="count again with `wdstream lengths`"),
    "not decoded": FindingKind(state="to look at", what_to_do="--max-pixels looks at larger images, if memory allows"),
    "duplicate page": FindingKind(state="to look at", what_to_do="keep one of them, unless the weight is wanted"),
    "same picture, other text": FindingKind(
        state="to look at", what_to_do="one of the labels is likely to be wrong: look"
    ),
    "near duplicate": FindingKind(state="to look at", what_to_do="look whether one is a copy of the other"),
    "no text": FindingKind(state="to look at", what_to_do="a page without text teaches nothing"),
    "control characters": FindingKind(state="to look at", what_to_do=_LOOK),
    "replacement characters": FindingKind(
        state="to look at", what_to_do="the text was decoded wrongly somewhere: " + _LOOK
    ),
    "no meaning in Unicode": FindingKind(
        state="to look at", what_to_do="a font without a character map, likely: " + _LOOK
    ),
    "script": FindingKind(state="to look at", what_to_do="declared language and text differ: " + _LOOK),
    "left over": FindingKind(
        state="to look at", what_to_do="files of a job that was killed; the job removes them when it continues"
    ),
}
"""In the order of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One trouble.

    Attributes:
        kind: one of KINDS.
        file: relative to the shards.
        key: of the sample, or empty.
        what: expected and found.
    """

    kind: str
    file: str
    key: str = ""
    what: str

    def line(self) -> str:
        """Place and trouble in one line."""
        return one_line(f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}")


@dataclass(slots=True, kw_only=True)
class ReadCounts:
    """What was read of one tar, or of several.

    Attributes:
        num_samples: samples that were read.
        num_images: their images.
        num_without_image: samples of text alone.
        num_left_out: further samples, which the index leaves out for the reasons in `index/left_out.jsonl`.
        num_bytes: of the tars.
        scripts: samples by the script of their text, as ISO 15924 codes.
    """

    num_samples: int = 0
    num_images: int = 0
    num_without_image: int = 0
    num_left_out: int = 0
    num_bytes: int = 0
    scripts: Counter[str] = field(default_factory=Counter)

    def add_counts(self, other: "ReadCounts") -> None:
        """Add what was read elsewhere."""
        self.num_samples += other.num_samples
        self.num_images += other.num_images
        self.num_without_image += other.num_without_image
        self.num_left_out += other.num_left_out
        self.num_bytes += other.num_bytes
        self.scripts += other.scripts


@dataclass(slots=True, kw_only=True)
class VerifyReport(ReadCounts):
    """What verify read and found.

    Attributes:
        path: folder or URL of the shards.
        is_deep: whether images were decoded.
        num_shards: tars that were read.
        counts: findings by kind.
        findings: by kind in the order of KINDS, then by place; at most MAX_KEPT of a kind.
    """

    path: str
    is_deep: bool
    num_shards: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings, and keep them as long as there are few of their kind."""
        for finding in findings:
            self.counts[finding.kind] += 1
            if self.counts[finding.kind] <= MAX_KEPT:
                self.findings.append(finding)

    @property
    def num_damaged(self) -> int:
        """Findings that are damage."""
        return self._num_in("damage")

    @property
    def num_unread(self) -> int:
        """Findings of what could not be read."""
        return self._num_in("not read")

    @property
    def num_doubtful(self) -> int:
        """Findings that are to be looked at."""
        return self._num_in("to look at")

    def _num_in(self, state: _State) -> int:
        return sum(count for kind, count in self.counts.items() if KINDS[kind].state == state)

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of one kind that are kept, by place."""
        return sorted((found for found in self.findings if found.kind == kind), key=lambda found: found.file)

    def as_dict(self) -> dict[str, object]:
        """Everything here, as one JSON object has it."""
        kinds = [kind for kind in KINDS if self.counts[kind]]
        return {
            "path": shown_url(self.path),
            "deep": self.is_deep,
            "shards": self.num_shards,
            "samples": self.num_samples,
            "images": self.num_images,
            "without_image": self.num_without_image,
            "left_out": self.num_left_out,
            "bytes": self.num_bytes,
            "scripts": dict(sorted(self.scripts.items())),
            "damaged": self.num_damaged,
            "not_read": self.num_unread,
            "doubtful": self.num_doubtful,
            "counts": {kind: self.counts[kind] for kind in kinds},
            "findings": [asdict(found) for kind in kinds for found in self.of_kind(kind)],
        }

    def print(self, console: Console) -> None:
        """A table of kinds, then the first places of each, then the verdict."""
        kinds = [kind for kind in KINDS if self.counts[kind]]
        if kinds:
            console.print(_table(self.counts, kinds))
        for kind in kinds:
            found = self.of_kind(kind)
            console.print(f"\n{kind}:", highlight=False)
            for one in found[:_MAX_PRINTED]:
                console.print(f"  {one.line()}", markup=False, highlight=False, soft_wrap=True)
            if self.counts[kind] > _MAX_PRINTED:
                console.print(f"  ... and {self.counts[kind] - _MAX_PRINTED:,} more (--json lists them)")
        unread = f", {self.num_unread:,} not readable" if self.num_unread else ""
        verdict = f"{self.num_damaged:,} damaged{unread}, {self.num_doubtful:,} to look at"
        left_out = f", {self.num_left_out:,} more left out of the index" if self.num_left_out else ""
        console.print(
            f"{self.path}: {self.num_shards:,} shards, {self.num_samples:,} samples ({self.num_without_image:,} of "
            f"them have no image){left_out}, {self.num_images:,} images{' decoded' if self.is_deep else ''}, "
            f"{self.num_bytes / 1e9:,.3f} GB read: {verdict}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _table(counts: Mapping[str, int], kinds: Iterable[str]) -> Table:
    table = Table("what", "found", "is", "what to do", title_justify="left")
    table.columns[1].justify = "right"
    for kind in kinds:
        table.add_row(kind, f"{counts[kind]:,}", KINDS[kind].state, KINDS[kind].what_to_do)
    return table
