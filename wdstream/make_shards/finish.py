"""The end of make-shards: quarantine.jsonl, the index over all shards, the token column."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wdstream.make_shards.build import ShardRecord
from wdstream.make_shards.indexing import add_tokens
from wdstream.make_shards.jobs import Quarantined, SurveyedFile
from wdstream.make_shards.manifest import QUARANTINE
from wdstream.make_shards.report import MakeShardsReport
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.raw.sources import Listing
from wdstream.shards.index import merge_index
from wdstream.shards.token_columns import write_paragraphs, write_token_column
from wdstream.storage.json_lines import write_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What all shards together hold."""

    pages: Mapping[str, int]
    num_shards: int
    num_bytes: int
    quarantined: tuple[Quarantined, ...]
    fingerprint: str | None

    def report(self, out: Path, listing: Listing, *, pages_made: int, seconds: float) -> MakeShardsReport:
        """The report of a run."""
        return MakeShardsReport(
            out=out,
            files=dict(sorted(Counter(file.kind for file in listing.files).items())),
            pages=self.pages,
            num_shards=self.num_shards,
            num_bytes=self.num_bytes,
            quarantined=self.quarantined,
            ignored=listing.ignored,
            left_to_rows=listing.left_to_rows,
            fingerprint=self.fingerprint,
            pages_made=pages_made,
            seconds=seconds,
        )


def finish(
    out: Path,
    listing: Listing,
    files: Sequence[SurveyedFile],
    records: Sequence[ShardRecord],
    counter: TokenCounter | None,
) -> Outcome:
    """Write what follows from all shards.

    Args:
        out: the folder of shards.
        listing: the raw folder; folders that could not be listed are quarantined.
        files: the survey; files that could not be read are quarantined.
        records: of all shards, in order.
        counter: of the token column, when one is wanted.

    Raises:
        ShardError: a shard cannot be indexed.
        OSError: a file cannot be written.
    """
    found = [Quarantined(file=path or ".", page=0, reason=reason) for path, reason in listing.unreadable]
    found += [Quarantined(file=file.path, page=0, reason=file.reason) for file in files if file.reason is not None]
    found += [entry for record in records for entry in record.quarantined]
    quarantined = tuple(sorted(set(found)))
    write_lines(out / QUARANTINE, [entry.to_json() for entry in quarantined])
    full = [record for record in records if record.samples]
    if full:
        merge_index(out)
        if counter is not None:
            _write_tokens(out, full, counter)
    pages: Counter[str] = Counter()
    for record in full:
        pages.update(record.pages)
    return Outcome(
        pages=dict(sorted(pages.items())),
        num_shards=len(full),
        num_bytes=sum(record.num_bytes for record in full),
        quarantined=quarantined,
        fingerprint=counter.fingerprint if counter is not None and full else None,
    )


def _write_tokens(out: Path, records: Sequence[ShardRecord], counter: TokenCounter) -> None:
    """The columns from the counts that were made with the shards; read anew when a shard was made without them."""
    name = counter.fingerprint
    has_tokens = all(name in record.tokens for record in records)
    has_paragraphs = all(name in record.paragraphs for record in records)
    if not has_tokens or (counter.with_paragraphs and not has_paragraphs):
        add_tokens(out, counter)
        return
    if has_paragraphs:  # wanted now, or counted before
        with write_paragraphs(out, name) as paragraphs:
            for record in records:
                paragraphs.add(record.paragraphs[name])
    write_token_column(out, name, np.array([count for record in records for count in record.tokens[name]]))
