"""Which pages make which shard: decided from the survey alone, before any page is read, so that a kill changes nothing.

Pages in the order of their files are cut into runs of `pages_per_shard`. A page that is quarantined later leaves its
shard one sample shorter and moves no other page.
"""

from collections.abc import Sequence

from wdstream.make_shards.jobs import Job, SurveyedFile, Unit
from wdstream.raw.options import MakeShardsOptions

_WANTED_SHARDS = 64
_LEAST_PAGES, _MOST_PAGES = 16, 1024
# A page drawn at 150 dpi has 0.2 to 0.7 MB; only a guess, for ending shards of large pages early.
_EXPECTED_PAGE_BYTES = 1 << 19


def plan_shards(files: Sequence[SurveyedFile], options: MakeShardsOptions) -> list[Job]:
    """One job a shard, in order."""
    num_pages = sum(file.num_pages for file in files)
    most_pages = options.pages_per_shard or min(max(-(-num_pages // _WANTED_SHARDS), _LEAST_PAGES), _MOST_PAGES)
    shards: list[list[Unit]] = []
    pages = expected = 0
    for file in files:
        page_bytes = file.num_bytes if file.kind == "image" and file.num_pages == 1 else _EXPECTED_PAGE_BYTES
        first = 1
        while first <= file.num_pages:
            if not shards or pages >= most_pages or expected + page_bytes > options.shard_bytes:
                shards.append([])
                pages = expected = 0
            room = max(1, min(most_pages - pages, (options.shard_bytes - expected) // max(page_bytes, 1)))
            count = min(room, file.num_pages - first + 1)
            shards[-1].append(Unit(file=file, first=first, count=count))
            first, pages, expected = first + count, pages + count, expected + count * page_bytes
    return [_job(number, units) for number, units in enumerate(shards)]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.tar"


def _job(number: int, units: Sequence[Unit]) -> Job:
    num_pages = sum(unit.count for unit in units)
    return Job(kind="shard", number=number, items=tuple(units), num_pages=num_pages)
