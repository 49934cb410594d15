"""`count_part`: a share of the tokens of a set counted, in a task of a job array; `add_token_column` does the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from wdstream.make_shards.engines.count_journal import CountJournal, nothing_sent
from wdstream.make_shards.indexing import OnRows, count_by_threads, count_elsewhere
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.shards.apart.set_folder import set_folder
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.reader import Shards
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.settings import ShareSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CountPartReport:
    """That the samples of a part are counted: of which set, which part, how many, and how many tokens they have."""

    folder: str
    part: str
    num_samples: int
    num_tokens: int

    def print(self, console: Console) -> None:
        """Write it as two lines: what there is, and what follows."""
        lines = [
            f"{self.folder}: part {self.part}: {self.num_samples:,} samples, {self.num_tokens:,} tokens of text",
            "when all parts are done, the same command without --part writes the token column",
        ]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def count_part(
    shards: Path | str,
    tokenizer: Path,
    *,
    share: ShareSettings,
    paragraphs: bool = False,
    allow_tokens: Sequence[str] = (),
    workers: int | None = None,
    on_progress: OnRows | None = None,
) -> CountPartReport:
    """Count the tokens of a part of the samples, neighbours in the index, and keep the counts next to it.

    Parts of one set may work at the same time. Killed and started again, a part continues.

    Args:
        share: which part, and who counts.
        shards, tokenizer, paragraphs, allow_tokens, workers, on_progress: see `add_token_column`.

    Raises:
        ConfigError: `share` asks for no part; and as `add_token_column`.
        ShardIndexError, ShardError: as there.
    """
    part = share.require_part("count_part", of="add_token_column")
    counter = TokenCounter.open(tokenizer, with_paragraphs=paragraphs, allow_tokens=allow_tokens)
    with set_folder(shards, job="lengths", with_metas=False, part=part) as of:
        opened = of.open() if of.copy is None else Shards.open(of.address)
        first, end = (len(opened) * number // part.of for number in (part.number - 1, part.number))
        journal = CountJournal(
            folder=of.folder,
            index=opened.catalog.fingerprint,
            counter=counter,
            send=nothing_sent if of.copy is None else of.copy.send,
        )
        of.fetch(lambda name: first <= journal.first_row(name) < end, under=f"{INDEX_FOLDER}/counted-")
        count = count_elsewhere(of, opened, counter, tokenizer, allow_tokens, share, workers)
        done = num_tokens = 0
        by_threads = partial(count_by_threads, opened, counter, workers)
        for rows in journal.counted(count or by_threads, first, end, is_part=True):
            done, num_tokens = done + len(rows), num_tokens + sum(row.tokens for row in rows)
            if on_progress is not None:
                on_progress(done, end - first)
    return CountPartReport(folder=shown_url(of.address), part=str(part), num_samples=done, num_tokens=num_tokens)
