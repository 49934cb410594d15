"""The end of make-shards: quarantine.jsonl, the index over all shards, the token column, and the report."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards.indexing import add_tokens
from wdstream.make_shards.jobs import Quarantined
from wdstream.make_shards.manifest import QUARANTINE
from wdstream.make_shards.reasons import examples_of, help_for_ignored, kind_of_reason
from wdstream.make_shards.record import ShardRecord, remove_readings
from wdstream.make_shards.record_sums import RecordSums
from wdstream.make_shards.stores.output import Output
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.plan.held_out import HoldOut
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listing import Listing
from wdstream.raw.texts.finder import TextsLeft
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column
from wdstream.storage.json_lines import write_lines
from wdstream.text.characters import printable, short_name
from wdstream.text.maps.readings import RowReadings

_MEGABYTE = 1e6
_SHOWN_NAMES = 5
_UNNAMED = (
    "no row that could be read names this image: name it in a row of the JSONL file, or put a text file next to it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeShardsReport:
    """What is in the output folder now, and what did not get there.

    Attributes:
        out: the folder, or the URL.
        files: raw files by kind.
        pages: samples by kind of source.
        num_shards: shards that hold samples.
        num_bytes: of all tars.
        quarantined: pages and files that are not in it, as in quarantine.jsonl.
        ignored: files of no use, by suffix.
        outputs: folders below the raw one that wdstream wrote, which are passed over.
        left_to_rows: images that rows name.
        texts_left: text files that are not used.
        fingerprint: of the tokenizer whose column was written, or None.
        without_image: samples that have no image.
        dropped: characters of text layers that were left out of the labels, by reason.
        readings: how rows were read.
        misnamed: pages whose metadata name another language than their text reads as, by both.
        tried_again: pages and files that were read again alone, because their process was lost.
        given_up: those whose process was lost again; they are quarantined.
        made_again: files that had changed since shards were made from them, which were made again.
        changed: files that changed while this run read them, with the pages that were made from them.
        remarks: what the index has to say: metadata that are columns or not, and columns that were damaged.
        not_held_out: why nothing could be held out as was asked; empty where it was, or nothing was asked.
        pages_made: pages read in this run; those of shards that were complete are not among them.
        seconds: this run took.
    """

    out: Path | str
    files: Mapping[str, int]
    pages: Mapping[str, int]
    num_shards: int
    num_bytes: int
    quarantined: tuple[Quarantined, ...]
    ignored: Mapping[str, int]
    outputs: tuple[str, ...]
    left_to_rows: int
    texts_left: TextsLeft
    fingerprint: str | None
    without_image: int
    dropped: Mapping[str, int]
    misnamed: Mapping[str, int]
    readings: RowReadings
    tried_again: int
    given_up: int
    made_again: tuple[str, ...]
    changed: tuple[str, ...]
    remarks: tuple[str, ...]
    not_held_out: str
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
        counts = Counter(kind_of_reason(entry.reason) for entry in self.quarantined)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def print(self, console: Console) -> None:
        """Write the summary, and the reasons of what is quarantined."""
        table = Table(title=f"{self.out}", title_justify="left", show_edge=False)
        table.add_column("source")
        table.add_column("files", justify="right")
        table.add_column("pages", justify="right")
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
                reasons.add_row(Text(short_name(reason)), f"{count:,}")
            console.print(reasons)
            for line in examples_of(self.quarantined):
                console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
        for line in self._lines():
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def check(self) -> None:
        """Refuse what cannot be trained on, or was not one input, after the report is printed.

        Raises:
            ShardError: no page became a sample, with the reasons; or files changed while they were read.
            ConfigError: nothing could be held out as was asked.
        """
        if not self.num_pages:
            reasons = "; ".join(f"{count:,} of {short_name(reason)}" for reason, count in self.reasons().items())
            found = f"all {self.num_quarantined:,} pages and files are quarantined ({reasons})"
            raise ShardError(
                f"{self.out}: no shards, since no page can be trained on: "
                f"{found if self.quarantined else 'the files hold no pages'}; {self._next_step()}"
            )
        if self.not_held_out:
            raise ConfigError(
                f"{self.not_held_out}. The shards are complete, and hold out nothing yet; `wdstream split {self.out} "
                "--holdout N` does that in seconds"
            )
        if self.changed:
            raise ShardError(
                f"{len(self.changed):,} files changed while they were read: {_listed(self.changed)}. When they are as "
                "they should be, run the same command again, with --retry-quarantined: it makes again what changed"
            )

    def _next_step(self) -> str:
        listed = f"{self.out}/{QUARANTINE} has each with its reason. When the cause is gone, run the same command again"
        if not self.num_pages:
            return f"{listed} with --retry-quarantined, or with the option that helps"
        return f"{listed} with --retry-quarantined; where another option helps, --overwrite makes all again with it"

    def _lines(self) -> Iterator[str]:
        made = "all were complete"
        if self.pages_made:
            rate = self.pages_made / max(self.seconds, 1e-9)
            made = f"{self.pages_made:,} pages read in {self.seconds:,.1f} s ({rate:,.1f} pages/s)"
        yield f"{self.num_shards:,} shards, {self.num_bytes / _MEGABYTE:,.1f} MB; {made}"
        if self.fingerprint:
            yield f"token column {self.fingerprint}"
        yield from self.remarks
        yield from self.readings.lines()
        if self.without_image:
            yield f"{self.without_image:,} of {self.num_pages:,} samples have no image"
        for reason, count in self.dropped.items():
            yield f"{count:,} characters of text layers are not in the labels: {short_name(reason)}"
        if self.misnamed:
            pairs = [f"{pair}: {count:,}" for pair, count in self.misnamed.items()]
            yield (
                f"{sum(self.misnamed.values()):,} pages read as another language than their metadata say, which stays: "
                f"{_listed(pairs)}"
            )
        if self.made_again:
            yield f"made again, as their input had changed: {_listed(self.made_again)}"
        if self.tried_again:
            yield f"{self.tried_again:,} pages were read again alone after a lost process, {self.given_up:,} given up"
        if self.left_to_rows:
            yield f"{self.left_to_rows:,} images left to the rows that name them"
        if self.ignored:
            yield "ignored: " + ", ".join(f"{count:,} {suffix}" for suffix, count in self.ignored.items())
            yield from help_for_ignored(self.ignored)
        yield from self.texts_left.remarks()
        if self.outputs:
            yield f"passed over, as wdstream wrote them: {_listed(self.outputs)}"
        if self.quarantined:
            yield f"{self.num_quarantined:,} quarantined: {self._next_step()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PagesMade:
    """What a run did, as in `MakeShardsReport`; `pages` is its `pages_made`."""

    pages: int
    tried_again: int
    given_up: int
    made_again: tuple[str, ...]
    changed: tuple[str, ...]


def _listed(names: Sequence[str]) -> str:
    """A few names, and how many there are."""
    shown = ", ".join(map(short_name, names[:_SHOWN_NAMES]))
    return shown if len(names) <= _SHOWN_NAMES else f"{shown}, and {len(names) - _SHOWN_NAMES:,} more"


def finish(
    raw: Path,
    output: Output,
    listing: Listing,
    files: RawFiles,
    records: Callable[[], Iterator[ShardRecord]],
    counter: TokenCounter | None,
    hold_out: HoldOut | None = None,
    *,
    made: PagesMade,
    started: float,
) -> MakeShardsReport:
    """Write what follows from all shards, and report.

    Args:
        raw: the raw folder.
        output: where the shards are.
        listing: what is in `raw`; folders that could not be listed are quarantined.
        files: the survey; files that could not be read are quarantined.
        records: gives those of all shards, in order, as often as it is called.
        counter: of the token column, when one is wanted.
        hold_out: pages to hold out; None keeps what there is.
        made: what this run did.
        started: when this run did, by `time.monotonic()`.

    Raises:
        ShardError: a shard cannot be indexed.
        OSError: a file cannot be written.
    """
    out = output.path
    quarantined = [Quarantined(file=path or ".", page=0, reason=reason) for path, reason in listing.unreadable]
    quarantined += [Quarantined(file=file.path, page=0, reason=file.reason or "") for file in files.refused()]
    fingerprint = counter.fingerprint if counter is not None else None
    sums = RecordSums.of(records(), fingerprint, with_reads=bool(listing.left_to_rows))
    unnamed = _unnamed_images(raw, listing, sums, records)
    quarantined = sorted({*quarantined, *sums.quarantined, *unnamed})
    write_lines(out / QUARANTINE, (entry.to_json() for entry in quarantined))
    remarks, not_held_out = _write_index(output, sums, records, counter, hold_out)
    remove_readings(out, sums.numbers)  # the report has them
    return MakeShardsReport(
        out=out if not output.store else output.named(str(out)),
        files=dict(sorted(files.kinds.items())),
        pages=dict(sorted(sums.pages.items())),
        num_shards=sums.num_shards,
        num_bytes=sums.num_bytes,
        quarantined=tuple(quarantined),
        ignored=listing.ignored,
        outputs=listing.outputs,
        texts_left=listing.texts_left,
        left_to_rows=len(listing.left_to_rows) - len(unnamed),
        fingerprint=fingerprint if sums.num_shards else None,
        without_image=sums.without_image,
        dropped=dict(sorted(sums.dropped.items())),
        misnamed=dict(sorted(sums.misnamed.items())),
        readings=sums.readings,
        tried_again=made.tried_again,
        given_up=made.given_up,
        made_again=made.made_again,
        changed=made.changed,
        remarks=tuple(map(output.named, remarks)),
        not_held_out=output.named(not_held_out),
        pages_made=made.pages,
        seconds=time.monotonic() - started,
    )


def _unnamed_images(
    raw: Path, listing: Listing, sums: RecordSums, records: Callable[[], Iterator[ShardRecord]]
) -> list[Quarantined]:
    """Images that were left to rows, and that no row read: they are in no sample, and nothing else would say so. None
    where a shard was made before it noted what it read."""
    if not listing.left_to_rows or not sums.knows_reads:
        return []
    left = [path for path in listing.left_to_rows if path not in sums.read]
    others = (path for record in records() for path in record.read if path not in listing.stamps) if left else ()
    by_links = {os.path.realpath(raw / path) for path in others}
    return [
        Quarantined(file=path, page=0, reason=_UNNAMED) for path in left if os.path.realpath(raw / path) not in by_links
    ]


def _write_index(
    output: Output,
    sums: RecordSums,
    records: Callable[[], Iterator[ShardRecord]],
    counter: TokenCounter | None,
    hold_out: HoldOut | None,
) -> tuple[tuple[str, ...], str]:
    """The index of the shards that have samples, with the token column.

    Returns:
        What the index has to say; and why nothing is held out as was asked.
    """
    out = output.path
    if not sums.num_shards:
        shutil.rmtree(out / "index", ignore_errors=True)  # of shards that are no more
        return (), ""
    trouble = ""
    try:
        index = merge_index(out, hold_out)
    except ConfigError as error:  # the shards are made, and of use
        index, trouble = merge_index(out), str(error)
    if counter is not None:
        _write_tokens(output, sums, records, counter)
    return tuple(index.remarks()), trouble


def _write_tokens(
    output: Output, sums: RecordSums, records: Callable[[], Iterator[ShardRecord]], counter: TokenCounter
) -> None:
    """The columns, from the counts that were made with the shards; counted again when a shard was made without them."""
    out, name = output.path, counter.fingerprint
    if not sums.has_tokens or (counter.with_paragraphs and not sums.has_paragraphs):
        add_tokens(out, counter, shards=Shards.open(output.readable()))
        return
    if sums.has_paragraphs:  # wanted now, or counted before
        with write_paragraphs(out, name) as paragraphs:
            for record in records():
                if record.samples:
                    paragraphs.add(record.paragraphs[name])
    write_token_column(out, name, np.asarray(sums.tokens))
