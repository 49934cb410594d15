"""Doing the jobs of make-shards: building a shard, keeping pages for one, and surveying raw files for their pages.

Whatever goes wrong with one page, with reading it, its text file or its images, costs that page. What goes wrong with
writing the shard ends the job, and so does a mistake in the options. A page that needs more memory than a process may
use is not judged here, since the process may have been full before it, nor is one that could not be read for now: the
process gives up, and another one reads the page again, alone.
"""

import errno
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from wdstream.errors import PageError, ShardError, StoreDownError, WdstreamError
from wdstream.make_shards.built_pages import BuiltPage, kept_path, load_kept, remove_kept
from wdstream.make_shards.jobs import Job, OnPage, Quarantined, shard_name
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.record import ShardRecord, record_path
from wdstream.make_shards.token_counts import TextCounts, open_counter
from wdstream.raw.images import ImageSource, single_image
from wdstream.raw.page_language import PageLanguages
from wdstream.raw.reading import Reading, merge_digests, reading, refuse_pointer
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageRange, PageReader, RawFile
from wdstream.shards.layout import ShardPaths
from wdstream.shards.page_members import members_from_page
from wdstream.shards.writer import SampleEntry, ShardWriter
from wdstream.text.maps.readings import RowReadings
from wdstream.text.placeholders import leading_mark

_PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.ENOLCK,
    errno.EINTR,
}
"""Errors of reading that may be gone when it is tried again: those of network file systems, and of full tables."""
PagePlace = tuple[int, int]
"""A page of a shard: number of its range in the job, and of the page in its file; page 0 is the range as a whole."""


class GivingUp(Exception):
    """This process cannot continue with a page, and it may not be the page's fault: another is to try it alone."""


class ShardBuilder:
    """Builds shards with the same options, one after the other.

    Args:
        raw: the raw folder.
        out: the folder of shards.
        options: how pages become samples.
        on_page: called before each page, so that it is known where a process died.

    Raises:
        ConfigError: the tokenizer cannot be read.
    """

    def __init__(self, raw: Path, out: Path, options: MakeShardsOptions, on_page: OnPage) -> None:
        self._raw, self._out = raw, out
        self._options = options
        self._on_page = on_page
        self._counter = open_counter(
            options.tokenizer, with_paragraphs=options.paragraphs, allow_tokens=options.allow_tokens
        )
        self._languages = PageLanguages(options.language)
        self._reading = Reading(raw, options)

    def build(self, job: Job) -> None:
        """Build the shard of a job, and save its record.

        Raises:
            OSError: the shard cannot be written.
            GivingUp: a page needs more memory than this process has, or could not be read for now.
        """
        path = self._out / shard_name(job.number)
        files = ShardPaths.of(path)
        for stale in (record_path(self._out, job.number), files.tar, files.idx, files.meta):
            stale.unlink(missing_ok=True)
        contents = _Contents(job)
        writer: ShardWriter | None = None
        with ExitStack() as stack:
            self._reading = stack.enter_context(reading(self._raw, self._options))
            for place, page in self._pages(job):
                if page.entry is not None:
                    writer = writer or stack.enter_context(ShardWriter(path))
                    page = _added(writer, page)
                contents.add(place, page)
            contents.add_read(self._reading.take())
            self._on_page(len(job.items), None)  # from here on only the disk is waited for
        contents.record(writer, self._recorded(contents.counts), with_paragraphs=self._options.paragraphs).save(
            self._out
        )
        if job.kept:
            remove_kept(self._out, job.number)

    def keep(self, job: Job) -> None:
        """Read the pages of a job, and keep each in a file of its own.

        Raises:
            OSError: the file cannot be written.
            GivingUp: a page needs more memory than this process has, or could not be read for now.
        """
        with reading(self._raw, self._options) as self._reading:
            for (item, number), page in self._pages(job):
                replace(page, read=self._reading.take()).keep(kept_path(self._out, job.number, item, number))
        self._on_page(len(job.items), None)

    def _pages(self, job: Job) -> Iterator[tuple[PagePlace, BuiltPage]]:
        """What became of every page of a job that is not left to other jobs, in order."""
        skips = {(skip.item, skip.page or 0): skip.reason for skip in job.skips}
        kept, elsewhere = {*job.kept}, {*job.elsewhere}
        is_plain = not (skips or kept or elsewhere)
        for number, item in enumerate(job.items):
            if is_plain and _is_single(item):  # as most are, of most jobs
                yield (number, 1), self._read_single(number, item)
                continue
            whole = kept_path(self._out, job.number, number, 0) if kept else None
            if (number, 0) in skips:
                yield (number, 0), BuiltPage(reason=skips[number, 0])
            elif whole is not None and whole.exists():
                yield (number, 0), load_kept(whole)
            else:
                wanted = [page for page in item.numbers if (number, page) not in elsewhere]
                with closing(self._read_range(number, item, [p for p in wanted if (number, p) not in kept])) as read:
                    for page in wanted:
                        if (number, page) in skips:
                            yield (number, page), BuiltPage(reason=skips[number, page])
                        elif (number, page) in kept:
                            yield (number, page), load_kept(kept_path(self._out, job.number, number, page))
                        else:
                            found, built = next(read)
                            yield (number, found), built
                            if found == 0:
                                break

    def _read_range(self, number: int, item: PageRange, pages: Sequence[int]) -> Generator[tuple[int, BuiltPage]]:
        """Number and outcome of these pages of a range; of page 0 alone when the file cannot be opened."""
        if _is_single(item):
            for page in pages:
                yield page, self._read_single(number, item)
            return
        source = source_of_kind(item.file.kind)
        self._on_page(number, None)
        with ExitStack() as stack:
            try:
                opened = source.open(item, self._raw / item.file.path, self._options)
                reader = stack.enter_context(opened)
            except Exception as error:
                yield 0, self._refused(error)
                return
            for page in pages:
                self._on_page(number, page)
                self._reading.on_progress = partial(self._on_page, number, page)
                yield page, self._read(reader, page)

    def _read_single(self, number: int, item: PageRange) -> BuiltPage:
        """The one page of an image file, which is opened with its page."""
        self._on_page(number, 1)
        self._reading.on_progress = partial(self._on_page, number, 1)
        try:
            reader = single_image(item, self._raw / item.file.path, self._options)
        except Exception as error:
            return self._refused(error)
        return self._read(reader, 1)

    def _read(self, reader: PageReader, number: int) -> BuiltPage:
        try:
            stored = reader.read(number)
            if stored is None:  # a blank line
                return BuiltPage()
            page, misnamed = self._languages.named(stored.page)
            counts = self._counter.count([page])[0] if self._counter else None
            mark = leading_mark(page.segments)
            return BuiltPage(
                key=page.key,
                members=members_from_page(page, stored.extensions),
                entry=SampleEntry.of(page, stored.sizes),
                counts=counts,
                dropped=_dropped_of(page.meta),
                misnamed=misnamed,
                reading=replace(stored.reading, mark=mark) if mark else stored.reading,
            )
        except Exception as error:
            return self._refused(error)

    def _refused(self, error: Exception) -> BuiltPage:
        return BuiltPage(reason=_reason(error, self._options.memory_limit_mb))

    def _recorded(self, counts: Sequence[TextCounts]) -> list[str]:
        """The tokenizer whose counts are recorded; none where not all tokens are supervised: all is counted later."""
        if self._counter is None or any(count.tokens != count.supervised for count in counts):
            return []
        return [self._counter.fingerprint]


def _is_single(item: PageRange) -> bool:
    """Whether a file is an image of one page, which is opened with its page."""
    return item.file.is_single_image and isinstance(source_of_kind(item.file.kind), ImageSource)


def _dropped_of(meta: Mapping[str, object]) -> dict[str, int]:
    """Characters that are not in a label, by reason. What a row calls so may be anything; tables have nulls in it."""
    found = meta.get("text_dropped")
    counts = found.items() if isinstance(found, Mapping) else ()
    return {str(why): count for why, count in counts if type(count) is int and count > 0}


class _Contents:
    """What is collected for the record of a shard while its pages pass."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._quarantined: list[Quarantined] = []
        self._kinds: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._misnamed: Counter[str] = Counter()
        self._readings = RowReadings()
        self._without_image = 0
        self._read: dict[str, str] = {}
        self.counts: list[TextCounts] = []

    def add(self, place: PagePlace, page: BuiltPage) -> None:
        """Take in what became of one page."""
        file = self._job.items[place[0]].file
        if page.read:
            self.add_read(page.read)
        if page.reason is not None:
            shown = 0 if file.is_single_image else place[1]
            self._quarantined.append(Quarantined(file=file.path, page=shown, reason=page.reason))
        elif page.entry is not None:
            self._kinds[file.kind] += 1
            for why, count in page.dropped.items():
                self._dropped[why] += count
            if page.misnamed:
                self._misnamed[page.misnamed] += 1
            self._readings.add(file.path, page.reading)
            self._without_image += not page.entry.image_sizes
            self.counts += [page.counts] if page.counts else []

    def add_read(self, digests: Mapping[str, str]) -> None:
        """Take in digests of what was read."""
        merge_digests(self._read, digests)

    def record(self, writer: ShardWriter | None, counted: Sequence[str], *, with_paragraphs: bool) -> ShardRecord:
        """The record of the finished shard; `counted` are the tokenizers whose counts it holds."""
        summary = writer.summary if writer is not None else None
        return ShardRecord(
            number=self._job.number,
            samples=summary.samples if summary else 0,
            num_bytes=summary.bytes if summary else 0,
            digest=summary.digest if summary else "",
            pages=self._kinds,
            without_image=self._without_image,
            dropped=self._dropped,
            misnamed=self._misnamed,
            readings=self._readings,
            items=self._job.digest,
            read=self._read,
            quarantined=tuple(self._quarantined),
            tokens={name: tuple(count.tokens for count in self.counts) for name in counted},
            paragraphs={name: tuple(count.paragraphs for count in self.counts) for name in counted if with_paragraphs},
        )


def survey_files(job: Job, raw: Path, on_page: OnPage, options: MakeShardsOptions) -> list[RawFile]:
    """The files of a survey job with their pages, in its order; one that cannot be read has 0 pages and the reason.

    Raises:
        GivingUp: as in `ShardBuilder.build`.
    """
    skips: Mapping[int, str] = {skip.item: skip.reason for skip in job.skips}
    files: list[RawFile] = []
    with reading(raw, options, with_digests=False) as current:
        for number, item in enumerate(job.items):
            if number in skips:
                files.append(item.file._replace(reason=skips[number]))
                continue
            on_page(number, None)
            current.on_progress = partial(on_page, number, None)
            try:
                refuse_pointer(raw / item.file.path, item.file.num_bytes)
                num_pages, marks = source_of_kind(item.file.kind).survey(raw / item.file.path)
            except Exception as error:
                files.append(item.file._replace(reason=_reason(error, options.memory_limit_mb)))
            else:
                files.append(item.file._replace(num_pages=num_pages, marks=marks))
    return files


def _added(writer: ShardWriter, page: BuiltPage) -> BuiltPage:
    """Add a page to a shard; one that shards do not hold is refused with the reason."""
    assert page.entry is not None
    try:
        writer.add(page.key, page.members, page.entry)
    except ShardError as error:  # raised before anything is written
        return BuiltPage(reason=f"cannot be in a shard: {error}", read=page.read)
    return page


def _reason(error: Exception, memory_limit_mb: int) -> str:
    """Why a page or a file cannot be read, in words.

    Raises:
        MemoryError: it is not the page: this process is full.
        WdstreamError: it is not the page: the configuration, say, or a store that is down.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            raise GivingUp(f"needs more memory than the limit of {memory_limit_mb} MiB (--memory-limit-mb)") from error
        if isinstance(cause, StoreDownError):
            raise cause
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            raise GivingUp(f"file cannot be read: {cause.strerror}") from error
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, PageError):
        return str(error)
    if isinstance(error, WdstreamError):
        raise error
    if isinstance(error, OSError):
        return f"file cannot be read: {error.strerror or error}"
    if isinstance(error, UnicodeError | RecursionError | OverflowError):
        return f"cannot be read: {type(error).__name__}: {error}"
    return f"cannot be read, by a fault of wdstream: {type(error).__name__}: {error}; please report it"
