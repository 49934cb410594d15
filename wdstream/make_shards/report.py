"""What make-shards did: the state of progress while it runs, and the summary table."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.make_shards.jobs import Quarantined

_REASON_END = re.compile(r"[:;(]")
_QUOTED = re.compile(r"'[^']*'")
_NUMBER = re.compile(r"\d[\d.,%x]*")
_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeShardsProgress:
    """Where a run stands: pages done of all, pages done in this run, shards done of all, and what is being done."""

    stage: str
    pages_done: int
    pages_total: int
    shards_done: int = 0
    shards_total: int = 0


OnProgress = Callable[[MakeShardsProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeShardsReport:
    """What is in the output folder now, and what did not get there.

    Attributes:
        out: the folder.
        files: raw files by kind.
        pages: samples by kind of source.
        num_shards: shards that hold samples.
        num_bytes: of all tars.
        quarantined: pages and files that are not in it, as in quarantine.jsonl.
        ignored: files of no use, by suffix.
        left_to_rows: images that only rows use.
        fingerprint: of the tokenizer whose column was written, or None.
        pages_made: pages read in this run; those of shards that were complete are not among them.
        seconds: this run took.
    """

    out: Path
    files: Mapping[str, int]
    pages: Mapping[str, int]
    num_shards: int
    num_bytes: int
    quarantined: tuple[Quarantined, ...]
    ignored: Mapping[str, int]
    left_to_rows: int
    fingerprint: str | None
    pages_made: int
    seconds: float

    @property
    def num_pages(self) -> int:
        """Samples in the shards."""
        return sum(self.pages.values())

    @property
    def num_quarantined(self) -> int:
        """Pages and files that did not become samples."""
        return len(self.quarantined)

    def reasons(self) -> dict[str, int]:
        """Quarantined pages by reason, numbers and details left out; most frequent first."""
        bare = [_NUMBER.sub("N", _QUOTED.sub("...", entry.reason)) for entry in self.quarantined]
        counts = Counter(_REASON_END.split(reason)[0].strip() for reason in bare)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def print(self, console: Console) -> None:
        """Write the summary."""
        table = Table(title=f"{self.out}", title_justify="left", show_edge=False)
        for name, justify in (("source", "left"), ("files", "right"), ("pages", "right")):
            table.add_column(name, justify="right" if justify == "right" else "left")
        for kind, num_files in self.files.items():
            table.add_row(kind, f"{num_files:,}", f"{self.pages.get(kind, 0):,}")
        table.add_section()
        table.add_row("all", f"{sum(self.files.values()):,}", f"{self.num_pages:,}")
        console.print(table)
        if self.quarantined:
            reasons = Table(title="quarantined", title_justify="left", show_edge=False)
            reasons.add_column("reason")
            reasons.add_column("pages", justify="right")
            for reason, count in self.reasons().items():
                reasons.add_row(Text(reason), f"{count:,}")
            console.print(reasons)
        for line in self._lines():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _lines(self) -> Iterator[str]:
        made = "all were complete"
        if self.pages_made:
            rate = self.pages_made / max(self.seconds, 1e-9)
            made = f"{self.pages_made:,} pages read in {self.seconds:,.1f} s ({rate:,.1f} pages/s)"
        yield f"{self.num_shards:,} shards, {self.num_bytes / _MEGABYTE:,.1f} MB; {made}"
        if self.fingerprint:
            yield f"token column {self.fingerprint}"
        if self.left_to_rows:
            yield f"{self.left_to_rows:,} images left to the rows beside them"
        if self.ignored:
            yield "ignored: " + ", ".join(f"{count:,} {suffix}" for suffix, count in self.ignored.items())
        if self.quarantined:
            yield f"{self.num_quarantined:,} quarantined: {self.out / 'quarantine.jsonl'}"
