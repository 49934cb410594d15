"""`wdstream dedup`: a list of the pages that are copies of others, which reshard and `--exclude-list` take.

read each shard once, in processes ─► exact copies, near copies ─► which stays ─► the list, and pictures of pairs
page_marks.py                         copies.py                                   here, pair_sheet.py
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from wdstream.curation.deduplication.copies import DroppedPages, pages_to_drop
from wdstream.curation.deduplication.dedup_options import DedupOptions
from wdstream.curation.deduplication.page_marks import MarksTask, load_marks, mark_shard
from wdstream.curation.deduplication.pair_sheet import write_pair_sheet
from wdstream.curation.resharding.choice import Choice, choose, open_inputs
from wdstream.curation.resharding.job_folder import JobFolder
from wdstream.curation.resharding.job_output import JobOutput, job_output, make_pieces
from wdstream.errors import ConfigError, ShardError
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.mapping import on_every_machine, sets_on_every_machine
from wdstream.storage.engines.own_folder import own_folder
from wdstream.storage.engines.part import PartDone, refuse_missing_pieces
from wdstream.storage.engines.part_locks import number_of_parts
from wdstream.storage.json_lines import write_lines
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.writes.scratch import temporary_folder

_VERSION = 1
_SHOWN_PAIRS = 40
MARKS_SUFFIX = ".marks"
_SHEET_SUFFIX = ".jpg"

OnPagesRead = Callable[[int, int], None]
"""Called after each shard, with pages done and pages in total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupReport:
    """What dedup found.

    Attributes:
        report: the list.
        sheet: pictures of near pairs; None where there are none.
        num_pages: of all inputs.
        num_groups: pages that stay for others.
        counts: pages on the list, by why.
    """

    report: Path | str
    sheet: Path | str | None
    num_pages: int
    num_groups: int
    counts: Counter[str]

    def print(self, console: Console) -> None:
        """What was found, and what to do with it."""
        kinds = ", ".join(f"{count:,} {why}" for why, count in sorted(self.counts.items())) or "none"
        found = f"{self.counts.total():,} of {self.num_pages:,} pages are copies ({kinds})"
        report = shown_url(str(self.report))
        lines = [
            f"{found}; {self.num_groups:,} others stay for them",
            f"{report} lists them, for --exclude-list of `wdstream reshard`; nothing else was changed",
            f"{report}{MARKS_SUFFIX}/ holds what was read, for other options; remove it when you are done",
        ]
        lines += (
            [f"{shown_url(str(self.sheet))} shows near pairs, the least alike first: look at them"]
            if self.sheet
            else []
        )
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def dedup(
    paths: Sequence[Path | str],
    report: Path | str,
    *,
    options: DedupOptions | None = None,
    on_progress: OnPagesRead | None = None,
) -> DedupReport:
    """Find pages that are copies of others, and list all but one of each.

    The list is complete or absent, and the same for any number of processes. Killed and started again, the job
    continues after the last shard that it read. Memory: about 160 bytes per page, and 460 with `near`.

    Args:
        paths: folders or URLs of shards with an index.
        report: file or URL of the list: a JSON object per line, with `key` and `shards` (fingerprint of its folder) of
            the page, `kept` and `kept_shards` of the page that stays for it, `why` and `distance`.
        options: what counts as a copy.
        on_progress: called after each shard.

    Raises:
        ConfigError: inputs or the list's place cannot be used.
        ShardError: a page cannot be read, or the list not be written.
    """
    options = options or DedupOptions()
    if options.own_part is not None:
        raise ConfigError("part: dedup does the whole; dedup_part does a part of it")
    with _opened_job(paths, report, options) as job:
        choice = job.choice
        with job.folder.claimed(_content(choice)):
            if options.merges:
                job.merge_parts()
            job.read(on_progress)
            marks = np.concatenate([_kept_marks(task) for task in job.tasks])
            copies = pages_to_drop(marks, choice.column("text_chars"), options)
            counts = Counter[str]()
            with _files_of(report) as (listed, pictures):
                has_sheet = _write_sheet(pictures, choice, copies)
                write_lines(listed, _lines(choice, copies, options, counts))
    return DedupReport(
        report=report,
        sheet=_next_to(report, _SHEET_SUFFIX) if has_sheet else None,
        num_pages=len(choice),
        num_groups=len(np.unique(copies.kept)),
        counts=counts,
    )


def dedup_part(
    paths: Sequence[Path | str], report: Path | str, *, options: DedupOptions, on_progress: OnPagesRead | None = None
) -> PartDone:
    """Read the shards of one part for `dedup`; what was read is kept next to where the list will be, in `.marks`.

    Raises:
        ConfigError: `options` ask for no part; and as `dedup`.
        ShardError: as `dedup`.
    """
    part = options.require_part("dedup_part", of="dedup")
    with _opened_job(paths, report, options) as job, job.folder.claimed(_content(job.choice)):
        num_pages = job.read(on_progress)
    return PartDone(out=_next_to(report, MARKS_SUFFIX), part=part, num_shards=len(job.own), num_pages=num_pages)


class _DedupJob:
    """Which shards are to be read, and where what is read of them is kept.

    Attributes:
        choice: all pages of the inputs.
        folder: of marks.
        tasks: of all shards.
        own: of those of the part that is done, or all.
    """

    def __init__(self, paths: Sequence[Path | str], output: JobOutput, options: DedupOptions) -> None:
        marks = on_every_machine(output.path, options)
        self._options, part = options, options.own_part
        remedy = "give another --report, or remove that folder, which holds what was read"
        self.folder = JobFolder(out=marks, job="dedup", part=part, store=output.store, remedy=remedy)
        self.folder.refuse_inside(paths)
        self.choice = choose(open_inputs(sets_on_every_machine(paths, options)))
        self.tasks = list(_tasks(self.choice, self.folder, options))
        owned = [number for number in range(len(self.tasks)) if part is None or part.owns(number)]
        pages = [entry.samples for given in self.choice.inputs for entry in given.shards.catalog.shards]
        self.own = [self.tasks[number] for number in owned]
        self._num_pages = sum(pages[number] for number in owned)

    def merge_parts(self) -> None:
        """Bring what parts read and kept elsewhere.

        Raises:
            ShardError: of some shards nothing is there.
        """
        places = self._options.merge_from
        self.folder.bring(places, lambda name: [name])
        missing = [number for number, task in enumerate(self.tasks) if load_marks(task) is None]
        of = number_of_parts([self.folder.state])
        refuse_missing_pieces(self.folder.out, missing, len(self.tasks), of)

    def read(self, on_progress: OnPagesRead | None) -> int:
        """Read its shards; returns the number of their pages."""
        options, done = self._options, 0
        inputs = [given.shards.path for given in self.choice.inputs]
        workers = min(options.num_workers, len(self.own)), options.workers
        counts = make_pieces(mark_shard, self.own, _is_marked, self.folder, options, workers, inputs)
        for count in counts:
            done += count
            if on_progress is not None:
                on_progress(done, self._num_pages)
        return done


@contextmanager
def _opened_job(paths: Sequence[Path | str], report: Path | str, options: DedupOptions) -> Iterator[_DedupJob]:
    """The job for the block, its place for marks next to the list.

    Raises:
        ConfigError: the list cannot be there; and as `job_output`.
    """
    path = local_folder(report)
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigError(f"{report}: expected the name of a file in a folder that is there, for the list")
    with job_output(_next_to(report, MARKS_SUFFIX), "dedup", paths, options, manifest="") as output:
        yield _DedupJob(paths, output, options)


def _next_to(report: Path | str, suffix: str) -> Path | str:
    """A file or folder next to a list: its name with something after it."""
    return report.with_name(report.name + suffix) if isinstance(report, Path) else f"{report}{suffix}"


@contextmanager
def _files_of(report: Path | str) -> Iterator[tuple[Path, Path]]:
    """Where the list and its pictures are written in the block; at a URL they are sent at its end, the list last."""
    path = local_folder(report)
    if path is not None:
        yield path, path.with_name(path.name + _SHEET_SUFFIX)
        return
    folder, _, name = str(report).rpartition("/")
    place, sheet = open_place(folder), name + _SHEET_SUFFIX
    with own_folder(temporary_folder(), "list-") as own:
        yield own / name, own / sheet
        if (own / sheet).is_file():
            place.put(sheet, own / sheet)
        else:
            place.remove([sheet])
        place.put(name, own / name)


def _is_marked(task: MarksTask) -> bool:
    return load_marks(task) is not None


def _content(choice: Choice) -> dict[str, object]:
    return {"version": _VERSION, "input": [given.shards.fingerprint for given in choice.inputs]}


def _tasks(choice: Choice, folder: JobFolder, options: DedupOptions) -> Iterator[MarksTask]:
    number = -1
    for given in choice.inputs:
        for shard in range(len(given.shards.shard_names)):
            number += 1
            yield MarksTask(
                folder=folder,
                name=f"{'near' if options.near else 'exact'}-{number:06d}",
                path=str(given.shards.path),
                fingerprint=given.shards.fingerprint,
                shard=shard,
                near=options.near,
                max_pixels=options.max_pixels,
            )


def _kept_marks(task: MarksTask) -> NDArray[np.void]:
    marks = load_marks(task)
    if marks is None:
        raise ShardError(f"{task.folder.out / task.name} changed while it was needed: run the same command again")
    return marks


def _lines(
    choice: Choice, copies: DroppedPages, options: DedupOptions, counts: Counter[str]
) -> Iterator[dict[str, object]]:
    """The list, in order of the input; counts why each page is on it."""
    same = {"image": "same image", "text": "same text", "both": "same image and text"}[options.by]
    near = {"image": "near image", "text": "near text", "both": "near image and text"}[options.by]
    columns = (copies.row, copies.kept, copies.distance, copies.is_near)
    for row, kept, distance, is_near in zip(*(column.tolist() for column in columns), strict=True):
        why = near if is_near else same
        counts[why] += 1
        key, shards = choice.name(row)
        kept_key, kept_shards = choice.name(kept)
        line = {"key": key, "shards": shards, "kept": kept_key, "kept_shards": kept_shards}
        yield {**line, "why": why, "distance": distance}


def _write_sheet(sheet: Path, choice: Choice, copies: DroppedPages) -> bool:
    """Pictures of the near pairs that are least alike; whether there are any."""
    near = np.flatnonzero(copies.is_near)
    near = near[np.argsort(-copies.distance[near], kind="stable")][:_SHOWN_PAIRS]
    if not len(near):
        sheet.unlink(missing_ok=True)
        return False
    pairs = [(choice.page(int(copies.kept[n])), choice.page(int(copies.row[n])), int(copies.distance[n])) for n in near]
    write_pair_sheet(sheet, pairs)
    return True
