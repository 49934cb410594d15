"""Without Ray, or without a cluster where one is named, that is said at once. With one: test_mapping.py."""

import sys

import pytest

from tests.helpers.processes import free_port
from wdstream.errors import ConfigError
from wdstream.storage.engines.mapping import map_tasks
from wdstream.storage.engines.settings import EngineSettings


def absolute(engine: str) -> list[int]:
    return list(map_tasks(abs, [-1], EngineSettings(engine=engine), 1, command="test"))


def test_nothing_answers_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", closed)
    for engine, named in (("ray", closed), (f"ray://{closed}", f"ray://{closed}")):
        with pytest.raises(ConfigError, match=f"no Ray cluster at {named} .*refused.*is it up"):
            absolute(engine)


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine: ray needs ray .*pip install 'wdstream\[ray\]'"):
        absolute("ray")
