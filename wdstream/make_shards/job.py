"""`make_shards`: the whole job in order: list, claim, survey, assign, build, merge."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from wdstream.errors import ConfigError, write_trouble
from wdstream.make_shards.changes import StaleShards, differing, find_stale, moved_files, save_stamps
from wdstream.make_shards.engines.engine import JobEngine, job_engine
from wdstream.make_shards.engines.merge import bring_parts, refuse_missing
from wdstream.make_shards.engines.part_folder import await_tasks
from wdstream.make_shards.finish import MakeShardsReport, PagesMade, finish
from wdstream.make_shards.jobs import Job, MakeShardsProgress, OnProgress, Setup, shard_name
from wdstream.make_shards.manifest import (
    claim,
    load_survey,
    locked,
    programs_of,
    refuse_foreign,
    refuse_other_split,
    remove_beyond,
    save_survey,
)
from wdstream.make_shards.map_check import check_map
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.reasons import help_for_ignored
from wdstream.make_shards.record import STATE_FOLDER, ShardRecord, load_record, record_path
from wdstream.make_shards.stores.output import Output, opened_output
from wdstream.make_shards.survey.shard_plan import ShardPlan
from wdstream.make_shards.survey.survey import Survey
from wdstream.make_shards.token_counts import open_counter
from wdstream.make_shards.workers import JobDone
from wdstream.raw.folder_state import OUTPUT_MARK, folder_state
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listing import Listing, list_files
from wdstream.raw.mets.groups import MetsGroups
from wdstream.raw.plugins.active import folder_plugin, list_for_plugin, plugged_in, plugin_fingerprints
from wdstream.raw.registry import known_suffixes, source_of_kind
from wdstream.raw.remote.access import is_raw_file, raw_address, raw_folder, shown_raw
from wdstream.shards.meta import is_complete
from wdstream.storage.engines.part_locks import remove_part_notes, saving
from wdstream.storage.engines.ray_cluster import import_ray
from wdstream.storage.places import local_folder
from wdstream.text.characters import short_name


class MakeShardsStopped(KeyboardInterrupt):
    """make-shards was interrupted; complete shards are kept, and the same command continues with the rest."""


def make_shards(
    raw: Path | str, out: Path | str, *, options: MakeShardsOptions | None = None, on_progress: OnProgress | None = None
) -> MakeShardsReport:
    """Make shards with an index from a folder of raw pages.

    The same input and options give the same bytes, whatever the number of workers, and wherever they are. Killed at any
    moment and started again, it continues after the last complete shard, and ends with those bytes.

    Args:
        raw: a folder of PDFs, images and JSONL files (`wdstream/raw/listing.py`), or its URL in a store.
        out: the folder of shards, or its URL in a store; new, or one that the same job had begun. It may be inside
            `raw`.
        options: see `MakeShardsOptions`; one part of the shards is for `make_part`.
        on_progress: called while pages are made, some at a time; `progress_bar` makes one.

    Raises:
        ConfigError: nothing to read, or an output folder that is not ours, or was made from something else.
        ShardError: the output cannot be written; or shards are to be there that are not.
        MakeShardsStopped: interrupted from the keyboard.
    """
    started = time.monotonic()
    options = options or MakeShardsOptions()
    if options.own_part is not None:
        raise ConfigError("part: make_shards makes the whole; wdstream.make_shards.make_part makes a part of it")
    with opened_job(raw, out, options, on_progress) as job:
        files, jobs, made = job.make()
        report = finish(
            job.raw,
            job.output,
            job.listing,
            files,
            partial(job.records, jobs),
            job.counter,
            options.hold_out,
            made=made,
            started=started,
        )
        remove_part_notes(job.out / STATE_FOLDER)
        await_tasks(job.out, None, wait_s=10.0)
        return report


@contextmanager
def opened_job(
    raw: Path | str, out: Path | str, options: MakeShardsOptions, on_progress: OnProgress | None
) -> Iterator["ShardsJob"]:
    """The job of an output folder, or a part of it, which it holds for the block.

    Raises:
        ConfigError, ShardError, MakeShardsStopped: as `make_shards`.
    """
    part = options.own_part
    _refuse_same(raw, out)
    if options.engine != "local":
        import_ray(options.engine)
    with (
        opened_output(out, part=part) as output,
        raw_folder(raw) as raw_path,
        plugged_in(options.sources),
    ):
        folder = output.path
        job = ShardsJob(raw_path, output, options, on_progress)
        programs_of(options, job.listing)
        refuse_foreign(folder)
        refuse_other_split(folder, options)
        try:
            with locked(folder, part) as locks, _writing(folder):
                job.locks = [*locks, *output.locks]
                with saving(folder / STATE_FOLDER, part):
                    claim(folder, options, job.listing)
                    output.push()
                yield job
        except KeyboardInterrupt as error:
            done = f"{job.progress.shards_done} of {job.progress.shards_total} shards are complete"
            raise MakeShardsStopped(f"stopped; run the same command again and it continues: {done}") from error


def _refuse_same(raw: Path | str, out: Path | str) -> None:
    """Refuse to write among the raw pages.

    Raises:
        ConfigError: the output is the raw folder, or above it.
    """
    below, above = (
        str(address).rstrip("/") if (path := local_folder(address)) is None else path.resolve().as_posix()
        for address in (raw, out)
    )
    if f"{below}/".startswith(f"{above.rstrip('/')}/"):
        raise ConfigError(f"{out}: shards cannot be written to the raw folder itself, or above it; choose another")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_trouble(out, error) from error


def _list(raw: Path, out: Path, options: MakeShardsOptions, on_found: Callable[[int], None] | None = None) -> Listing:
    plugin = folder_plugin()
    if plugin is not None:
        return list_for_plugin(raw, plugin, exclude=out, allow_outside_links=options.allow_outside_links)
    listing = list_files(
        raw,
        exclude=out,
        allow_outside_links=options.allow_outside_links,
        text_from=options.text_from,
        mets_groups=MetsGroups(images=options.mets_images, texts=options.mets_texts),
        keep_layers=options.document_text == "layer",
        image_folders=options.image_folders,
        on_found=on_found,
    )
    if not listing.files:
        ignored = ", ".join(f"{count} {suffix}" for suffix, count in listing.ignored.items()) or "no files"
        advice = "".join(f"; {line}" for line in help_for_ignored(listing.ignored))
        trouble = [f"{short_name(path)} {reason}" for path, reason in listing.unreadable]
        advice += "".join(f"; {line}" for line in trouble[:1]) + (
            f", and {len(trouble) - 1:,} more" if trouble[1:] else ""
        )
        read = ", ".join(known_suffixes())
        raise ConfigError(
            f"{shown_raw(raw)}: no file to read pages from: found {ignored}{advice} (files that are read: {read})"
        )
    for kind in listing.kinds:
        source_of_kind(kind).check_installed()
    return listing


class ShardsJob:
    """The survey, then every shard that is not complete: all of them, or those of one part.

    Attributes:
        raw: the raw folder.
        output: where shards go; `out` is the folder that is, or stands for it.
        listing: of the raw one.
        counter: of tokens, where they are wanted.
        locks: descriptors of what holds the output.
        progress: how far it is.

    Raises:
        ConfigError: nothing to read, or no such tokenizer.
    """

    def __init__(self, raw: Path, output: Output, options: MakeShardsOptions, on_progress: OnProgress | None) -> None:
        self.raw, self.output, self.out = raw, output, output.path
        self._options = options
        self._on_progress = on_progress
        self.listing = _list(raw, self.out, options, lambda found: self._report("listing", found, 0, unit="files"))
        self.counter = open_counter(
            options.tokenizer, with_paragraphs=options.paragraphs, allow_tokens=options.allow_tokens
        )
        self.locks: Sequence[int] = ()
        self.progress = MakeShardsProgress(stage="counting pages", pages_done=0, pages_total=0)
        self._part = options.own_part
        self._pages_made = 0

    def make(self) -> tuple[RawFiles, ShardPlan, PagesMade]:
        """Survey and build; returns the survey, the job of every shard of its part, and what was done.

        Raises:
            ShardError: all are to be there, made by parts, and some are not.
        """
        options = self._options
        if options.merges:
            bring_parts(self.output, options.merge_from)
        raw, out = raw_address(self.raw), str(self.out.resolve())
        kinds = self.listing.kinds
        plugins, told = [*plugin_fingerprints(kinds)], options.model_dump(mode="json")
        setup = Setup(raw=raw, out=out, store=self.output.store, options=told, plugins=plugins)
        with job_engine(options, setup, self.locks, kinds, self.counter) as engine:
            files, made_again = self._files(engine)
            self._check_map(files)
            jobs = self._own(ShardPlan(files, options))
            if self._part is None:
                remove_beyond(self.out, len(jobs))
            pages_made = self._build(engine, jobs)
        lost = engine.recovery
        made = PagesMade(
            pages=pages_made,
            tried_again=lost.tried_again,
            given_up=lost.given_up,
            made_again=tuple(made_again),
            changed=tuple(self._changed_meanwhile(jobs)) if pages_made else (),
        )
        return files, jobs, made

    def records(self, jobs: ShardPlan) -> Iterator[ShardRecord]:
        """The records of shards, in order; all of them together would need much memory."""
        for number in jobs.numbers:
            if (record := load_record(self.out, number)) is not None:
                yield record

    def _own(self, jobs: ShardPlan) -> ShardPlan:
        """The jobs of its part."""
        part = self._part
        return jobs if part is None else jobs.where(part.owns)

    def _check_map(self, files: RawFiles) -> None:
        """Where the map is wrong and nothing is made yet, another one does not change the options."""
        try:
            check_map(self.raw, files, self._options)
        except ConfigError:
            if self._part is None and not any(record_path(self.out, 0).parent.glob("shard-*.json")):
                (self.out / OUTPUT_MARK).unlink(missing_ok=True)
                self.output.push()
            raise

    def _files(self, engine: JobEngine) -> tuple[RawFiles, list[str]]:
        """The survey, made or completed, and names of files that changed since they were read.

        The records of shards that were made from them are removed.
        """
        before = load_survey(self.out)
        stale, moved = StaleShards(), set[str]()
        if before is not None:
            moved = moved_files(self.out, self.listing.stamps)
            jobs = self._own(ShardPlan(before, self._options))
            stale = find_stale(self.raw, self.out, jobs, moved, check_all=self._options.check_content)
            for number in stale.shards:
                record_path(self.out, number).unlink(missing_ok=True)
            moved |= stale.files.keys()
        known = (file for file in before or () if file.path not in moved and not self._options.is_retried(file.reason))
        survey = self._new_survey()
        if before is None:
            self._prepare_early()
        files = survey.run(engine, None if before is None else known, self._count_files)
        self._pages_made = survey.pages_made
        with saving(self.out / STATE_FOLDER, self._part):
            if files != before:
                save_survey(self.out, files)
                self.output.push()
            # Stamps of the first part stay until the merge: what moved since then, each part is to look at. Where a
            # whole job surveys for the first time, its stamps are there already.
            if (before is None) != (self._part is None):
                save_stamps(self.out, self.listing.stamps)
            survey.journal.remove()
            self.output.push()
        return files, stale.named()

    def _new_survey(self) -> Survey:
        def wants(job: Job) -> bool:
            is_own = self._part is None or self._part.owns(job.number)
            return is_own and not _is_complete(self.out, job.number, lambda: job, self._options)

        return Survey(self.output, self._options, self.listing.files, self.listing.stamps, wants)

    def _prepare_early(self) -> None:
        """Shards that are made before the survey is kept are made of the input as it is now, also those of a job before
        that was killed there: where anything moved since, they are made again."""
        if self._part is None and moved_files(self.out, self.listing.stamps):
            for path in record_path(self.out, 0).parent.glob("shard-*.json"):
                path.unlink()
        if self._part is None:
            save_stamps(self.out, self.listing.stamps)
            self.output.push()

    def _count_files(self, done: int, total: int) -> None:
        self._report("counting pages", done, total, unit="files")

    def _changed_meanwhile(self, jobs: Sequence[Job]) -> list[str]:
        """Files that are not what they were when the job began, by name, with the pages that were made from them."""
        outside = self._options.allow_outside_links
        state = folder_state(self.raw, exclude=self.out, allow_outside_links=outside)
        if state == self.listing.state:
            return []
        now = _list(self.raw, self.out, self._options).stamps
        before = self.listing.stamps
        moved = differing(before, now)
        stale = find_stale(self.raw, self.out, jobs, {path for path in moved if path in before})
        others = [(path, _size(before, path), _size(now, path)) for path in sorted(moved - stale.files.keys())]
        # What was read of a file may still be there, and more of it, such as lines.
        return stale.named() + [
            f"{path} ({'new' if not size else 'gone' if not size_now else f'of {size} bytes, now {size_now}'})"
            for path, size, size_now in others
            if size != size_now and (size_now or not is_raw_file(self.raw / path))  # else its page is gone
        ]

    def _build(self, engine: JobEngine, jobs: ShardPlan) -> int:
        """Build every shard that is not complete; returns the pages read for it."""
        todo = jobs.where(lambda number: not _is_complete(self.out, number, lambda: jobs.job(number), self._options))
        if self._options.merges:
            refuse_missing(self.out, todo.numbers, len(jobs), self._options.merge_from)
        total = jobs.num_pages
        before = total - todo.num_pages
        shards_done = len(jobs) - len(todo)
        started: Counter[int] = Counter()
        num_started = 0
        self._report("making shards", before, total, shards_done, len(jobs))
        for event in engine.run(todo):
            number, num_pages = event.job.number, event.job.num_pages
            if isinstance(event, JobDone):
                (self.output.take_in if engine.is_elsewhere else self.output.built)(number)
                shards_done += 1
                now = num_pages
            else:  # a shard that is begun again after a loss must not count its pages twice
                now = min(started[number] + event.count, num_pages)
            num_started += now - started[number]
            started[number] = now
            self._report("making shards", before + num_started, total, shards_done, len(jobs))
        return total - before + self._pages_made

    def _report(
        self, stage: str, done: int, total: int, shards_done: int = 0, shards_total: int = 0, *, unit: str = "pages"
    ) -> None:
        self.progress = MakeShardsProgress(
            stage=stage,
            pages_done=done,
            pages_total=total,
            shards_done=shards_done,
            shards_total=shards_total,
            unit=unit,
        )
        if self._on_progress is not None:
            self._on_progress(self.progress)


def _size(stamps: Mapping[str, str], path: str) -> str:
    return stamps.get(path, "").partition(" ")[0]


def _is_complete(out: Path, number: int, job: Callable[[], Job], options: MakeShardsOptions) -> bool:
    """Whether this shard was finished before, from the pages of its job, and its files are still what was written."""
    record = load_record(out, number)
    if record is None or record.items not in ("", job().digest):
        return False
    if any(options.is_retried(entry.reason) for entry in record.quarantined):
        return False
    if not record.samples:
        return True
    return is_complete(out / shard_name(number), record.digest)
