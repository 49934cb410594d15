"""Shards that are certain while files are still being surveyed: the first are made then, so that trouble shows early.

Which pages are in which shard does not depend on it: a shard is certain once all files up to its end are surveyed, and
the number of pages per shard is. That is given, or follows from the number of pages, and no longer changes from some
number on (`settled_pages_per_shard`).
"""

from collections.abc import Callable, Iterable

from wdstream.make_shards.jobs import Job
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.survey.shard_plan import ShardCutter, settled_pages_per_shard
from wdstream.raw.source import RawFile

_FILES_BETWEEN = 1024
"""Surveyed between two early shards: the survey is to get on, since it says how long all takes."""


class EarlyShards:
    """Hands out shards of files, one at a time, as they become certain.

    Args:
        files: of the listing, in their order.
        options: of the job.
        surveyed: gives a file of the listing with its pages; None while it is not surveyed.
    """

    def __init__(
        self, files: Iterable[RawFile], options: MakeShardsOptions, surveyed: Callable[[RawFile], RawFile | None]
    ) -> None:
        self._files = iter(files)
        self._options = options
        self._surveyed = surveyed
        self._num_pages = 0
        self._next = next(self._files, None)
        self._cutter: ShardCutter | None = None
        self._ready: list[Job] = []
        self._since = _FILES_BETWEEN
        self._is_busy = False

    def add(self, files: Iterable[RawFile]) -> None:
        """Count files that are surveyed, in any order."""
        for file in files:
            self._num_pages += file.num_pages
            self._since += 1
        if self._cutter is None:
            pages = settled_pages_per_shard(self._num_pages, self._options)
            self._cutter = ShardCutter(pages, self._options.shard_bytes) if pages is not None else None
        if self._cutter is not None and len(self._ready) < 2:
            self._cut(self._cutter)

    def done(self, job: Job) -> None:
        """Note that a job is done: perhaps the shard that was handed out."""
        if job.kind == "shard":
            self._is_busy, self._since = False, 0

    def pass_over(self) -> None:
        """Note that the shard that was handed out is there, or is not to be made here; the next may follow."""
        self._is_busy = False
        self.add(())

    def next(self) -> Job | None:
        """A shard that may be made now; None where there is none, or it is not time for one."""
        if self._is_busy or self._since < _FILES_BETWEEN or not self._ready:
            return None
        self._is_busy = True
        return self._ready.pop(0)

    def _cut(self, cutter: ShardCutter) -> None:
        while len(self._ready) < 2 and self._next is not None:
            file = self._surveyed(self._next)
            if file is None:
                return
            self._next = next(self._files, None)
            self._ready += cutter.add(file)
