"""make-shards by Ray: the bytes of a local run, whatever is killed; and machines that lack something say so."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.jobs import Tree
from tests.helpers.ray_jobs import RayProgram, ray_program
from tests.helpers.waiting import wait_until
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, make_part, make_shards
from wdstream.make_shards.engines.ray_engine import Needs, RayTask, do_job, needs_of
from wdstream.make_shards.jobs import Job, Setup
from wdstream.make_shards.record import STATE_FOLDER

TreeOf = Callable[[Path], Tree]


def by_ray(raw: Path, out: Path, engine: str = "ray") -> list[str]:
    job = ["-m", "wdstream", "make-shards", str(raw), str(out), "--pages-per-shard", "3", "--holdout", "3"]
    return [*job, "--engine", engine, "--workers", "2"]


def a_worker_at_work(program: RayProgram, out: Path) -> int:
    """A process of Ray that makes a shard, once there is one."""
    wait_until(lambda: program.has_ended or _is_at_work(program, out), "a task of Ray is at work")
    assert not program.has_ended, program.ends()
    return program.workers()[0]


def _is_gone(program: RayProgram, pid: int) -> bool:
    return pid not in program.workers()


def _is_at_work(program: RayProgram, out: Path) -> bool:
    return any((out / STATE_FOLDER).glob("doing-*")) and bool(program.workers())


@pytest.mark.slow
def test_two_workers_make_the_bytes_of_a_local_run(
    tmp_path: Path, small_raw: Path, whole: Tree, tree_of: TreeOf
) -> None:
    with ray_program(by_ray(small_raw, tmp_path / "out")) as program:
        status, written = program.ends()
    assert status == 0, written
    assert tree_of(tmp_path / "out") == whole


@pytest.mark.slow
def test_workers_that_are_killed_change_nothing(tmp_path: Path, small_raw: Path, whole: Tree, tree_of: TreeOf) -> None:
    out = tmp_path / "out"
    with ray_program(by_ray(small_raw, out)) as program:
        for _ in range(2):
            killed = a_worker_at_work(program, out)
            os.kill(killed, signal.SIGKILL)
            wait_until(partial(_is_gone, program, killed), "the process has ended")
        status, written = program.ends()
    assert status == 0, written
    assert tree_of(out) == whole


@pytest.mark.slow
def test_the_job_is_killed_and_begun_again(tmp_path: Path, small_raw: Path, whole: Tree, tree_of: TreeOf) -> None:
    out = tmp_path / "out"
    with ray_program(by_ray(small_raw, out)) as program:
        a_worker_at_work(program, out)
        program.process.kill()
    with ray_program(by_ray(small_raw, out)) as program:
        status, written = program.ends()
    assert status == 0, written
    assert tree_of(out) == whole


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, small_raw: Path) -> RayTask:
    """A task as it comes to a machine: the survey of nothing, for an output that is there."""
    out = tmp_path_factory.mktemp("task") / "out"
    options = MakeShardsOptions(workers=1, pages_per_shard=3)
    make_part(small_raw, out, options=options.replace(part="9/9"))
    told = options.model_dump(mode="json")
    setup = Setup(raw=str(small_raw), out=str(out), store="", options=told, plugins=[])
    job = Job(kind="survey", number=0, items=(), num_pages=0)
    return RayTask(setup=setup, needs=needs_of(options, out, {"pdf"}, None), job=job.to_json())


def test_a_machine_that_has_all_does_the_job(task: RayTask) -> None:
    assert do_job(task) == {"files": [], "tried_again": 0, "given_up": 0}


@pytest.mark.parametrize(
    ("setup", "needs", "why"),
    [
        ({"raw": "/nowhere/raw"}, {}, "/nowhere/raw: no such folder of raw pages here"),
        ({"out": "/nowhere/out"}, {}, "/nowhere/out: not here, or not the output of this job"),
        ({}, {"mark": "{}"}, "not the output of this job"),
        ({}, {"programs": {"ocr_engine": "x 2"}}, "ocr_engine: 'x 2' there, None here"),
        ({}, {"tokenizer": "abc"}, "another tokenizer than there"),
    ],
)
def test_a_machine_that_lacks_something_says_what(
    task: RayTask, setup: dict[str, str], needs: dict[str, object], why: str
) -> None:
    other = RayTask(
        setup=Setup(**{**task["setup"], **setup}),  # type: ignore[typeddict-item]
        needs=Needs(**{**task["needs"], **needs}),  # type: ignore[typeddict-item]
        job=task["job"],
    )
    with pytest.raises(ConfigError, match=f"{why}.*Every machine of the cluster is to have"):
        do_job(other)


def test_a_model_that_is_not_on_a_machine(task: RayTask) -> None:
    options = {**task["setup"]["options"], "tokenizer": "/nowhere/model"}
    other = RayTask(setup=Setup(**{**task["setup"], "options": options}), needs=task["needs"], job=task["job"])
    with pytest.raises(ConfigError, match=r"/nowhere/model.*Every machine of the cluster is to have"):
        do_job(other)


@pytest.mark.slow
def test_no_such_cluster(tmp_path: Path, small_raw: Path) -> None:
    with ray_program(by_ray(small_raw, tmp_path / "out", "ray://127.0.0.1:9")) as program:
        status, written = program.ends()
    assert status == 2, written
    assert "engine: no Ray cluster at ray://127.0.0.1:9" in " ".join(written.split())


def test_without_ray_nothing_is_begun(tmp_path: Path, small_raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine: ray needs ray .*pip install 'wdstream\[ray\]'"):
        make_shards(small_raw, tmp_path / "out", options=MakeShardsOptions(engine="ray"))
    assert not (tmp_path / "out").exists()
