"""Counting the tokens of indexed shards on a cluster: a task per shard, from which only the counts come back."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wdstream.errors import PageError, ShardError, ShardIndexError
from wdstream.make_shards.token_counts import TextCounts, TokenCounter
from wdstream.records import Page
from wdstream.shards.reader import Shards
from wdstream.storage.engines.mapping import map_tasks
from wdstream.storage.engines.settings import EngineSettings

ROWS_AT_ONCE = 64
"""Whose texts are in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSetup:
    """What all tasks have in common.

    Attributes:
        shards: folder or URL of the set, as every machine has it.
        index: fingerprint of its index.
        tokenizer: its path on every machine.
        fingerprint: of the tokenizer.
        with_paragraphs, allow_tokens: see `TokenCounter.open`.
    """

    shards: str
    index: str
    tokenizer: Path
    fingerprint: str
    with_paragraphs: bool
    allow_tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsToCount:
    """Rows of a set, from `first` up to `end`, which are those of a shard."""

    setup: CountSetup
    first: int
    end: int


def count_shards(
    shards: Shards, setup: CountSetup, engine: EngineSettings, workers: int | None, first: int, end: int
) -> Iterator[list[TextCounts]]:
    """Counts of rows in order, at most a shard at a time.

    Args:
        shards: the set.
        setup: of the tasks.
        engine: who counts.
        workers: tasks at a time; all that the cluster has processors for when left out.
        first, end: rows from one up to the other.

    Raises:
        ConfigError: a machine lacks the shards or the tokenizer, or has another.
        ShardError: a sample cannot be read.
    """
    needs = (setup.shards, setup.tokenizer)
    tasks = _tasks(shards, setup, first, end)
    yield from map_tasks(count_task, tasks, engine, workers or 1, command="lengths", most=workers, needs=needs)


def _tasks(shards: Shards, setup: CountSetup, first: int, end: int) -> Iterator[RowsToCount]:
    begin = 0
    for entry in shards.catalog.shards:
        rows = range(max(begin, first), min(begin + entry.samples, end))
        if rows:
            yield RowsToCount(setup=setup, first=rows.start, end=rows.stop)
        begin += entry.samples


def count_task(task: RowsToCount) -> list[TextCounts]:
    """The counts of a shard's rows, on any machine.

    Raises:
        ConfigError: the tokenizer here is another one.
        ShardIndexError: the index here is another one.
        ShardError: a sample cannot be read.
    """
    shards, counter = _opened(task.setup)
    starts = range(task.first, task.end, ROWS_AT_ONCE)
    return [
        counts
        for start in starts
        for counts in count_rows(shards, counter, range(start, min(start + ROWS_AT_ONCE, task.end)))
    ]


def count_rows(shards: Shards, counter: TokenCounter, rows: range) -> list[TextCounts]:
    """Counts of the text of these rows.

    Raises:
        ShardError: a sample cannot be read, or not be counted.
    """
    pages: list[Page] = []
    for row, page in zip(rows, shards.read_pages(rows), strict=True):
        if isinstance(page, PageError):
            raise ShardError(f"{shards.path} row {row}: {page}") from page
        pages.append(page)
    try:
        return counter.count(pages)
    except PageError as error:
        raise ShardError(
            f"{shards.path}: {error}; make the shards again with --tokenizer, which leaves it out"
        ) from error


@lru_cache(maxsize=1)
def _opened(setup: CountSetup) -> tuple[Shards, TokenCounter]:
    """The set and the tokenizer, once in each process.

    Raises:
        ConfigError, ShardIndexError: another one is here.
    """
    shards = Shards.open(setup.shards)
    if shards.catalog.fingerprint != setup.index:
        raise ShardIndexError(
            f"{setup.shards}: index {shards.catalog.fingerprint} here, {setup.index} on the machine that started the "
            "job; when nothing changes it any more, run the same command again"
        )
    counter = TokenCounter.open_same(
        setup.tokenizer, setup.fingerprint, with_paragraphs=setup.with_paragraphs, allow_tokens=setup.allow_tokens
    )
    return shards, counter
