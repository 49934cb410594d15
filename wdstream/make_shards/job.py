"""`make_shards`: the whole job in order: list, claim, survey, assign, build, merge."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards.changes import StaleShards, differing, find_stale, moved_files, save_stamps
from wdstream.make_shards.engines.engine import JobEngine, job_engine
from wdstream.make_shards.finish import MakeShardsReport, PagesMade, finish
from wdstream.make_shards.jobs import Job, MakeShardsProgress, OnProgress, Setup, plan_shards, plan_survey, shard_name
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
from wdstream.make_shards.record import ShardRecord, load_record, record_path
from wdstream.make_shards.token_counts import open_counter
from wdstream.make_shards.workers import JobDone
from wdstream.raw.folder_state import OUTPUT_MARK, folder_state
from wdstream.raw.listing import Listing, list_files
from wdstream.raw.mets.groups import MetsGroups
from wdstream.raw.plugins.active import folder_plugin, list_for_plugin, plugged_in, plugin_fingerprints
from wdstream.raw.registry import known_suffixes, source_of_kind
from wdstream.raw.source import RawFile
from wdstream.shards.meta import is_complete


class MakeShardsStopped(KeyboardInterrupt):
    """make-shards was interrupted; complete shards are kept, and the same command continues with the rest."""


def make_shards(
    raw: Path, out: Path, *, options: MakeShardsOptions | None = None, on_progress: OnProgress | None = None
) -> MakeShardsReport:
    """Make shards with an index from a folder of raw pages.

    The same input and options give the same bytes, whatever the number of workers. Killed at any moment and started
    again, it continues after the last complete shard, and ends with those bytes.

    Args:
        raw: a folder of PDFs, images and JSONL files (`wdstream/raw/listing.py`).
        out: the folder of shards; new, or one that the same job had begun. It may be inside `raw`.
        options: see `MakeShardsOptions`.
        on_progress: called for every page; `progress_bar` makes one.

    Raises:
        ConfigError: nothing to read, or an output folder that is not ours, or was made from something else.
        ShardError: the output cannot be written.
        MakeShardsStopped: interrupted from the keyboard.
    """
    started = time.monotonic()
    options = options or MakeShardsOptions()
    raw, out = Path(raw), Path(out)
    if out.resolve() == raw.resolve() or raw.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{out}: shards cannot be written to the raw folder itself, or above it; choose another")
    with plugged_in(options.sources):
        return _make(raw, out, options, on_progress, started)


def _make(
    raw: Path, out: Path, options: MakeShardsOptions, on_progress: OnProgress | None, started: float
) -> MakeShardsReport:
    """`make_shards`, with the sources that it uses."""
    listing = _list(raw, out, options)
    counter = open_counter(options.tokenizer, with_paragraphs=options.paragraphs, allow_tokens=options.allow_tokens)
    programs_of(options, listing)
    refuse_foreign(out)
    refuse_other_split(out, options)
    job = _ShardsJob(raw, out, options, listing, on_progress)
    try:
        with locked(out) as lock:
            try:
                claim(out, options, listing)
                files, records, made = job.make(lock)
                return finish(raw, out, listing, files, records, counter, options.hold_out, made=made, started=started)
            except OSError as error:
                raise ShardError(
                    f"{out}: cannot be written ({error.strerror or error}); when that is put right, run the same "
                    "command again: it continues"
                ) from error
    except KeyboardInterrupt as error:
        done = f"{job.progress.shards_done} of {job.progress.shards_total} shards are complete"
        raise MakeShardsStopped(f"stopped; run the same command again and it continues: {done}") from error


def _list(raw: Path, out: Path, options: MakeShardsOptions) -> Listing:
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
    )
    if not listing.files:
        ignored = ", ".join(f"{count} {suffix}" for suffix, count in listing.ignored.items()) or "no files"
        raise ConfigError(f"{raw}: no file to read pages from, such as {', '.join(known_suffixes())} (found {ignored})")
    for kind in {file.kind for file in listing.files}:
        source_of_kind(kind).check_installed()
    return listing


class _ShardsJob:
    """The survey, then every shard that is not complete."""

    def __init__(
        self, raw: Path, out: Path, options: MakeShardsOptions, listing: Listing, on_progress: OnProgress | None
    ) -> None:
        self._raw, self._out = raw, out
        self._options = options
        self._listing = listing
        self._on_progress = on_progress
        self.progress = MakeShardsProgress(stage="counting pages", pages_done=0, pages_total=0)

    def make(self, lock: int) -> tuple[list[RawFile], list[ShardRecord], PagesMade]:
        """Survey and build; returns the survey, the record of every shard, and what was done."""
        options = self._options
        raw, out = str(self._raw.resolve()), str(self._out.resolve())
        plugins = [*plugin_fingerprints(file.kind for file in self._listing.files)]
        setup = Setup(raw=raw, out=out, options=options.model_dump(mode="json"), plugins=plugins)
        with job_engine(options, setup, keep_open=[lock]) as engine:
            files, made_again = self._files(engine)
            self._check_map(files)
            jobs = plan_shards(files, options)
            remove_beyond(self._out, len(jobs))
            pages_made = self._build(engine, jobs)
        records = [record for job in jobs if (record := load_record(self._out, job.number)) is not None]
        lost = engine.recovery
        made = PagesMade(
            pages=pages_made,
            tried_again=lost.tried_again,
            given_up=lost.given_up,
            made_again=tuple(made_again),
            changed=tuple(self._changed_meanwhile(jobs)) if pages_made else (),
        )
        return files, records, made

    def _check_map(self, files: Sequence[RawFile]) -> None:
        """Where the map is wrong and nothing is made yet, another one does not change the options."""
        try:
            check_map(self._raw, files, self._options)
        except ConfigError:
            if not any(record_path(self._out, 0).parent.glob("shard-*.json")):
                (self._out / OUTPUT_MARK).unlink(missing_ok=True)
            raise

    def _files(self, engine: JobEngine) -> tuple[list[RawFile], list[str]]:
        """The survey, made or completed, and names of files that changed since they were read.

        The records of shards that were made from them are removed.
        """
        before = load_survey(self._out)
        stale, moved = StaleShards(), set[str]()
        if before is not None:
            moved = moved_files(self._out, self._listing.stamps)
            jobs = plan_shards(before, self._options)
            stale = find_stale(self._raw, self._out, jobs, moved, check_all=self._options.check_content)
            for number in stale.shards:
                record_path(self._out, number).unlink(missing_ok=True)
            moved |= stale.files.keys()
        known = [file for file in before or () if file.path not in moved and not self._options.is_retried(file.reason)]
        files = self._survey(engine, {file.path: file for file in known})
        if files != before:
            save_survey(self._out, files)
        save_stamps(self._out, self._listing.stamps)
        return files, stale.named()

    def _changed_meanwhile(self, jobs: Sequence[Job]) -> list[str]:
        """Files that are not what they were when the job began, by name, with the pages that were made from them."""
        outside = self._options.allow_outside_links
        state = folder_state(self._raw, exclude=self._out, allow_outside_links=outside)
        if state == self._listing.state:
            return []
        now = _list(self._raw, self._out, self._options).stamps
        before = self._listing.stamps
        moved = differing(before, now)
        stale = find_stale(self._raw, self._out, jobs, {path for path in moved if path in before})
        others = [(path, _size(before, path), _size(now, path)) for path in sorted(moved - stale.files.keys())]
        # What was read of a file may still be there, and more of it, such as lines.
        return stale.named() + [
            f"{path} ({'new' if not size else 'gone' if not size_now else f'of {size} bytes, now {size_now}'})"
            for path, size, size_now in others
            if size != size_now and (size_now or not (self._raw / path).exists())  # else its page is gone
        ]

    def _survey(self, engine: JobEngine, surveyed_before: Mapping[str, RawFile]) -> list[RawFile]:
        """The pages of all files, opening those that are not known yet."""
        known, jobs = plan_survey([file for file in self._listing.files if file.path not in surveyed_before])
        total = sum(job.num_pages for job in jobs)
        surveyed = {**surveyed_before, **{file.path: file for file in known}}
        done = 0
        for event in engine.run(jobs):
            if isinstance(event, JobDone):
                surveyed |= {file.path: file for file in event.files}
            else:
                done += 1
                self._report("counting pages", min(done, total), total)
        # Stems and texts depend on all files of the folder.
        return [
            replace(
                surveyed[file.path],
                stem=file.stem,
                texts=file.texts,
                near=file.near,
                meta=file.meta,
                sidecars=file.sidecars,
            )
            for file in self._listing.files
        ]

    def _build(self, engine: JobEngine, jobs: Sequence[Job]) -> int:
        """Build every shard that is not complete; returns the pages read for it."""
        todo = [job for job in jobs if not _is_complete(self._out, job, self._options)]
        total = sum(job.num_pages for job in jobs)
        before = total - sum(job.num_pages for job in todo)
        shards_done = len(jobs) - len(todo)
        started: Counter[int] = Counter()
        self._report("making shards", before, total, shards_done, len(jobs))
        for event in engine.run(todo):
            number, num_pages = event.job.number, event.job.num_pages
            if isinstance(event, JobDone):
                started[number] = num_pages
                shards_done += 1
            else:
                # A shard that is begun again after a loss must not count its pages twice.
                started[number] = min(started[number] + 1, num_pages)
            self._report("making shards", before + started.total(), total, shards_done, len(jobs))
        return total - before

    def _report(self, stage: str, done: int, total: int, shards_done: int = 0, shards_total: int = 0) -> None:
        self.progress = MakeShardsProgress(
            stage=stage, pages_done=done, pages_total=total, shards_done=shards_done, shards_total=shards_total
        )
        if self._on_progress is not None:
            self._on_progress(self.progress)


def _size(stamps: Mapping[str, str], path: str) -> str:
    return stamps.get(path, "").partition(" ")[0]


def _is_complete(out: Path, job: Job, options: MakeShardsOptions) -> bool:
    """Whether this shard was finished before, from these pages, and its files are still what was written."""
    record = load_record(out, job.number)
    if record is None or record.items not in ("", job.digest):
        return False
    if any(options.is_retried(entry.reason) for entry in record.quarantined):
        return False
    if not record.samples:
        return True
    return is_complete(out / shard_name(job.number), record.digest)
