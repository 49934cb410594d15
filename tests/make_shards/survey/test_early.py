"""Shards that begin while files are surveyed are those that the whole survey gives."""

import random

import pytest

from wdstream.make_shards import MakeShardsOptions
from wdstream.make_shards.jobs import Job
from wdstream.make_shards.survey.early import EarlyShards
from wdstream.make_shards.survey.shard_plan import ShardPlan
from wdstream.raw.source import RawFile


def files_of(seed: int, count: int, most_pages: int) -> list[RawFile]:
    draw = random.Random(seed)
    return [
        RawFile(
            path=f"{number:06d}.pdf",
            kind="pdf" if draw.random() < 0.5 else "image",
            num_bytes=draw.randrange(1 << 22),
            num_pages=draw.choice([0, 1, 1, 2, draw.randrange(1, most_pages)]),
        )
        for number in range(count)
    ]


def made_early(files: list[RawFile], options: MakeShardsOptions, seed: int) -> list[Job]:
    """All that are handed out where files are surveyed in some order."""
    found, jobs = dict[str, RawFile](), list[Job]()
    early = EarlyShards(files, options, lambda file: found.get(file.path))
    order = [*files]
    random.Random(seed).shuffle(order)
    for file in order:
        found[file.path] = file
        early.add([file])
        while (job := early.next()) is not None:
            jobs.append(job)
            early.pass_over()
    return jobs


@pytest.mark.parametrize("seed", range(6))
def test_early_shards_are_the_first_of_all(seed: int) -> None:
    files = files_of(seed, 300, 40)
    options = MakeShardsOptions(pages_per_shard=7, shard_bytes=1 << (22 + seed))
    jobs = made_early(files, options, seed)
    planned = ShardPlan(files, options)
    assert jobs == planned[: len(jobs)]
    assert len(jobs) >= len(planned) - 1


def test_left_out_number_of_pages_begins_when_it_is_settled() -> None:
    files = files_of(0, 12_000, 100)
    options = MakeShardsOptions()
    total = sum(file.num_pages for file in files)
    assert total > 64 * 1024
    jobs = made_early(files, options, seed=1)
    planned = ShardPlan(files, options)
    assert jobs
    assert jobs == planned[: len(jobs)]
    few = files[:1000]
    assert sum(file.num_pages for file in few) < 64 * 1023
    assert not made_early(few, options, seed=1)


def test_one_shard_at_a_time_and_the_survey_gets_on() -> None:
    files = files_of(3, 4000, 4)
    early = EarlyShards(files, MakeShardsOptions(pages_per_shard=3), lambda file: file)
    early.add(files[:100])
    first = early.next()
    assert first is not None
    assert early.next() is None
    early.done(first)
    assert early.next() is None
    early.add(files[100:2000])
    assert early.next() is not None
