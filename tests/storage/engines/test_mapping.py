"""Tasks by an engine: the same results in the same order; a machine that lacks a path says so."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.ray_jobs import ray_program
from tests.helpers.waiting import wait_until
from wdstream.errors import ConfigError
from wdstream.storage.engines.mapping import call_begun, map_tasks, on_every_machine
from wdstream.storage.engines.settings import EngineSettings

RAY = EngineSettings(engine="ray")
begun = Counter[str]()


def begin() -> None:
    begun["here"] += 1


def test_local_tasks_in_their_order() -> None:
    settings = EngineSettings()
    assert list(map_tasks(abs, [-3, 2, -1], settings, 1, command="test")) == [3, 2, 1]
    assert on_every_machine(Path("a"), settings) == Path("a")
    assert on_every_machine(Path("a"), RAY) == Path("a").absolute()


def test_a_process_begins_once_and_looks_for_its_paths(tmp_path: Path) -> None:
    assert [call_begun((str(tmp_path), "s3://bucket/x"), begin, abs, task) for task in (-1, -2)] == [1, 2]
    assert begun["here"] == 1
    with pytest.raises(ConfigError, match=r"/nowhere/x is not here\. Every machine of the cluster"):
        call_begun(("/nowhere/x",), None, abs, -1)


PROGRAM = """
import sys, time
from pathlib import Path
from wdstream.errors import ConfigError, ShardError
from wdstream.storage.engines.mapping import map_tasks
from wdstream.storage.engines.settings import EngineSettings
import tests.helpers.ray_tasks as tasks
ray = EngineSettings(engine="ray")
import ray as library
library.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
done = list(map_tasks(tasks.slow_square, range(12), ray, 2, command="test"))
assert done == [n * n for n in range(12)], done
made = []
def numbers():
    for number in range(40):
        made.append(number)
        yield number
results = map_tasks(tasks.square, numbers(), ray, 2, command="test")
assert next(results) == 0 and len(made) <= 6, made  # tasks are made when they are due
results.close()
for refused, kind in ((tasks.refuses, ShardError),):
    try:
        list(map_tasks(refused, [1], ray, 2, command="test"))
    except kind as error:
        assert str(error) == "1: no such page", error
    else:
        raise AssertionError
try:
    list(map_tasks(tasks.square, [1], ray, 2, command="test", needs=[Path("/nowhere/y")]))
except ConfigError as error:
    assert "/nowhere/y is not here" in str(error), error
else:
    raise AssertionError
assert library.is_initialized()  # it was the program's
print("all is well")
"""


@pytest.mark.slow
def test_tasks_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(ROOT), *filter(None, sys.path)]))
    with ray_program(["-c", PROGRAM]) as program:
        status, written = program.ends()
    assert status == 0 and "all is well" in written, written


AT_WORK = """
import sys
from wdstream.storage.engines.mapping import map_tasks
from wdstream.storage.engines.settings import EngineSettings
import tests.helpers.ray_tasks as tasks
print(list(map_tasks(tasks.waits_for_file, [sys.argv[1]] * 2, EngineSettings(engine="ray"), 1, command="test", most=1)))
"""


@pytest.mark.slow
def test_two_commands_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a Ray of its own: one that is killed takes nothing from the other."""
    monkeypatch.setenv("PYTHONPATH", ":".join([str(ROOT), *filter(None, sys.path)]))
    with ray_program(["-c", AT_WORK, str(tmp_path / "never")]) as first:
        wait_until(lambda: first.has_ended or bool(first.workers()), "the first is at work")
        with ray_program(["-c", AT_WORK, str(tmp_path / "file")]) as second:
            wait_until(lambda: second.has_ended or bool(second.workers()), "the second is at work")
            first.process.kill()
            (tmp_path / "file").touch()
            status, written = second.ends()
            assert status == 0 and "[1, 1]" in written, written
