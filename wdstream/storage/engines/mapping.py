"""A function of many tasks by the engine that is asked for, with results in their order: how whole sets are read."""

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.storage.engines.ray_cluster import RayCluster
from wdstream.storage.engines.settings import EngineSettings
from wdstream.storage.places import is_url
from wdstream.storage.processes import Found, Given, in_processes


def map_tasks(
    function: Callable[[Given], Found],
    tasks: Iterable[Given],
    settings: EngineSettings,
    workers: int,
    *,
    command: str,
    most: int | None = None,
    needs: Sequence[Path | str] = (),
    begin: Callable[[], None] | None = None,
) -> Iterator[Found]:
    """The function's result for each task, in their order.

    Args:
        function: of a module; with Ray, of one that every machine has.
        tasks: made when they are asked for; they and the results travel, so that they name places by paths or URLs
            that every machine sees.
        settings: they say which engine.
        workers: processes of this machine.
        command: name of the job, for messages.
        most: tasks at a time on a cluster; all that it has processors for when left out.
        needs: paths that are to be there on every machine; URLs among them are not looked at.
        begin: called first in each process; with Ray, one that compares equal to itself after it travelled.

    Raises:
        ConfigError: there is no such cluster, or a machine of it lacks a path.
        ShardError: a process was lost, with Ray again and again.
    """
    if settings.engine == "local":
        yield from in_processes(function, tasks, workers, command=command, begin=begin)
        return
    called = partial(call_begun, tuple(map(str, needs)), begin, function)
    cluster = RayCluster(function=called, engine=settings.engine, workers=most, command=command)
    for _, found in cluster.results(tasks, in_order=True):
        yield found


def on_every_machine(path: Path, settings: EngineSettings) -> Path:
    """A path as machines of a cluster, which begin elsewhere, need it; as it is for this machine alone."""
    return path if settings.engine == "local" else path.absolute()


def sets_on_every_machine(paths: Sequence[Path | str], settings: EngineSettings) -> list[Path | str]:
    """Folders and URLs as machines of a cluster need them; see `on_every_machine`."""
    return [path if is_url(path) else on_every_machine(Path(path), settings) for path in paths]


def call_begun(
    needs: tuple[str, ...], begin: Callable[[], None] | None, function: Callable[[Given], Found], task: Given
) -> Found:
    """Call a function, in a process of Ray that begins first.

    Raises:
        ConfigError: a path is not on this machine.
    """
    _begin_once(needs, begin)
    return function(task)


@lru_cache(maxsize=8)
def _begin_once(needs: tuple[str, ...], begin: Callable[[], None] | None) -> None:
    """What comes before the first task in a process.

    Raises:
        ConfigError: a path is not here.
    """
    for path in needs:
        if not is_url(path) and not Path(path).exists():
            raise ConfigError(
                f"{socket.gethostname()}: {path} is not here. Every machine of the cluster is to have what the one has "
                "that started the job: folders at the same path, or URLs"
            )
    if begin is not None:
        begin()
