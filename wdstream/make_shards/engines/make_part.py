"""`make_part`: the shards of one part of a job, in a task of a job array; the merge of all parts does the rest."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from wdstream.errors import ShardError
from wdstream.make_shards.job import opened_job
from wdstream.make_shards.jobs import OnProgress
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.record_sums import RecordSums
from wdstream.text.characters import printable, short_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """What a part made.

    Attributes:
        out: where.
        part: such as 2/60.
        num_shards: its shards, all complete.
        num_pages: samples in them.
        num_quarantined: pages that are not; the merge lists them.
        pages_made: pages read in this run.
        changed: files that changed while this run read them.
        seconds: this run took.
    """

    out: Path | str
    part: str
    num_shards: int
    num_pages: int
    num_quarantined: int
    pages_made: int
    changed: tuple[str, ...]
    seconds: float

    def print(self, console: Console) -> None:
        """Two lines: what there is, and what follows."""
        lines = [
            f"{self.out}: part {self.part} is complete: {self.num_shards:,} shards, {self.num_pages:,} pages, "
            f"{self.num_quarantined:,} quarantined; {self.pages_made:,} pages read in {self.seconds:,.1f} s",
            "when all parts are, the same command with --merge, in place of --part, writes the index",
        ]
        for line in lines:
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def check(self) -> None:
        """Refuse what was not one input.

        Raises:
            ShardError: files changed while they were read.
        """
        if self.changed:
            raise ShardError(
                f"{len(self.changed):,} files changed while they were read, such as {short_name(self.changed[0])}. "
                "When they are as they should be, run all parts again: shards of other content are made again"
            )


def make_part(
    raw: Path | str, out: Path | str, *, options: MakeShardsOptions, on_progress: OnProgress | None = None
) -> PartReport:
    """Make the shards of one part. Parts may write to one output at the same time, or each to its own.

    Every part counts the pages of all files, since they decide which page is in which shard; where parts share an
    output, those that begin later take the count of the first.

    Args:
        raw, out, on_progress: as in `make_shards`.
        options: as there; `part` says which.

    Raises:
        ConfigError: `options` ask for no part; and as `make_shards`.
        ShardError, MakeShardsStopped: as `make_shards`.
    """
    started = time.monotonic()
    part = options.require_part("make_part", of="make_shards")
    with opened_job(raw, out, options, on_progress) as job:
        _files, jobs, made = job.make()
        sums = RecordSums.of(job.records(jobs), None, with_reads=False)
    return PartReport(
        out=job.output.named(str(job.out)),
        part=str(part),
        num_shards=len(sums.numbers),
        num_pages=sums.pages.total(),
        num_quarantined=len(sums.quarantined),
        pages_made=made.pages,
        changed=made.changed,
        seconds=time.monotonic() - started,
    )
