"""Steps of a run, counted in another process: the same number, kept for later, and not further than needed."""

import time
from pathlib import Path

import pytest

from tests.helpers.plan_data import UNTILED, Squares, pages, planner
from wdstream.errors import PlanError
from wdstream.pipeline.totals import StepCounter, holds_packs, kept_total, total_key
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset


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


def kill(counter: StepCounter) -> None:
    counter._process.kill()
    counter._process.wait()


def test_a_count_that_is_killed_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    plan = planner(pages(300), epochs=2)
    counter = StepCounter(plan, None, None)
    kill(counter)
    while counter.poll() is None:
        time.sleep(0.01)
    counter.close()
    assert counter.total == plan.total_steps()
    assert "was killed (signal 9) and begins again" in caplog.text


def test_a_count_that_is_killed_each_time_is_an_error_with_a_way_out() -> None:
    counter = StepCounter(planner(pages(300), epochs=1000), None, None)
    for _ in range(2):
        kill(counter)
        assert counter.poll() is None
    kill(counter)
    for _ in range(2):  # and remains one
        with pytest.raises(PlanError, match="status -9; `wdstream plan CFG` counts"):
            counter.poll()
    counter.close()


class Talkative(Squares):
    """A family of a user's whose module prints when it is imported."""

    def __reduce__(self) -> tuple[object, ...]:
        return Announced, ()


class Announced(Squares):
    def __init__(self) -> None:
        super().__init__()
        print("hello from a plugin", flush=True)


def test_what_a_plugin_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    plan = Planner(
        [Dataset(columns=pages(100), name="d")],
        Talkative(),
        UNTILED,
        sequence_length=128,
        max_patches=256,
        global_batch_size=4,
        epochs=1,
    )
    assert counted(plan) == plan.total_steps()
    assert "hello from a plugin" in capfd.readouterr().err


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
