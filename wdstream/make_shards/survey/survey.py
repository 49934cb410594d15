"""The survey of a job: the pages of every file, from the journal of a job before, from names, or by opening files."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain

from wdstream.make_shards.engines.engine import JobEngine
from wdstream.make_shards.jobs import Job
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.stores.output import Output
from wdstream.make_shards.survey.early import EarlyShards
from wdstream.make_shards.survey.found import FoundFiles
from wdstream.make_shards.survey.journal import SurveyJournal
from wdstream.make_shards.workers import JobDone, PagesStarted
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageRange, RawFile
from wdstream.raw.tars.survey import APART_TAR, apart_tars, half_of_tar
from wdstream.text.maps.field_map import FieldMap

_MANY_FILES, _MANY_BYTES = 512, 4 << 30
_FILES_PER_JOB, _BYTES_PER_JOB = 64, 256 << 20
_OF_LISTING = ("stem", "texts", "near", "meta", "sidecars")


class Survey:
    """Surveys the files of a listing.

    Args:
        output: where shards are made.
        options: of the job.
        files: of the listing, in their order.
        stamps: of the files.
        wants: whether a shard is one to make.

    Attributes:
        pages_made: pages of the shards that were made meanwhile.
    """

    def __init__(
        self,
        output: Output,
        options: MakeShardsOptions,
        files: RawFiles,
        stamps: Mapping[str, str],
        wants: Callable[[Job], bool],
    ) -> None:
        self._options = options
        self._files = files
        self._wants = wants
        self._early: EarlyShards | None = None
        self._output = output
        self.journal = SurveyJournal(output.path, options.own_part, stamps, output.push)
        self.pages_made = 0

    def run(
        self,
        engine: JobEngine,
        known_before: Iterable[RawFile] | None,
        on_files: Callable[[int, int], None],
    ) -> RawFiles:
        """The pages of all files, opening those that are not known yet.

        Args:
            engine: does the work.
            known_before: files that a survey before knew; None where there was none, so that shards may begin.
            on_files: called with the files that were opened, of all that are to be.
        """
        found = FoundFiles()
        found.add(file for file in self.journal.known if not self._options.is_retried(file.reason))
        found.add(file for file in known_before or () if known_pages(file) is None and not _was_apart(file))
        unknown = RawFiles(file for file in self._files.where_unknown(_pages_by_name) if found.get(file.path) is None)
        if known_before is None and _takes_long(unknown) and self._may_begin():
            self._early = EarlyShards(self._files, self._options, partial(_certain, found))
            self._early.add(file for file in map(partial(_certain, found), self._files) if file is not None)
        progress = _FilesDone(len(unknown), on_files)
        with self.journal as journal:
            for event in engine.run(chain(self._shard(), survey_jobs(unknown)), lambda _done: self._shard()):
                if isinstance(event, JobDone):
                    found.add(event.files)
                    journal.add(event.files)
                    self._note(event)
                progress.add(event)
        return _without_apart(self._files.surveyed(_pages_by_name, partial(_surveyed, found)))

    def _may_begin(self) -> bool:
        """Whether shards may be made before all files are surveyed. A map is tried on their first rows before; parts
        that share an output keep what it was made of when one has surveyed it."""
        options = self._options
        has_parts = options.own_part is not None or options.merges
        return not has_parts and FieldMap.chosen(options.map, options.preset) is None

    def _note(self, done: JobDone) -> None:
        """Take in a job that is done, which may make shards certain."""
        if done.job.kind == "shard":
            self._output.built(done.job.number)
            self.pages_made += done.job.num_pages
        if self._early is not None:
            self._early.add(file for file in done.files if not half_of_tar(file.marks)[0])
            self._early.done(done.job)

    def _shard(self) -> list[Job]:
        while self._early is not None and (job := self._early.next()) is not None:
            if self._wants(job):
                return [job]
            self._early.pass_over()
        return []


def _was_apart(file: RawFile) -> bool:
    """Whether a tar was refused for another one, which may be gone."""
    return file.reason is not None and file.reason.startswith(APART_TAR)


def _certain(found: FoundFiles, file: RawFile) -> RawFile | None:
    """`_surveyed`, but for tars of halves, which count once all are surveyed."""
    surveyed = _surveyed(found, file)
    is_half = surveyed is not None and half_of_tar(surveyed.marks)[0]
    return None if is_half else surveyed


def _without_apart(files: RawFiles) -> RawFiles:
    """The survey with tars refused that have the images or the texts of the samples of others."""
    if files.kinds["tar"] < 2:
        return files
    reasons = apart_tars(files.where_unknown(_pages_by_name))
    if not reasons:
        return files
    refused = (
        file._replace(num_pages=0, reason=reasons[file.path]) if file.path in reasons else file for file in files
    )
    return RawFiles(refused)


class _FilesDone:
    """Counts files that were opened: those of jobs that are done, and those that processes are at."""

    def __init__(self, total: int, on_files: Callable[[int, int], None]) -> None:
        self._total = total
        self._on_files = on_files
        self._done = 0
        self._begun: Counter[int] = Counter()
        if total:
            on_files(0, self._total)

    def add(self, event: PagesStarted | JobDone) -> None:
        """Take in what happens; shards that are made meanwhile do not count."""
        job = event.job
        if job.kind != "survey":
            return
        # After a loss two jobs of one number do what is left: the end of one leaves what the other began.
        begun = self._begun.pop(job.number, 0)
        if isinstance(event, JobDone):
            self._done += job.num_pages
            begun = max(begun - job.num_pages, 0)
        else:
            begun = max(begun, min(begun + event.count, job.num_pages))
        if begun:
            self._begun[job.number] = begun
        self._on_files(min(self._done + self._begun.total(), self._total), self._total)


def _takes_long(files: RawFiles) -> bool:
    """Whether it takes so long to open these files that shards had better begin meanwhile."""
    return len(files) > _MANY_FILES or files.num_bytes > _MANY_BYTES


def known_pages(file: RawFile) -> int | None:
    """How many pages a file has by its name alone; None where it has to be opened."""
    return _pages_by_name(file.kind, file.path)


def _pages_by_name(kind: str, path: str) -> int | None:
    return source_of_kind(kind).known_pages(path)


def survey_jobs(files: Iterable[RawFile]) -> Iterator[Job]:
    """Jobs that open files, some at a time, in their order."""
    items, num_bytes, number = list[PageRange](), 0, 0
    for file in files:
        if len(items) == _FILES_PER_JOB or num_bytes > _BYTES_PER_JOB:
            yield Job(kind="survey", number=number, items=(*items,), num_pages=len(items))
            items, num_bytes, number = [], 0, number + 1
        items.append(PageRange(file=file, first=1, count=1))
        num_bytes += file.num_bytes
    if items:
        yield Job(kind="survey", number=number, items=(*items,), num_pages=len(items))


def _surveyed(found: FoundFiles, file: RawFile) -> RawFile | None:
    """A file of the listing with its pages, as far as they are known. Stems and texts are those of the listing, since
    they depend on all files of the folder."""
    if (count := known_pages(file)) is not None:
        return file._replace(num_pages=count)
    surveyed = found.get(file.path)
    if surveyed is None:
        return None
    listed = {name: getattr(file, name) for name in _OF_LISTING}
    is_same = all(getattr(surveyed, name) == value for name, value in listed.items())
    return surveyed if is_same else surveyed._replace(**listed)
