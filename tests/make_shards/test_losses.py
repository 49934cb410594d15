"""Workers that are killed, stopped or starved, and pauses of the whole job: the bytes of an undisturbed run.

Spans: make_shards.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.jobs import Tree, workers_of
from tests.helpers.waiting import wait_until
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards import process as workers_process
from wdstream.make_shards import workers as make_shards_workers
from wdstream.make_shards.process import Process

COMMAND = [sys.executable, "-m", "wdstream", "make-shards"]
OPTIONS = MakeShardsOptions(workers=2, pages_per_shard=3, memory_limit_mb=1500)
SETTINGS = ("--workers", "2", "--pages-per-shard", "3", "--memory-limit-mb", "1500")


@pytest.fixture(scope="module")
def undisturbed(small_raw: Path, tmp_path_factory: pytest.TempPathFactory, tree_of: Callable[[Path], Tree]) -> Tree:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert make_shards(small_raw, out, options=OPTIONS).num_pages == 13
    return tree_of(out)


@contextmanager
def running(raw: Path, out: Path, *settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """make-shards as a process group of its own, which is killed at the end of the block if it still runs."""
    command = [*COMMAND, str(raw), str(out), *SETTINGS, *settings]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def struck_at_pages(monkeypatch: pytest.MonkeyPatch, number: int, sign: signal.Signals) -> Iterator[list[str]]:
    """Send a signal to workers of this process while they are at a page, each page once; yields the pages struck.

    A worker is stopped first and looked at again, as it may have continued since it was seen at a page.
    """
    started, struck, is_over = list[Process](), list[str](), threading.Event()

    class Noted(Process):
        def __init__(self, *settings: Any) -> None:
            super().__init__(*settings)
            started.append(self)

    def strike(worker: Process) -> None:
        page, pid = page_of(worker), worker._process.pid
        if page is None or page in struck or worker._process.poll() is not None:
            return
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) in "TZX", "a worker that is stopped")
        if page_of(worker) == page and state_of(pid) == "T":
            struck.append(page)
            os.kill(pid, sign)
        else:
            os.kill(pid, signal.SIGCONT)

    def strike_all() -> None:
        while len(struck) < number and not is_over.wait(0.0005):
            for worker in list(started):
                # One that was ended meanwhile has no page, and no process.
                with contextlib.suppress(ValueError, ProcessLookupError):
                    if len(struck) < number:
                        strike(worker)

    monkeypatch.setattr(make_shards_workers, "Process", Noted)
    thread = threading.Thread(target=strike_all)
    thread.start()
    try:
        yield struck
    finally:
        is_over.set()
        thread.join()


def page_of(worker: Process) -> str | None:
    """The page of a shard that a worker is at."""
    job = worker.job
    return worker.where(job) if job is not None and job.kind != "survey" and worker.is_at_page else None


def state_of(pid: int) -> str:
    """The letter that Linux gives a process: T where it is stopped, X where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def test_killed_workers_cost_nothing(
    small_raw: Path,
    tmp_path: Path,
    undisturbed: Tree,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with struck_at_pages(monkeypatch, 4, signal.SIGKILL) as struck:
        report = make_shards(small_raw, tmp_path / "out", options=OPTIONS)
    assert len(struck) == 4
    assert report.tried_again >= 1  # a file that is being opened when it is struck, and then a page of it, are one
    assert report.given_up == 0
    assert tree_of(tmp_path / "out") == undisturbed


def test_a_stopped_worker_is_replaced_and_its_page_is_tried_again(
    small_raw: Path,
    tmp_path: Path,
    undisturbed: Tree,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with struck_at_pages(monkeypatch, 1, signal.SIGSTOP) as struck:
        report = make_shards(small_raw, tmp_path / "out", options=OPTIONS.replace(time_limit=5))
    assert len(struck) == 1
    assert (report.tried_again, report.given_up) == (1, 0)
    assert tree_of(tmp_path / "out") == undisturbed


@contextlib.contextmanager
def strike_at_first_workers(number: int, sign: signal.Signals) -> Iterator[None]:
    """Send a signal to each of the first workers as soon as it is one, in the block."""
    others, struck, is_over = {*workers_of(os.getpid())}, set[int](), threading.Event()

    def strike() -> None:
        while len(struck) < number and not is_over.wait(0.002):
            for worker in {*workers_of(os.getpid())} - others - struck:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, sign)
                struck.add(worker)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert len(struck) == number


def test_processes_that_are_killed_before_their_first_job(
    small_raw: Path, tmp_path: Path, undisturbed: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    with strike_at_first_workers(4, signal.SIGKILL):
        make_shards(small_raw, tmp_path / "out", options=OPTIONS)
    assert tree_of(tmp_path / "out") == undisturbed


def test_processes_that_are_stopped_before_their_first_message(
    small_raw: Path,
    tmp_path: Path,
    undisturbed: Tree,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_process, "_LEAST_SILENCE_S", 8.0)
    with strike_at_first_workers(2, signal.SIGSTOP):
        make_shards(small_raw, tmp_path / "out", options=OPTIONS.replace(time_limit=8))
    assert tree_of(tmp_path / "out") == undisturbed


def pause(process: "subprocess.Popen[bytes]", out: Path, seconds: float) -> None:
    wait_until(lambda: any(out.glob("*.tar")), "the first shard")
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGCONT)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def test_a_pause_of_the_job_is_not_the_fault_of_a_page(
    small_raw: Path, tmp_path: Path, undisturbed: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    with running(small_raw, tmp_path / "out", "--time-limit", "2") as process:
        pause(process, tmp_path / "out", 5)
    assert tree_of(tmp_path / "out") == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_pause_of_three_minutes(
    small_raw: Path, tmp_path: Path, undisturbed: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    with running(small_raw, tmp_path / "out") as process:
        pause(process, tmp_path / "out", 180)
    assert tree_of(tmp_path / "out") == undisturbed


def disturb(chance: random.Random, process: "subprocess.Popen[bytes]") -> str:
    """One of: a worker killed, a worker stopped for good, all stopped for longer than the limit, the job killed."""
    workers = workers_of(process.pid)
    what = chance.choice(["kill a worker"] * 5 + ["stop a worker", "pause", "kill the job"])
    with contextlib.suppress(ProcessLookupError):
        if what == "pause":
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(3 if chance.random() < 0.9 else 8)
            os.killpg(process.pid, signal.SIGCONT)
        elif what == "kill the job":
            process.kill()
        elif workers:
            os.kill(chance.choice(workers), signal.SIGKILL if what == "kill a worker" else signal.SIGSTOP)
    return what


def disturbed_runs(raw: Path, out: Path, number: int, seed: int, on_run: Callable[[], None]) -> list[str]:
    """Disturb runs, one after the other, `number` times; each is started again until it ends by itself."""
    chance, done = random.Random(seed), list[str]()
    while len(done) < number:
        shutil.rmtree(out, ignore_errors=True)
        is_finished = False
        while not is_finished:
            with running(raw, out, "--time-limit", "6") as process:
                while process.poll() is None and len(done) < number:
                    time.sleep(chance.uniform(0.2, 1.5))
                    done += [disturb(chance, process)] if process.poll() is None else []
                _, errors = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), errors
            is_finished = process.returncode == 0
        on_run()
    return done


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_stops_and_pauses(
    small_raw: Path, tmp_path: Path, undisturbed: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    out, runs = tmp_path / "out", list[Tree]()
    done = disturbed_runs(small_raw, out, 50, seed=11, on_run=lambda: runs.append(tree_of(out)))
    assert {*done} == {"kill a worker", "stop a worker", "pause", "kill the job"}
    assert all(tree == undisturbed for tree in runs), done


def test_a_few_kills_stops_and_pauses(
    small_raw: Path, tmp_path: Path, undisturbed: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    out = tmp_path / "out"
    disturbed_runs(small_raw, out, 4, seed=3, on_run=lambda: None)
    assert tree_of(out) == undisturbed
