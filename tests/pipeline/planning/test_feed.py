"""Spans: pipeline/planning. Steps from another process are those of this one, and continue when it is gone."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from threading import Thread

import pytest

from tests.helpers.plan_data import pages, planner
from wdstream.errors import PlanError
from wdstream.pipeline.planning.feed import SharedPlanner, StepFeed
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset
from wdstream.records import StepPlan


def a_plan(**settings: object) -> Planner:
    datasets = [Dataset(columns=pages(60, seed=seed), name=f"d{seed}") for seed in range(2)]
    return planner(*datasets, **({"epochs": 2} | settings))


def feed(plan: Planner, **settings: object) -> StepFeed:
    chosen = {"world_size": 2, "micro_batch_size": 1, "planning": "process"} | settings
    return StepFeed(plan, plan.initial_state(), **chosen)  # type: ignore[arg-type]


def rest(steps: Iterator[tuple[StepPlan, object]]) -> list[tuple[StepPlan, object, object]]:
    return [(step, step.totals, state) for step, state in steps]


def test_another_process_plans_the_same() -> None:
    plan = a_plan()
    with closing(feed(plan)) as apart, closing(feed(plan, planning="thread")) as here:
        found, expected = rest(apart), rest(here)
    assert len(found) == plan.total_steps()
    assert found == expected
    first, _, _ = found[0]
    assert first.packs[1] == plan.step(0, world_size=2).packs[1]
    assert repr(first) == repr(plan.step(0, world_size=2))


def test_auto_takes_a_process_by_the_size_of_a_step() -> None:
    assert feed(a_plan(), planning="auto")._is_apart is False
    assert feed(a_plan(global_batch_size=512), planning="auto")._is_apart is True


def test_a_killed_planner_costs_nothing_but_time() -> None:
    plan = a_plan(global_batch_size=2)
    expected = rest(feed(plan, planning="thread"))
    with closing(feed(plan)) as apart:
        found = rest(islice(apart, 3))
        assert apart._process is not None
        os.kill(apart._process.pid, signal.SIGKILL)
        found += rest(apart)
    assert found == expected


def test_ranks_of_a_machine_share_one() -> None:
    plan = a_plan()
    expected = rest(feed(plan, planning="thread"))
    found: dict[int, list[tuple[StepPlan, object, object]]] = {}
    token = os.urandom(8).hex()
    feeds = [feed(plan, shared=SharedPlanner(token=token, local_rank=rank, local_size=3)) for rank in range(3)]
    threads = [Thread(target=lambda rank=rank: found.update({rank: rest(feeds[rank])})) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry._process is not None for entry in feeds] == [True, False, False]
    for entry in feeds:
        entry.close()
    assert found == dict.fromkeys(range(3), expected)
    assert not feeds[0]._shared.folder.exists()  # type: ignore[union-attr]


def test_an_error_of_the_plan_is_one_here() -> None:
    with closing(feed(planner(pages(20, text=(0, 0)), epochs=1))) as apart, pytest.raises(PlanError, match="rejected"):
        next(apart)


def test_it_ends_with_the_process_that_started_it() -> None:
    with closing(feed(a_plan(epochs=None))) as apart:
        next(apart)
        process = apart._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()  # as when this process dies
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert process.returncode == 0


def test_a_plan_that_does_not_pickle_is_planned_here() -> None:
    plan = a_plan()
    plan.unpicklable = lambda: None  # type: ignore[attr-defined]
    with closing(feed(plan)) as apart:
        assert rest(apart) == rest(feed(a_plan(), planning="thread"))
        assert apart._process is None
