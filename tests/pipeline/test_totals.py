"""Steps of a run, counted in another process: the same number, kept for later, and not further than needed."""

import time
from pathlib import Path

import pytest

from tests.helpers.plan_data import pages, planner
from wdstream.errors import PlanError
from wdstream.pipeline.totals import StepCounter, holds_packs, kept_total, total_key
from wdstream.plan.planner import Planner


def counted(plan: Planner, *, state: object = None, enough: int | None = None) -> int:
    counter = StepCounter(plan, state, enough)  # type: ignore[arg-type]
    try:
        while counter.poll() is None:
            time.sleep(0.01)
        assert counter.total is not None
        return counter.total
    finally:
        counter.close()


def test_another_process_counts_the_same() -> None:
    plan = planner(pages(300), epochs=2)
    total = plan.total_steps()
    assert total is not None
    assert counted(plan) == total
    assert counted(plan, state=plan.state_after(5)) == total
    assert counted(plan, enough=total + 3) == total
    assert counted(plan, enough=total - 1) == total - 1


def test_an_error_of_the_plan_is_one_here() -> None:
    with pytest.raises(PlanError, match="no sample can be planned"):
        counted(planner(pages(20, text=(0, 0)), epochs=1))


def test_a_count_that_is_killed_is_an_error_with_a_way_out() -> None:
    counter = StepCounter(planner(pages(300), epochs=1000), None, None)
    counter._process.kill()
    counter._process.wait()
    with pytest.raises(PlanError, match="status -9; `wdstream plan CFG` counts"):
        counter.poll()
    counter.close()


@pytest.mark.parametrize("settings", [{}, {"overlength": "downscale"}, {"where": "tokens > 20"}, {"max_patches": 60}])
def test_lengths_alone_never_promise_too_many_packs(settings: dict[str, object]) -> None:
    plan = planner(pages(300), epochs=3, **settings)
    packs = sum(len(step.packs) for step in plan.steps())
    promised = max(count for count in range(1, packs + 2) if holds_packs(plan.mixture, count))
    assert packs * 0.8 < promised <= packs


def test_the_key_says_all_that_decides_the_number() -> None:
    plan = planner(pages(100), epochs=1)
    once: dict[str, object] = {"epochs": 1}
    others: list[dict[str, object]] = [
        {"epochs": 2},
        {"tail": "drop"},
        {"seed": 1},
        {"global_batch_size": 8},
        {"sequence_length": 64},
    ]
    keys = [total_key(planner(pages(100), **(once | other))) for other in others]
    assert len({total_key(plan), *keys, total_key(planner(pages(100, seed=1), epochs=1))}) == len(others) + 2
    assert total_key(plan) == total_key(planner(pages(100), epochs=1)) < 1 << 48


def test_columns_that_are_no_folder_keep_nothing(tmp_path: Path) -> None:
    assert kept_total(planner(pages(100), epochs=1)) is None
