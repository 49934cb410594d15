"""Indexes over existing shards: `wdstream index` for tars of anyone, `wdstream lengths` for one more tokenizer."""

import os
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from wdstream.errors import PageError
from wdstream.make_shards.engines.count_journal import CountJournal, CountRows, nothing_sent
from wdstream.make_shards.engines.count_tokens import ROWS_AT_ONCE, CountSetup, count_rows, count_shards
from wdstream.make_shards.record import SHARD_NAME, STATE_FOLDER, load_record, recorded_digests
from wdstream.make_shards.token_counts import TextCounts, TokenCounter, open_counter
from wdstream.pixels.header import image_size
from wdstream.records import Page
from wdstream.shards.apart.set_folder import SetFolder, set_folder
from wdstream.shards.apart.set_to_index import set_to_index
from wdstream.shards.describe import PLAIN_TAR, TarRules
from wdstream.shards.index import IndexReport
from wdstream.shards.reader import Shards
from wdstream.shards.samples.told import reading_of_sample
from wdstream.shards.tar_folder import OnBytes, OnFiles, TarFolder
from wdstream.shards.token_columns import write_paragraphs, write_token_column
from wdstream.storage.engines.mapping import on_every_machine
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import LOCAL, EngineSettings
from wdstream.text.maps.readings import RowReadings, marked_as_text
from wdstream.text.placeholders import leading_mark

_ROWS_LOOKED_AT = 256


OnRows = Callable[[int, int], None]  # (rows done, rows in total)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumnReport:
    """A token column that was written: of which tokenizer, over how many samples, how many tokens in total."""

    folder: Path | str
    fingerprint: str
    num_samples: int
    num_tokens: int

    def print(self, console: Console) -> None:
        """Write it as one line."""
        console.print(
            f"token column {self.fingerprint} of {self.folder}: {self.num_samples:,} samples, "
            f"{self.num_tokens:,} tokens of text",
            highlight=False,
            soft_wrap=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReport:
    """What `index_folder` wrote: the index, and the token column if one was wanted; and what to know of the samples."""

    index: IndexReport
    tokens: TokenColumnReport | None
    notes: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """Write the index's summary, what is to be noted, then the token column's."""
        self.index.print(console)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        if self.tokens is not None:
            self.tokens.print(console)


def add_token_column(
    shards: Path | str,
    tokenizer: Path,
    *,
    paragraphs: bool = False,
    allow_tokens: Sequence[str] = (),
    workers: int | None = None,
    engine: EngineSettings = LOCAL,
    on_progress: OnRows | None = None,
) -> TokenColumnReport:
    """Count the tokens of every sample's text with a tokenizer, and write its column into the index.

    Args:
        shards: a folder or URL of shards with an index.
        tokenizer: a model folder, or tokenizer.json.
        paragraphs: count the tokens of each paragraph, too, which `overlength: split` needs; takes almost twice the
            time. Without it, those that were counted before stay.
        allow_tokens: added tokens that text may form, as `text.allow_tokens` of the configuration has them.
        workers: threads, which tokenise in parallel, or tasks of a cluster at a time; None takes all that there are.
        engine: who counts.
        on_progress: called with rows done and rows in total.

    Raises:
        ConfigError: the tokenizer cannot be read.
        ShardIndexError: there is no index, or it does not fit the shards.
        ShardError: a sample cannot be read.
    """
    counter = TokenCounter.open(tokenizer, with_paragraphs=paragraphs, allow_tokens=allow_tokens)
    with set_folder(shards, job="lengths", with_metas=False) as of:
        opened = of.open()
        report = add_tokens(
            of.folder,
            counter,
            workers=workers,
            on_progress=on_progress,
            shards=opened,
            send=nothing_sent if of.copy is None else of.copy.send,
            elsewhere=count_elsewhere(of, opened, counter, tokenizer, allow_tokens, engine, workers),
        )
    return replace(report, folder=of.address)


def count_elsewhere(
    of: SetFolder,
    opened: Shards,
    counter: TokenCounter,
    tokenizer: Path,
    allow_tokens: Sequence[str],
    engine: EngineSettings,
    workers: int | None,
) -> CountRows | None:
    """What counts rows of a set on a cluster, where that is the engine; None where this machine does."""
    if engine.engine == "local":
        return None
    setup = CountSetup(
        shards=of.address if of.copy is not None else str(on_every_machine(of.folder, engine)),
        index=opened.catalog.fingerprint,
        tokenizer=on_every_machine(tokenizer, engine),
        fingerprint=counter.fingerprint,
        with_paragraphs=counter.with_paragraphs,
        allow_tokens=tuple(allow_tokens),
    )
    return partial(count_shards, opened, setup, engine, workers)


def add_tokens(
    folder: Path,
    counter: TokenCounter,
    *,
    workers: int | None = None,
    on_progress: OnRows | None = None,
    shards: Shards | None = None,
    send: OnFiles = nothing_sent,
    elsewhere: CountRows | None = None,
) -> TokenColumnReport:
    """`add_token_column` with a counter that is open already.

    Args:
        folder: of the set, or what stands for it.
        counter: of the tokens.
        workers, on_progress: as there.
        shards: the set, where its tars are not in the folder.
        send: is given the names of files that are to be where the set is, as counts are kept.
        elsewhere: counts, where others do it.
    """
    shards = shards or Shards.open(folder)
    journal = CountJournal(folder=folder, index=shards.catalog.fingerprint, counter=counter, send=send)
    counts = np.zeros((2, len(shards)), np.int64)  # tokens, and those that are supervised
    done = 0
    with write_paragraphs(folder, counter.fingerprint) if counter.with_paragraphs else nullcontext() as paragraphs:
        journal.remove_others()
        count = elsewhere or partial(count_by_threads, shards, counter, workers)
        for rows in journal.counted(count, 0, len(shards)):
            counts[:, done : done + len(rows)] = [[row.tokens for row in rows], [row.supervised for row in rows]]
            if paragraphs is not None:
                paragraphs.add([row.paragraphs for row in rows])
            done += len(rows)
            if on_progress is not None:
                on_progress(done, len(shards))
    tokens, supervised = counts
    is_all_supervised = bool((tokens == supervised).all())
    write_token_column(folder, counter.fingerprint, tokens, None if is_all_supervised else supervised)
    journal.remove()
    return TokenColumnReport(
        folder=folder, fingerprint=counter.fingerprint, num_samples=len(shards), num_tokens=int(tokens.sum())
    )


def index_folder(
    shards: Path | str,
    tokenizer: Path | None = None,
    *,
    out: Path | str | None = None,
    rules: TarRules = PLAIN_TAR,
    paragraphs: bool = False,
    allow_tokens: Sequence[str] = (),
    workers: int | None = None,
    engine: EngineSettings = LOCAL,
    rebuild: bool = False,
    accept_changed: bool = False,
    on_progress: OnBytes | None = None,
) -> FolderReport:
    """Build the index over a folder of tars, written by anyone, and the token column of a tokenizer, if wanted.

    Args:
        shards: the folder, or a URL; or a pattern of tars at one, such as `https://host/x-{000..127}.tar`.
        tokenizer: a model folder, or tokenizer.json.
        out: folder or URL of the index, where it is not to be next to the tars.
        rules: how keys are read, and what becomes of bad tars and samples.
        paragraphs, allow_tokens: see `add_token_column`.
        workers: processes, or tasks of a cluster at a time; None takes all that there are.
        engine: who describes tars and counts tokens.
        rebuild: describe every tar again, also those that have a fitting idx and meta.
        accept_changed: take shards as they are now, also those that were indexed or made otherwise.
        on_progress: called with bytes of tar done and bytes in total.

    Raises:
        ConfigError: the tokenizer cannot be read, or paragraphs are to be counted without one.
        ShardError: a tar cannot serve as a shard or is not as it was, or there is nothing to train on.
    """
    counter = open_counter(tokenizer, with_paragraphs=paragraphs, allow_tokens=allow_tokens)
    with tars_to_describe(shards, out, rules=rules, workers=workers, engine=engine, on_progress=on_progress) as (
        of,
        tars,
    ):
        index = tars.index(rebuild=rebuild, accept_changed=accept_changed)
        recorded = _write_recorded_tokens(index) if index.is_new or index.notes else []
        opened = of.open()
        is_here = engine.engine == "local"
        send = nothing_sent if of.copy is None else of.copy.send
        tokens = (
            add_tokens(of.folder, counter, workers=workers, shards=opened, send=send) if counter and is_here else None
        )
        notes = (*recorded, *map(of.as_output, notes_on_samples(opened)))
    if tokenizer is not None and not is_here:  # now that the index is where other machines see it
        tokens = add_token_column(
            of.address,
            tokenizer,
            paragraphs=paragraphs,
            allow_tokens=allow_tokens,
            workers=workers,
            engine=engine,
        )
    told = replace(index, address=of.address, notes=tuple(map(of.as_output, index.notes)))
    return FolderReport(index=told, tokens=tokens and replace(tokens, folder=of.address), notes=notes)


@contextmanager
def tars_to_describe(
    shards: Path | str,
    out: Path | str | None,
    part: WorkPart | None = None,
    *,
    rules: TarRules,
    workers: int | None,
    engine: EngineSettings,
    on_progress: OnBytes | None,
) -> Iterator[tuple[SetFolder, TarFolder]]:
    """The folder of an index for the block, and the tars that are described there; arguments as of `index_folder`, or
    of `index_part`."""
    with set_to_index(shards, out, part=part) as (of, tars):
        yield (
            of,
            TarFolder(
                of.folder,
                image_size,
                rules,
                workers=workers,
                engine=engine,
                recorded=recorded_digests(of.folder),
                on_progress=on_progress,
                tars=tars,
                keep=None if of.copy is None else of.copy.send,
            ),
        )


def _write_recorded_tokens(index: IndexReport) -> list[str]:
    """Token columns of shards that make-shards made here, by its records: they vouch for each count.

    Returns:
        A line for each tokenizer.
    """
    entries = index.catalog.shards
    numbers = [SHARD_NAME.fullmatch(entry.name) for entry in entries]
    counts = dict[str, "array[int]"]()
    for place, (entry, number) in enumerate(zip(entries, numbers, strict=True)):
        record = None if number is None else load_record(index.folder, int(number[1]))
        if record is None or record.digest != entry.digest:
            return []
        if not place:
            counts = {name: array("Q") for name in record.tokens}
        counts = {name: column for name, column in counts.items() if name in record.tokens}
        for name, column in counts.items():
            column.extend(record.tokens[name])
    names = sorted(counts)
    for name in names:
        write_token_column(index.folder, name, np.asarray(counts[name]))
    return [f"token column {name}: the counts that make-shards recorded" for name in names]


def notes_on_samples(shards: Shards) -> Iterator[str]:
    """What is not wrong in itself, but seldom meant: samples without an image, texts that begin with a placeholder."""
    without_image = int((shards.num_images == 0).sum())
    yield f"{without_image:,} of {len(shards):,} samples have no image"
    yield from _how_read(shards)
    rows = np.flatnonzero((shards.num_images == 1) & (shards.text_chars > 0))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _ROWS_LOOKED_AT)).astype(int)]
    pages = [page for page in shards.read_pages(rows.tolist()) if isinstance(page, Page)]
    marks = [mark for page in pages if (mark := leading_mark(page.segments))]
    if marks:
        yield f"warning: {len(marks):,} of {len(pages):,} texts looked at {marked_as_text(marks[0])}"


def _how_read(shards: Shards) -> Iterator[str]:
    """How samples are read, of some over the whole set."""
    if (Path(shards.path) / STATE_FOLDER).is_dir():
        return  # make-shards made them, and said so
    readings = RowReadings()
    rows = sorted({*np.linspace(0, len(shards) - 1, min(len(shards), _ROWS_LOOKED_AT)).astype(int).tolist()})
    for row, sample in zip(rows, shards.read_many(rows), strict=True):
        if not isinstance(sample, PageError):
            readings.add(shards.shard_name(row), reading_of_sample(*sample, shards.rules))
    yield from (f"of {min(len(shards), _ROWS_LOOKED_AT):,} samples looked at, {line}" for line in readings.lines())


def count_by_threads(
    shards: Shards, counter: TokenCounter, workers: int | None, first: int, end: int
) -> Iterator[list[TextCounts]]:
    """Counts of rows in order, a few at a time; threads work a little ahead."""
    num_threads = workers or min(32, os.cpu_count() or 1)
    waiting: deque[Future[list[TextCounts]]] = deque()
    starts = deque(range(first, end, ROWS_AT_ONCE))
    with ThreadPoolExecutor(num_threads) as pool:
        while starts or waiting:
            while starts and len(waiting) < 2 * num_threads:
                start = starts.popleft()
                rows = range(start, min(start + ROWS_AT_ONCE, end))
                waiting.append(pool.submit(count_rows, shards, counter, rows))
            yield waiting.popleft().result()
