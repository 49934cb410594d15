import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wdstream.errors import WdstreamError
from wdstream.make_shards.jobs import Job, Skip
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.process import Loss
from wdstream.make_shards.recovery import Recovery
from wdstream.make_shards.survey.shard_plan import ShardPlan
from wdstream.raw.source import RawFile

KILLED = Loss(cause="killed the process (SIGKILL)", may_be_from_outside=True)
CRASHED = Loss(cause="killed the process (SIGSEGV)")


def shard(*counts: int) -> Job:
    files = [RawFile(path=f"f{n}", kind="pdf", stem=f"f{n}", num_bytes=9, num_pages=k) for n, k in enumerate(counts)]
    (job,) = ShardPlan(files, MakeShardsOptions(pages_per_shard=1000))
    return job


def test_a_page_is_read_again_alone_and_the_others_meanwhile() -> None:
    recovery = Recovery()
    alone, rest = recovery.after_loss(shard(2, 2), (1, 1), CRASHED)
    assert (alone.kind, alone.places, alone.is_alone) == ("keep", [(1, 1)], True)
    assert (rest.kind, rest.places, rest.is_alone) == ("keep", [(0, 1), (0, 2), (1, 2)], False)
    assert recovery.after_keeping(rest) == []
    (whole,) = recovery.after_keeping(alone)
    assert (whole.kind, whole.kept, whole.skips) == ("shard", ((0, 1), (0, 2), (1, 1), (1, 2)), ())
    assert (recovery.tried_again, recovery.given_up) == (1, 0)


def test_a_page_that_crashes_twice_is_given_up_and_one_that_is_killed_later() -> None:
    for loss, reason in (
        (CRASHED, "lost twice, the last time alone: reading it killed the process (SIGSEGV)"),
        (KILLED, "lost 4 times, the last time alone: reading it killed the process (SIGKILL)"),
    ):
        recovery = Recovery()
        alone, rest = recovery.after_loss(shard(2), (0, 2), loss)
        assert recovery.after_keeping(rest) == []
        while alone.kind == "keep":
            (alone,) = recovery.after_loss(alone, (0, 2), loss)
        assert alone.skips == (Skip(item=0, page=2, reason=reason),)
        assert alone.kept == ((0, 1),)
        assert recovery.given_up == 1


def test_a_file_that_loses_its_process_when_it_is_opened() -> None:
    recovery = Recovery()
    alone, rest = recovery.after_loss(shard(1, 3, 1), (1, None), CRASHED)
    assert alone.places == [(1, 1), (1, 2), (1, 3)] and alone.is_alone
    recovery.after_keeping(rest)
    (whole,) = recovery.after_loss(alone, (1, None), CRASHED)
    reason = "lost twice, the last time alone: reading it killed the process (SIGSEGV)"
    assert whole.skips == (Skip(item=1, page=None, reason=reason),)


def test_a_survey_is_split_at_the_file() -> None:
    recovery = Recovery()
    job = Job(kind="survey", number=0, items=shard(1, 1, 1).items, num_pages=3)
    alone, rest = recovery.after_loss(job, (1, None), CRASHED)
    assert [item.file.path for item in alone.items] == ["f1"] and alone.is_alone and not alone.skips
    assert [item.file.path for item in rest.items] == ["f0", "f2"]
    (given_up,) = recovery.after_loss(alone, (0, None), CRASHED)
    assert given_up.skips[0].reason.startswith("lost twice")


def test_losses_that_no_page_explains_are_bounded() -> None:
    recovery, job = Recovery(), shard(3)
    for _ in range(20):
        assert recovery.after_loss(job, None, KILLED) == [job]
    with pytest.raises(WdstreamError, match=r"shard 0: 21 processes .* outside of any page; .*SIGKILL.* it continues"):
        recovery.after_loss(job, (1, None), KILLED)


@settings(deadline=None, max_examples=150)
@example([3], 120435, 0.4)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 1 << 30), st.sampled_from([0.1, 0.4]))
def test_whatever_is_lost_every_page_is_kept_or_given_up_and_the_shard_is_made_once(
    counts: list[int], seed: int, share: float
) -> None:
    chance, recovery, first = random.Random(seed), Recovery(), shard(*counts)
    pending, made = [first], []
    kept: set[tuple[int, int]] = set()
    while pending:
        job = pending.pop(chance.randrange(len(pending)))
        # Where all pages of a shard were given up, none is kept, and the last job reads none either.
        is_put_together = job.kept or job.skips
        lost_at = None if is_put_together else next((place for place in job.places if chance.random() < share), None)
        if lost_at is not None:
            if job.kind == "keep":
                kept |= {place for place in job.places if place < lost_at}
            at = (lost_at[0], None) if chance.random() < 0.3 else lost_at
            if at[1] is None and job.kind == "keep":  # opened once for all pages of the range
                at = lost_at if any(p[0] == lost_at[0] and p < lost_at for p in job.places) else at
            pending += recovery.after_loss(job, at, chance.choice([CRASHED, KILLED]))
        elif job.kind == "keep":
            kept |= {*job.places}
            pending += recovery.after_keeping(job)
        else:
            made.append(job)
    (whole,) = made
    skipped = {
        place
        for skip in whole.skips
        for place in first.places
        if place[0] == skip.item and skip.page in (None, place[1])
    }
    if whole is not first:
        assert {*whole.kept} | skipped == {*first.places}
        assert {*whole.kept} <= kept
        assert not {*whole.kept} & skipped
