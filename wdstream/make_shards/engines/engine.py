"""What does the jobs of make-shards, as the job sees it; and the one that the options ask for."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from wdstream.make_shards.engines.ray_engine import RayEngine, needs_of
from wdstream.make_shards.jobs import Job, Setup
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.recovery import Recovery
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.make_shards.workers import JobDone, MoreJobs, PagesStarted, Workers


class JobEngine(Protocol):
    """Does jobs, anywhere and in any order; a context manager, which ends all that it started.

    A shard, its record, and pages that are kept are written to the output by whoever does the job. What comes back is
    only what happens, and the files of a survey.
    """

    recovery: Recovery
    """What was lost, and what became of it."""
    is_elsewhere: bool
    """Whether jobs are done by other machines, which see the output but not what stands for it here."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def run(self, jobs: Iterable[Job], more: MoreJobs | None = None) -> Iterator[PagesStarted | JobDone]:
        """Have all jobs done; yields what happens.

        Args:
            jobs: to do, the first of them first.
            more: asked after each for jobs that follow; an engine that plans ahead need not ask.

        Raises:
            ShardError: the output cannot be written.
            WdstreamError: jobs are lost outside of any page again and again, or one met a bug.
        """


def job_engine(
    options: MakeShardsOptions,
    setup: Setup,
    keep_open: Sequence[int],
    kinds: Collection[str],
    counter: TokenCounter | None,
) -> JobEngine:
    """The engine of a job.

    Args:
        options: of the job.
        setup: what whoever does a job is sent first.
        keep_open: file descriptors that processes of this machine inherit, such as a lock's.
        kinds: of the raw files.
        counter: of tokens, where they are wanted.
    """
    if options.engine == "local":
        return Workers(options.num_workers, setup, time_limit=options.time_limit, keep_open=keep_open)
    return RayEngine(options, setup, needs_of(options, Path(setup["out"]), kinds, counter))
