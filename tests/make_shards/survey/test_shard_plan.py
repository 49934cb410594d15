from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.make_shards.jobs import Job, shard_name
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.survey.shard_plan import ShardCutter, ShardPlan
from wdstream.raw.source import RawFile


def file(name: str, num_pages: int, *, kind: str = "pdf", num_bytes: int = 1000) -> RawFile:
    return RawFile(path=name, kind=kind, stem=name, num_bytes=num_bytes, num_pages=num_pages)


def layout(jobs: Sequence[Job]) -> list[list[tuple[str, int, int]]]:
    return [[(unit.file.path, unit.first, unit.count) for unit in job.items] for job in jobs]


def test_files_are_cut_at_shard_boundaries() -> None:
    files = [file("a", 3), file("b", 0), file("c", 8), file("d", 1)]
    jobs = ShardPlan(files, MakeShardsOptions(pages_per_shard=5))
    assert layout(jobs) == [[("a", 1, 3), ("c", 1, 2)], [("c", 3, 5)], [("c", 8, 1), ("d", 1, 1)]]
    assert [job.num_pages for job in jobs] == [5, 5, 2]
    assert [shard_name(job.number) for job in jobs] == ["shard-000000.tar", "shard-000001.tar", "shard-000002.tar"]


def test_large_images_end_a_shard_early() -> None:
    files = [file(name, 1, kind="image", num_bytes=size) for name, size in (("a", 600), ("b", 500), ("c", 5000))]
    jobs = ShardPlan([*files, files[0]], MakeShardsOptions(pages_per_shard=100, shard_bytes=1000))
    assert layout(jobs) == [[("a", 1, 1)], [("b", 1, 1)], [("c", 1, 1)], [("a", 1, 1)]]


@pytest.mark.parametrize(("num_pages", "num_shards"), [(0, 0), (1, 1), (16, 1), (17, 2), (3_200, 64), (200_000, 196)])
def test_pages_per_shard_by_default(num_pages: int, num_shards: int) -> None:
    assert len(ShardPlan([file("a", num_pages)], MakeShardsOptions())) == num_shards


@pytest.mark.parametrize(
    ("kind", "num_bytes", "num_pages", "num_shards"),
    [
        ("image", 250 << 10, 3_200, 64),
        ("image", 32 << 10, 3_200, 13),
        ("image", 1 << 10, 3_200, 4),
        ("rows", 500, 3_200, 13),
        ("rows", 250 << 10, 3_200, 64),
        ("tar", 64 << 10, 3_200, 25),
        ("pdf", 32 << 10, 3_200, 64),
    ],
)
def test_shards_of_little_are_fewer(kind: str, num_bytes: int, num_pages: int, num_shards: int) -> None:
    files = [file("a", num_pages, kind=kind, num_bytes=num_bytes * num_pages)]
    assert len(ShardPlan(files, MakeShardsOptions())) == num_shards


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 17))
@settings(deadline=None)
def test_every_page_once_in_order(counts: list[int], pages_per_shard: int) -> None:
    files = [file(f"f{number}", count) for number, count in enumerate(counts)]
    jobs = ShardPlan(files, MakeShardsOptions(pages_per_shard=pages_per_shard))
    pages = [
        (unit.file.path, page)
        for job in jobs
        for unit in job.items
        for page in range(unit.first, unit.first + unit.count)
    ]
    assert pages == [(each.path, page) for each in files for page in range(1, each.num_pages + 1)]
    assert all(job.num_pages == pages_per_shard for job in jobs[:-1])


@given(
    st.lists(st.tuples(st.sampled_from(["image", "pdf"]), st.integers(0, 9), st.integers(0, 900)), max_size=30),
    st.integers(1, 9),
    st.integers(1, 3000),
)
@settings(deadline=None)
def test_a_job_put_together_later_is_the_one_that_was_cut(
    drawn: list[tuple[str, int, int]], most_pages: int, shard_bytes: int
) -> None:
    files = [file(f"f{number}", pages, kind=kind, num_bytes=size) for number, (kind, pages, size) in enumerate(drawn)]
    cutter = ShardCutter(most_pages, shard_bytes)
    cut = [job for each in files for job in cutter.add(each)] + cutter.end()
    plan = ShardPlan(files, MakeShardsOptions(pages_per_shard=most_pages, shard_bytes=shard_bytes))
    assert [*plan] == cut
    assert plan.num_pages == sum(each.num_pages for each in files)
    odd = plan.where(lambda number: number % 2 == 1)
    assert [*odd] == cut[1::2]
    assert odd.num_pages == sum(job.num_pages for job in cut[1::2])
