"""Calls of a function on the machines of a Ray cluster: a few at a time, done again by Ray where a machine is lost.

Ray is connected to when the first call is made, and left at the end; one that the program had connected to stays.
"""

import logging
import os
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic

from wdstream import errors
from wdstream.errors import ConfigError, ShardError, WdstreamError, needs_extra
from wdstream.storage.engines.own_folder import own_ray_folder
from wdstream.storage.processes import Found, Given

_RETRIES = 10
"""Of a call whose process or machine is lost; by Ray."""
_AHEAD = 2
"""Calls per processor that are handed to Ray: those at work, and as many that wait, so that a cluster may grow."""
_STARTS = 3
"""Tries to start Ray on this machine."""
_POLL_S = 0.5
_ANSWER_S = 15.0
"""For a cluster to take a connection."""
_PATIENCE_WAITS = 60
"""Waits of `_POLL_S` for the first task, after which it is said that it waits."""
_log = logging.getLogger("wdstream")
_OBJECT_STORE_BYTES = 80 << 20
"""Of Ray on this machine alone: what travels is small."""
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """An error of ours that a call ended in: it travels as text, since tracebacks of two machines help nobody."""

    kind: str
    text: str

    def error(self) -> WdstreamError:
        kind = getattr(errors, self.kind, WdstreamError)
        return kind(self.text) if issubclass(kind, WdstreamError) else WdstreamError(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster(Generic[Given, Found]):
    """Has a function called on a cluster.

    Attributes:
        function: of a module, which every machine of the cluster has; it is called in a process of Ray.
        engine: `ray` or `ray://HOST:PORT`, as the options have it.
        workers: most calls at a time; as many as the cluster has processors when left out.
        command: name of the job, for messages.
    """

    function: Callable[[Given], Found]
    engine: str
    workers: int | None
    command: str

    def results(self, tasks: Iterable[Given], *, in_order: bool) -> Iterator[tuple[Given, Found]]:
        """Each task with its result, in the order of the tasks or as they are done; tasks are made when they are due.

        Raises:
            ConfigError: there is no such cluster, or a machine of it lacks what the job needs.
            ShardError: processes of a call are lost again and again.
            WdstreamError: what the function raises.
        """
        ray = import_ray(self.engine)
        try:
            with _connected(self.engine, self.workers):
                yield from self._handed_out(ray, iter(tasks), in_order=in_order)
        except ray.exceptions.RayError as error:
            raise ShardError(
                f"{self.command}: Ray could not do a task ({type(error).__name__}: {_first_line(error)}); when that is "
                "put right, run the same command again: it continues"
            ) from error

    def _handed_out(self, ray: Any, tasks: Iterator[Given], *, in_order: bool) -> Iterator[tuple[Given, Found]]:
        call = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
        waiting: deque[tuple[Given, Any]] = deque()
        patience = _Patience(ray, self.command)
        try:
            while self._fill(ray, call, waiting, tasks):
                for ended in _next_done(ray, waiting, patience, in_order=in_order):
                    waiting.remove(ended)
                    result = ray.get(ended[1])
                    if isinstance(result, _Refusal):
                        raise result.error()
                    yield ended[0], result
        finally:
            for _, reference in waiting:
                ray.cancel(reference, force=True)

    def _fill(self, ray: Any, call: Any, waiting: deque[tuple[Given, Any]], tasks: Iterator[Given]) -> bool:
        """Hand tasks to Ray, up to a few more than it can do at once; whether any are at work."""
        most = self.workers or _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while len(waiting) < most and (task := next(tasks, None)) is not None:
            waiting.append((task, call.remote(_our_version(), self.function, task)))
        return bool(waiting)


def import_ray(engine: str) -> Any:
    """Ray itself, for this engine; also to find out before anything is begun that it is not there.

    Raises:
        ConfigError: it is not installed.
    """
    with needs_extra(f"engine: {engine}", "ray"):
        import ray
    return ray


class _Patience:
    """Says once that tasks wait, so that nobody takes a cluster without a free processor for one at work."""

    def __init__(self, ray: Any, command: str) -> None:
        self._ray = ray
        self._command = command
        self._waits = 0

    def wait(self) -> None:
        """Called each time that no task was done for a moment."""
        self._waits += 1
        if self._waits == _PATIENCE_WAITS and not self._ray.available_resources().get("CPU", 0) >= 1:
            total = int(self._ray.cluster_resources().get("CPU", 0))
            _log.warning(
                "%s: no task has ended yet; the cluster has %d processors, none of them free: tasks wait for one",
                self._command,
                total,
            )

    def end(self) -> None:
        """A task was done: they are at work."""
        self._waits = _PATIENCE_WAITS


def _next_done(
    ray: Any, waiting: deque[tuple[Given, Any]], patience: _Patience, *, in_order: bool
) -> list[tuple[Given, Any]]:
    """Calls that are done, waiting for one; in order, only those at the front."""
    references = [reference for _, reference in waiting]
    done: set[Any] = set()
    wanted = references[:1] if in_order else references
    while not done:  # in short waits, so that an interrupt from the keyboard is heard
        done = {*ray.wait(wanted, timeout=_POLL_S)[0]}
        if not done:
            patience.wait()
    patience.end()
    return [pair for pair in waiting if pair[1] in done]


def _call(wanted: str, function: Callable[[Given], Found], task: Given) -> "Found | _Refusal":
    """One call, in a process of Ray."""
    try:
        if _our_version() != wanted:
            raise ConfigError(
                f"{socket.gethostname()}: has wdstream {_our_version()}, and the job was started with {wanted}: "
                "install the same on every machine of the cluster"
            )
        return function(task)
    except WdstreamError as error:
        return _Refusal(kind=type(error).__name__, text=str(error))


@contextmanager
def _connected(engine: str, workers: int | None) -> Iterator[None]:
    """Connected to a cluster for the block: one that an address names, else Ray on this machine for this job alone.

    A Ray that happens to run on this machine may be another command's, and end with it, so that none is looked for.

    Raises:
        ConfigError: there is none at the address.
    """
    import ray

    if ray.is_initialized():  # by the program, and left as it is
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "") if engine == "ray" else engine
    with ExitStack() as stack:
        if address and address != "local":
            _join(address)
        else:
            folder = stack.enter_context(own_ray_folder())
            stack.callback(ray.shutdown)
            _start(folder, workers)
        stack.callback(ray.shutdown)
        yield


def _join(address: str) -> None:
    """Connect to a cluster that is there.

    Raises:
        ConfigError: it is not.
    """
    import ray

    try:
        _refuse_closed_port(address)
        ray.init(address, **_QUIET)
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"engine: no Ray cluster at {address} ({_first_line(error)}); is it up, with the same Ray and Python as "
            "here, and the same token (RAY_AUTH_MODE)? RAY_ADDRESS names one for `--engine ray`"
        ) from error


def _refuse_closed_port(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


def _start(folder: Path, workers: int | None) -> None:
    """Start Ray on this machine, for this process, in a folder of its own.

    Its processes, which Ray ends before they could tidy up, have that one for temporary files, too; where it had to be
    on another disk, they have the one that this process has.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    processors = workers or len(os.sched_getaffinity(0))
    before = os.environ.get("TMPDIR")
    if folder.parent == Path(tempfile.gettempdir()).absolute():
        os.environ["TMPDIR"] = str(folder)
    try:
        _start_in(folder, processors)
    finally:
        os.environ.pop("TMPDIR", None)
        if before is not None:
            os.environ["TMPDIR"] = before


def _start_in(folder: Path, processors: int) -> None:
    """Start Ray in a folder: again where a busy machine took longer than the half minute that Ray allows.

    Raises:
        ConfigError: it does not start.
    """
    import ray

    for tries_left in reversed(range(_STARTS)):
        try:
            ray.init(
                "local",
                num_cpus=processors,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **_QUIET,
            )
            return
        except Exception as error:  # Ray has no kind of error for it
            ray.shutdown()
            if not tries_left or "timed out" not in str(error):
                raise ConfigError(
                    f"engine: Ray does not start on this machine ({_first_line(error)}); is there memory and room in "
                    f"{folder.parent}? RAY_ADDRESS names a cluster that runs already"
                ) from error


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def _our_version() -> str:
    try:
        return version("wdstream")
    except PackageNotFoundError:  # found by PYTHONPATH
        return "of a checkout"
