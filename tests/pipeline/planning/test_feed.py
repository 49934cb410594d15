"""Spans: pipeline/planning. Steps from another process are those of this one, and continue when it is gone."""

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from itertools import islice
from pathlib import Path
from threading import Thread, Timer

import pytest

from tests.helpers.plan_data import UNTILED, Squares, pages, planner
from tests.helpers.waiting import HANGS_AFTER_S, wait_until
from wdstream.errors import PlanError
from wdstream.pipeline.planning.feed import SharedPlanner, StepFeed
from wdstream.pipeline.planning.place import make_socket_folder
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset
from wdstream.records import StepPlan
from wdstream.storage.tries import Stop, end_by


def a_plan(**settings: object) -> Planner:
    datasets = [Dataset(columns=pages(60, seed=seed), name=f"d{seed}") for seed in range(2)]
    return planner(*datasets, **({"epochs": 2} | settings))


def feed(plan: Planner, **settings: object) -> StepFeed:
    chosen = {"world_size": 2, "micro_batch_size": 1, "planning": "process"} | settings
    return StepFeed(plan, plan.initial_state(), **chosen)  # type: ignore[arg-type]


def rest(steps: Iterator[tuple[StepPlan, object]]) -> list[tuple[StepPlan, object, object]]:
    return [(step, step.totals, state) for step, state in steps]


def reading(steps: StepFeed) -> StepFeed:
    """Once its planning process has a step: until then it plans by itself."""
    wait_until(lambda: steps._begins_to_read() and steps._reads, "a step of the planning process")
    return steps


def test_another_process_plans_the_same() -> None:
    plan = a_plan()
    with closing(feed(plan)) as apart, closing(feed(plan, planning="thread")) as here:
        found, expected = rest(reading(apart)), rest(here)
    assert len(found) == plan.total_steps()
    assert found == expected
    first, _, _ = found[0]
    assert first.packs[1] == plan.step(0, world_size=2).packs[1]
    assert repr(first) == repr(plan.step(0, world_size=2))


def test_the_first_steps_do_not_wait_for_the_process() -> None:
    plan = a_plan(global_batch_size=2)
    with closing(feed(plan)) as apart, closing(feed(plan, planning="thread")) as here:
        expected = rest(here)
        found = rest(islice(apart, 3))
        found += rest(reading(apart))
    assert found == expected


def test_auto_takes_a_process_by_the_size_of_a_step() -> None:
    assert feed(a_plan(), planning="auto")._is_apart is False
    assert feed(a_plan(global_batch_size=512), planning="auto")._is_apart is True


def test_a_killed_planner_costs_nothing_but_time() -> None:
    plan = a_plan(global_batch_size=2)
    expected = rest(feed(plan, planning="thread"))
    with closing(feed(plan)) as apart:
        found = rest(islice(reading(apart), 3))
        assert apart._process is not None
        os.kill(apart._process.pid, signal.SIGKILL)
        found += rest(apart)
    assert found == expected


@contextmanager
def open_files(limit: int) -> Iterator[None]:
    """This process may open files of numbers below a limit alone."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("is_shared", [False, True])
def test_who_can_open_no_more_files_plans_alone(is_shared: bool) -> None:
    """And no other rank waits for it: the plan is longer than what is planned ahead."""
    plan = a_plan(global_batch_size=2)
    expected = rest(feed(plan, planning="thread"))
    folder = Path(make_socket_folder()) if is_shared else Path()
    shared = [SharedPlanner(folder=folder, local_rank=rank, local_size=2) for rank in range(2)] if is_shared else [None]
    feeds = [feed(plan, shared=entry) for entry in shared]
    found = [list[tuple[StepPlan, object, object]]() for _ in feeds]
    for entry in feeds[::-1]:
        wait_until(lambda: all(each._begins_to_read() for each in feeds) and feeds[-1]._reads, "the planning process")
        found[feeds.index(entry)] += rest(islice(reading(entry), 2))
    free = os.dup(0)
    os.close(free)
    with open_files(free):
        found[-1] += rest(islice(feeds[-1], 1))
    for steps, entry in zip(found, feeds, strict=True):
        steps += rest(entry)
    assert found == [expected] * len(feeds)
    for entry in feeds:
        entry.close()


def test_a_run_with_many_open_files_reads_too() -> None:
    """select() knows numbers up to 1,023 alone."""
    plan = a_plan(global_batch_size=2)
    with open_files(1200), ExitStack() as opened:
        while (descriptor := os.dup(0)) < 1100:
            opened.callback(os.close, descriptor)
        opened.callback(os.close, descriptor)
        with closing(feed(plan)) as apart:
            assert rest(reading(apart)) == rest(feed(plan, planning="thread"))


def test_ranks_of_a_machine_share_one() -> None:
    plan = a_plan()
    expected = rest(feed(plan, planning="thread"))
    found: dict[int, list[tuple[StepPlan, object, object]]] = {}
    folder = Path(make_socket_folder())
    feeds = [feed(plan, shared=SharedPlanner(folder=folder, local_rank=rank, local_size=3)) for rank in range(3)]
    threads = [Thread(target=lambda rank=rank: found.update({rank: rest(reading(feeds[rank]))})) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry._process is not None for entry in feeds] == [True, False, False]
    for entry in feeds:
        entry.close()
    assert found == dict.fromkeys(range(3), expected)
    assert not folder.exists()


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
        wait_until(lambda: process.poll() is not None, "its end")
        assert process.returncode == 0


def test_a_plan_that_does_not_pickle_is_planned_here() -> None:
    plan = a_plan()
    plan.unpicklable = lambda: None  # type: ignore[attr-defined]
    with closing(feed(plan)) as apart:
        assert rest(apart) == rest(feed(a_plan(), planning="thread"))
        assert apart._process is None


class Foreign(Squares):
    """A family that only the process knows which made it, as one of a script is."""

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (ForeignModule("nowhere"), "family")


class ForeignModule:
    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return import_module, (self.name,)


def test_a_plan_that_does_not_unpickle_is_planned_here(capfd: pytest.CaptureFixture[str]) -> None:
    settings = {"sequence_length": 128, "max_patches": 256, "global_batch_size": 4, "epochs": 1}
    plan = Planner([Dataset(columns=pages(60), name="d")], Foreign(), UNTILED, **settings)
    with closing(feed(plan)) as apart:
        found = rest(islice(apart, 1))
        assert apart._process is not None
        apart._process.wait(HANGS_AFTER_S)
        assert [*found, *rest(apart)] == rest(feed(plan, planning="thread"))
    assert "the plan cannot be taken to another process: ModuleNotFoundError" in capfd.readouterr().err


def test_no_place_for_temporary_files_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with closing(feed(a_plan())) as apart:
        assert rest(reading(apart)) == rest(feed(a_plan(), planning="thread"))
        assert apart._process is not None


@pytest.mark.parametrize("is_started", [False, True])
def test_ranks_that_cannot_meet_plan_alone(tmp_path: Path, is_started: bool) -> None:
    """Somebody removes the folder where they meet, before or after local rank 0 has come there."""
    plan = a_plan()
    expected = rest(feed(plan, planning="thread"))
    folder = tmp_path / "meet"
    folder.mkdir()
    feeds = [feed(plan, shared=SharedPlanner(folder=folder, local_rank=rank, local_size=2)) for rank in range(2)]
    found: dict[int, list[tuple[StepPlan, object, object]]] = {}
    first = Thread(target=lambda: found.update({0: rest(feeds[0])}))
    if is_started:
        first.start()
        wait_until((folder / "s").exists, "the planning process")
    shutil.rmtree(folder)
    if not is_started:
        first.start()
    found[1] = rest(feeds[1])
    first.join()
    assert found == {0: expected, 1: expected}
    for entry in feeds:
        entry.close()


def test_a_name_that_is_too_long_for_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = Path(make_socket_folder())
    assert folder.is_dir() and len(str(folder)) < 90
    folder.rmdir()


@contextmanager
def halted(plan: Planner) -> Iterator[tuple[StepFeed, list[tuple[StepPlan, object, object]], int]]:
    """A feed whose planner was stopped after two steps: the feed, these steps, and the process."""
    with closing(feed(plan)) as apart:
        found = rest(islice(reading(apart), 2))
        assert apart._process is not None
        pid = apart._process.pid
        os.kill(pid, signal.SIGSTOP)
        yield apart, found, pid


def test_a_planner_that_halts_for_a_while_changes_nothing() -> None:
    plan = a_plan(global_batch_size=2)
    expected = rest(feed(plan, planning="thread"))
    with halted(plan) as (apart, found, pid):
        goes_on = Timer(1.0, os.kill, (pid, signal.SIGCONT))
        goes_on.start()
        found += rest(apart)
        goes_on.join()
    assert found == expected


def test_a_planner_that_halts_says_so_and_may_be_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wdstream.pipeline.planning.frames.SILENT_S", 0.0)
    plan = a_plan(global_batch_size=2)
    expected = rest(feed(plan, planning="thread"))
    with halted(plan) as (apart, found, pid):
        reader = Thread(target=lambda: found.extend(rest(apart)), daemon=True)
        reader.start()
        wait_until(lambda: "no step came for 0 s" in caplog.text, "a warning")
        os.kill(pid, signal.SIGKILL)
        reader.join(HANGS_AFTER_S)
    assert found == expected


def is_let_go(steps: StepFeed) -> bool:
    """Whether a thread that waits for steps ends when nobody wants them any more, as when its loader is closed."""
    stop = Stop()

    def read() -> None:
        end_by(stop)
        with suppress(TimeoutError):
            while not stop.is_over:
                next(steps)

    reading = Thread(target=read, daemon=True)
    reading.start()
    stop.set()
    reading.join(HANGS_AFTER_S)
    return not reading.is_alive()


def test_a_planner_that_halts_for_good_keeps_nobody() -> None:
    with closing(feed(a_plan(global_batch_size=2, epochs=None))) as apart:
        next(reading(apart))
        assert apart._process is not None
        os.kill(apart._process.pid, signal.SIGSTOP)
        assert is_let_go(apart)


def test_a_planner_that_never_comes_keeps_nobody(tmp_path: Path) -> None:
    shared = SharedPlanner(folder=tmp_path, local_rank=1, local_size=2)
    with closing(feed(a_plan(global_batch_size=2, epochs=None), shared=shared)) as apart:
        assert is_let_go(apart)
