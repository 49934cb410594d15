"""Which jobs there are: the survey of raw files, then one job per shard.

Which pages make which shard is decided from the survey alone, before any page is read, so that a kill changes nothing.
Pages in the order of their files are cut every `pages_per_shard`. A page that is quarantined later leaves its shard one
sample shorter and moves no other page.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wdstream.errors import PageError
from wdstream.make_shards.jobs import Job, OnPage
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageRange, RawFile

_FILES_PER_SURVEY = 64
_WANTED_SHARDS = 64
_LEAST_PAGES, _MOST_PAGES = 16, 1024
# A page drawn at 150 dpi has 0.2 to 0.7 MB; only a guess, for ending shards of large pages early.
_EXPECTED_PAGE_BYTES = 1 << 19


def plan_survey(files: Sequence[RawFile]) -> tuple[list[RawFile], list[Job]]:
    """The files whose number of pages their names tell, with that number; and jobs that open all others."""
    pages = {file.path: source_of_kind(file.kind).known_pages(file.path) for file in files}
    known = [replace(file, num_pages=count) for file in files if (count := pages[file.path]) is not None]
    opened = [PageRange(file=file, first=1, count=1) for file in files if pages[file.path] is None]
    starts = range(0, len(opened), _FILES_PER_SURVEY)
    chunks = [tuple(opened[start : start + _FILES_PER_SURVEY]) for start in starts]
    return known, [Job(kind="survey", number=n, items=chunk, num_pages=len(chunk)) for n, chunk in enumerate(chunks)]


def survey_files(job: Job, raw: Path, on_page: OnPage) -> list[RawFile]:
    """The files of a survey job with their pages, in its order; one that cannot be read has 0 pages and the reason."""
    skips = {skip.item: skip.reason for skip in job.skips}
    files: list[RawFile] = []
    for number, item in enumerate(job.items):
        if number in skips:
            files.append(replace(item.file, reason=skips[number]))
            continue
        on_page(number, None)
        files.append(_survey(item.file, raw / item.file.path))
    return files


def _survey(file: RawFile, path: Path) -> RawFile:
    try:
        num_pages, marks = source_of_kind(file.kind).survey(path)
    except PageError as error:
        return replace(file, reason=str(error))
    except OSError as error:
        return replace(file, reason=f"file cannot be read: {error.strerror}")
    except MemoryError:
        return replace(file, reason="needs more memory than a process may use")
    return replace(file, num_pages=num_pages, marks=marks)


def plan_shards(files: Sequence[RawFile], options: MakeShardsOptions) -> list[Job]:
    """One job per shard, in order."""
    num_pages = sum(file.num_pages for file in files)
    most_pages = options.pages_per_shard or min(max(-(-num_pages // _WANTED_SHARDS), _LEAST_PAGES), _MOST_PAGES)
    shards: list[list[PageRange]] = []
    pages = expected = 0
    for file in files:
        page_bytes = file.num_bytes if file.is_single_image else _EXPECTED_PAGE_BYTES
        first = 1
        while first <= file.num_pages:
            if not shards or pages >= most_pages or expected + page_bytes > options.shard_bytes:
                shards.append([])
                pages = expected = 0
            room = max(1, min(most_pages - pages, (options.shard_bytes - expected) // max(page_bytes, 1)))
            count = min(room, file.num_pages - first + 1)
            shards[-1].append(PageRange(file=file, first=first, count=count))
            first, pages, expected = first + count, pages + count, expected + count * page_bytes
    return [
        Job(kind="shard", number=number, items=tuple(ranges), num_pages=sum(item.count for item in ranges))
        for number, ranges in enumerate(shards)
    ]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.tar"
