"""Which pages make which shard: decided from the survey alone, before any page is read, so that a kill changes nothing.

Pages in the order of their files are cut every `pages_per_shard`. A page that is quarantined later leaves its shard one
sample shorter and moves no other page.

Where that number is left out there are about 64 shards, for as many processes and ranks, but none that is expected to
be tiny: each is three files, each with its requests of a store, and takes as long as some dozens of small images. The
least of all is what 16 drawn pages are expected to have, 8 MiB. A process copies that in less time than it takes to
start, so that more shards would give nothing to more processes.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import chain
from typing import overload

from wdstream.make_shards.jobs import Job
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageRange, RawFile

_WANTED_SHARDS = 64
_LEAST_PAGES, _MOST_PAGES = 16, 1024
_LEAST_BYTES = 1 << 23
# A page drawn at 150 dpi has 0.2 to 0.7 MB; only a guess, for ending shards of large pages early.
_EXPECTED_PAGE_BYTES = 1 << 19


class ShardCutter:
    """Cuts the pages of files into shards, file by file in their order.

    Args:
        most_pages: of a shard.
        shard_bytes: that it is expected to have at most.

    Attributes:
        first_files, first_pages: where each shard so far begins: number of the file, and its page.
    """

    def __init__(self, most_pages: int, shard_bytes: int) -> None:
        self._most_pages, self._shard_bytes = most_pages, shard_bytes
        self._number = self._num_files = 0
        self._ranges: list[PageRange] = []
        self._pages = self._expected = 0
        self.first_files, self.first_pages = array("Q"), array("Q")

    def add(self, file: RawFile) -> list[Job]:
        """Take in the next file; the shards that are full with it, or before it."""
        page_bytes = file.num_bytes if file.is_single_image else _EXPECTED_PAGE_BYTES
        jobs: list[Job] = []
        first = 1
        while first <= file.num_pages:
            if self._ranges and (self._pages >= self._most_pages or self._expected + page_bytes > self._shard_bytes):
                jobs += self.end()
            if not self._ranges:
                self.first_files.append(self._num_files)
                self.first_pages.append(first)
            left_bytes = (self._shard_bytes - self._expected) // max(page_bytes, 1)
            count = min(max(1, min(self._most_pages - self._pages, left_bytes)), file.num_pages - first + 1)
            self._ranges.append(PageRange(file, first, count))
            first += count
            self._pages, self._expected = self._pages + count, self._expected + count * page_bytes
        self._num_files += 1
        return jobs

    def end(self) -> list[Job]:
        """The shard of the pages since the last one, if there are any."""
        if not self._ranges:
            return []
        job = Job(kind="shard", number=self._number, items=tuple(self._ranges), num_pages=self._pages)
        self._number, self._ranges, self._pages, self._expected = self._number + 1, [], 0, 0
        return [job]


class ShardPlan(Sequence[Job]):
    """One job per shard, in order; each is put together when it is asked for, since there may be millions of pages.

    Args:
        files: the survey.
        options: of the job.
    """

    def __init__(self, files: Sequence[RawFile], options: MakeShardsOptions) -> None:
        packed = files if isinstance(files, RawFiles) else RawFiles(files)
        pages = options.pages_per_shard or _pages_per_shard(packed.num_pages, _expected_bytes(packed))
        cutter = ShardCutter(pages, options.shard_bytes)
        jobs = (job for file in packed for job in cutter.add(file))
        self._files = packed
        self._num_pages = array("Q", (job.num_pages for job in chain(jobs, _late(cutter))))
        self._first_files, self._first_pages = cutter.first_files, cutter.first_pages
        self._numbers: Sequence[int] = range(len(self._num_pages))

    def where(self, wanted: Callable[[int], bool]) -> "ShardPlan":
        """The jobs for whose numbers this holds."""
        chosen = copy(self)
        chosen._numbers = array("Q", filter(wanted, self._numbers))
        return chosen

    @property
    def num_pages(self) -> int:
        """Of all its jobs."""
        return sum(self._num_pages[number] for number in self._numbers)

    @property
    def numbers(self) -> Sequence[int]:
        """Of the shards that its jobs make, in order."""
        return self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        if isinstance(index, slice):
            return [self.job(number) for number in self._numbers[index]]
        return self.job(self._numbers[index])

    def job(self, number: int) -> Job:
        """That of the shard of this number."""
        first, left = self._first_pages[number], self._num_pages[number]
        items = list[PageRange]()
        for file in self._files.since(self._first_files[number]):
            count = min(left, file.num_pages - first + 1)
            if count:
                items.append(PageRange(file, first, count))
            first, left = 1, left - count
            if not left:
                break
        return Job(kind="shard", number=number, items=tuple(items), num_pages=self._num_pages[number])


def _late(cutter: ShardCutter) -> Iterator[Job]:
    """The last shard, asked for when all files are in it."""
    yield from cutter.end()


def settled_pages_per_shard(num_pages: int, options: MakeShardsOptions) -> int | None:
    """Pages per shard of a job of this many pages or more; None while it depends on how many more."""
    if options.pages_per_shard is not None:
        return options.pages_per_shard
    return _MOST_PAGES if -(-num_pages // _WANTED_SHARDS) >= _MOST_PAGES else None


def _pages_per_shard(num_pages: int, expected_bytes: int) -> int:
    """`expected_bytes`: of all pages."""
    of_least_bytes = -(-_LEAST_BYTES * num_pages // max(expected_bytes, 1))
    return min(max(-(-num_pages // _WANTED_SHARDS), _LEAST_PAGES, of_least_bytes), _MOST_PAGES)


def _expected_bytes(files: RawFiles) -> int:
    """Of all pages together in shards."""
    return sum(
        max(files.kind_bytes[kind], pages * source_of_kind(kind).least_page_bytes)
        for kind, pages in files.kind_pages.items()
    )
