"""make-shards as a process of its own: killed, interrupted, out of disk.

Spans: make_shards.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.helpers.interrupts import LOCK_IS_FREE, Place, interrupt_at
from tests.helpers.jobs import Tree, children_of, workers_of
from tests.helpers.waiting import wait_until
from wdstream.make_shards import MakeShardsOptions, MakeShardsStopped, index_folder, make_shards
from wdstream.make_shards.process import Process
from wdstream.raw.children import die_with_parent
from wdstream.shards.apart.set_folder import set_folder
from wdstream.testing import make_pages

# Says what it does, and waits after some steps, so that a test can strike there.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
import sys, time
from pathlib import Path
from wdstream.testing import make_pages
from wdstream.make_shards import MakeShardsOptions, MakeShardsStopped, make_shards
raw, out, stop_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def show(state):
    print(state.stage, state.pages_done, state.shards_done, flush=True)
    if state.stage == "making shards" and 0 <= stop_at <= state.pages_done:
        print("waiting", flush=True)
        time.sleep(600)  # until it is killed or interrupted
try:
    report = make_shards(raw, out, options=MakeShardsOptions(workers=2, pages_per_shard=3), on_progress=show)
    print("pages", report.num_pages, flush=True)
except MakeShardsStopped as stopped:
    print(stopped, flush=True)
    sys.exit(130)
except Exception as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(1)
"""


@contextmanager
def started(
    raw: Path, out: Path, stop_at: int, limit: Callable[[], None] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """The program above, running; killed at the end of the block if it still does."""
    command = [sys.executable, "-c", PROGRAM, str(raw), str(out), str(stop_at)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=limit
    ) as process:
        yield process
        process.kill()


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"the process ended without saying {word!r}")


def wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"the end of the workers {pids}")


@pytest.fixture(scope="module")
def whole(small_raw: Path, tmp_path_factory: pytest.TempPathFactory, tree_of: Callable[[Path], Tree]) -> Tree:
    """What an uninterrupted run writes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    make_shards(small_raw, out, options=MakeShardsOptions(workers=1, pages_per_shard=3))
    return tree_of(out)


def test_killed_again_and_again_it_ends_with_the_same_bytes(
    small_raw: Path, tmp_path: Path, whole: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    out = tmp_path / "out"
    for stop_at in (0, 3, 7, 11):
        with started(small_raw, out, stop_at) as process:
            wait_for(process, "waiting")
            workers = workers_of(process.pid)
            process.kill()
        wait_until_gone(workers)
    with started(small_raw, out, -1) as process:
        wait_for(process, "pages 13")
        assert process.wait() == 0
    assert tree_of(out) == whole


def test_a_new_run_right_after_a_kill_waits_for_the_old_workers(
    small_raw: Path, tmp_path: Path, whole: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    out = tmp_path / "out"
    with started(small_raw, out, 4) as process:
        wait_for(process, "waiting")
    report = make_shards(small_raw, out, options=MakeShardsOptions(workers=2, pages_per_shard=3))
    assert report.num_pages == 13
    assert tree_of(out) == whole


def test_a_process_that_is_stopped_while_it_starts_ends_with_its_parent(small_raw: Path, tmp_path: Path) -> None:
    """Else it would hold the lock of the folder forever: it sees neither the end of its stdin nor any other sign."""
    with started(small_raw, tmp_path / "out", 4) as process:
        wait_until(lambda: bool(workers_of(process.pid)), "the first worker")
        worker = workers_of(process.pid)[0]
        os.kill(worker, signal.SIGSTOP)
    wait_until_gone([worker])
    options = MakeShardsOptions(workers=1, pages_per_shard=3)
    assert make_shards(small_raw, tmp_path / "out", options=options).num_pages == 13


def test_two_runs_on_one_output_are_refused(small_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wdstream.errors import ConfigError
    from wdstream.make_shards import manifest

    monkeypatch.setattr(manifest, "_LOCK_WAIT_S", 0.2)
    refused = pytest.raises(ConfigError, match="make-shards is at work there")
    with manifest.locked(tmp_path / "out"):
        with refused:
            make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
        with refused:
            index_folder(tmp_path / "out")
    with set_folder(tmp_path / "out", job="index", with_metas=False), refused:
        make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=1))


def test_an_interrupt_says_how_to_continue(small_raw: Path, tmp_path: Path) -> None:
    with started(small_raw, tmp_path / "out", 4) as process:
        wait_for(process, "waiting")
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
        wait_for(process, "stopped; run the same command again and it continues: ")
        assert process.wait() == 130
    wait_until_gone(workers)


@pytest.mark.parametrize(("place", "event"), [(threading.Thread.start, "call"), (LOCK_IS_FREE, "return")])
def test_an_interrupt_while_a_process_is_given_work(
    small_raw: Path, tmp_path: Path, place: Place, event: Literal["call", "return"]
) -> None:
    """The thread that sends the work is then not running yet, or just begins to."""
    before = children_of(os.getpid())
    stopped = pytest.raises(MakeShardsStopped, match=r"run the same command again and it continues: 0 of 0 shards")
    with interrupt_at(place, event, below=Process.give), stopped:
        make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=2, pages_per_shard=3))
    assert children_of(os.getpid()) == before


def test_a_process_that_starts_sees_no_interrupt(small_raw: Path, tmp_path: Path) -> None:
    """A terminal sends it to all: to a process before its program runs, too, which is to leave it to its parent."""
    with interrupt_at(die_with_parent):
        report = make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(workers=1, pages_per_shard=3))
    assert report.num_pages == 13


def test_an_interrupted_command_says_how_to_continue(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    make_pages(raw, num_pages=1)
    for number in range(1, 800):  # more than are done before the interrupt
        for suffix in ("jpg", "txt"):
            shutil.copyfile(raw / f"page-00000.{suffix}", raw / f"page-{number:05}.{suffix}")
    command = [
        sys.executable,
        "-m",
        "wdstream",
        "make-shards",
        str(raw),
        str(out),
        "--workers",
        "1",
        "--pages-per-shard",
        "20",
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as process:
        wait_until(lambda: any(out.glob("*.tar")), "the first shard")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "wdstream: stopped; run the same command again and it continues: " in errors
    assert "Traceback" not in errors


def test_a_full_disk_is_an_error_and_nothing_is_blamed_on_pages(
    small_raw: Path, tmp_path: Path, whole: Tree, tree_of: Callable[[Path], Tree]
) -> None:
    def at_most_100_kb() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out = tmp_path / "out"
    with started(small_raw, out, -1, at_most_100_kb) as process:
        wait_for(process, "ShardError cannot write")
        assert process.wait() == 1
    make_shards(small_raw, out, options=MakeShardsOptions(workers=2, pages_per_shard=3))
    assert tree_of(out) == whole
