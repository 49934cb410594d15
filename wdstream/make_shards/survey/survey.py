"""The survey of a job: the pages of every file, from the journal of a job before, from names, or by opening files."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from wdstream.make_shards.engines.engine import JobEngine
from wdstream.make_shards.jobs import Job, plan_survey
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.stores.output import Output
from wdstream.make_shards.survey.early import EarlyShards
from wdstream.make_shards.survey.journal import SurveyJournal
from wdstream.make_shards.workers import JobDone, PageStarted
from wdstream.raw.source import RawFile
from wdstream.text.maps.field_map import FieldMap

_MANY_FILES, _MANY_BYTES = 512, 4 << 30
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
        files: Sequence[RawFile],
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
        known_before: Mapping[str, RawFile] | None,
        on_files: Callable[[int, int], None],
    ) -> list[RawFile]:
        """The pages of all files, opening those that are not known yet.

        Args:
            engine: does the work.
            known_before: files that a survey before knew; None where there was none, so that shards may begin.
            on_files: called with the files that were opened, of all that are to be.
        """
        surveyed = {**self._from_journal(), **(known_before or {})}
        known, jobs = plan_survey([file for file in self._files if file.path not in surveyed])
        surveyed |= {file.path: file for file in known}
        if known_before is None and _takes_long(jobs) and self._may_begin():
            self._early = EarlyShards(self._files, self._options)
            files = [file for file in self._files if file.path in surveyed]
            self._early.add(_as_listed(file, surveyed[file.path]) for file in files)
        progress = _FilesDone(jobs, on_files)
        with self.journal as journal:
            for event in engine.run([*self._shard(), *jobs], lambda _done: self._shard()):
                if isinstance(event, JobDone):
                    surveyed |= {file.path: file for file in event.files}
                    journal.add(event.files)
                    self._note(event)
                progress.add(event)
        return [_as_listed(file, surveyed[file.path]) for file in self._files]

    def _from_journal(self) -> dict[str, RawFile]:
        return {path: file for path, file in self.journal.known.items() if not self._options.is_retried(file.reason)}

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
            self._early.add(done.files)
            self._early.done(done.job)

    def _shard(self) -> list[Job]:
        while self._early is not None and (job := self._early.next()) is not None:
            if self._wants(job):
                return [job]
            self._early.pass_over()
        return []


class _FilesDone:
    """Counts files that were opened: those of jobs that are done, and those that processes are at."""

    def __init__(self, jobs: Sequence[Job], on_files: Callable[[int, int], None]) -> None:
        self._total = sum(job.num_pages for job in jobs)
        self._on_files = on_files
        self._done = 0
        self._begun: Counter[int] = Counter()
        if jobs:
            on_files(0, self._total)

    def add(self, event: PageStarted | JobDone) -> None:
        """Take in what happens; shards that are made meanwhile do not count."""
        job = event.job
        if job.kind != "survey":
            return
        if isinstance(event, JobDone):
            self._done += job.num_pages
            del self._begun[job.number]
        else:
            self._begun[job.number] = min(self._begun[job.number] + 1, job.num_pages)
        self._on_files(min(self._done + self._begun.total(), self._total), self._total)


def _takes_long(jobs: Sequence[Job]) -> bool:
    """Whether it takes so long to open these files that shards had better begin meanwhile."""
    files = [item.file for job in jobs for item in job.items]
    return len(files) > _MANY_FILES or sum(file.num_bytes for file in files) > _MANY_BYTES


def _as_listed(file: RawFile, surveyed: RawFile) -> RawFile:
    """A surveyed file with what the listing says: stems and texts depend on all files of the folder."""
    listed = {name: getattr(file, name) for name in _OF_LISTING}
    is_same = all(getattr(surveyed, name) == value for name, value in listed.items())
    return surveyed if is_same else surveyed.changed(**listed)
