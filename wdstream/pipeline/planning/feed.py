"""Where the steps of a run come from: planned in this process, or by another one, which all of a machine may share.

The first ones are planned here while the other process starts; and whatever hinders that, all of them. They are the
same.
"""

import logging
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import wdstream.errors
from wdstream.errors import PlanError, WdstreamError
from wdstream.pipeline.planning.frames import receive_frame, step_of_frame
from wdstream.pipeline.planning.helper import end_helper, start_helper
from wdstream.pipeline.planning.server import CONNECT_S, PlanningTask
from wdstream.plan.planner import Planner
from wdstream.plan.state import StreamState
from wdstream.records import StepPlan

if TYPE_CHECKING:
    from wdstream.nodes.node import JsonState

Planning = Literal["auto", "thread", "process"]
"""Where steps are planned: in the thread that reads ahead, in a process of its own, or by the size of a step."""

PROCESS_FROM = 512
"""Packs per step from which `auto` takes a process: planning them takes some 5 ms, in which a thread would hold the
interpreter that launches the model's work."""

_LOOK_S = 0.2
"""Seconds after which a wait for a silent planner looks whether it is still wanted."""
_log = logging.getLogger("wdstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPlanner:
    """One planning process for several ranks of a machine.

    Attributes:
        folder: for its socket: there when the first of them asks for steps, removed when all have met, or will not.
        local_rank: this process among those of its machine; 0 starts the planning process.
        local_size: processes of the run on this machine.
    """

    folder: Path
    local_rank: int
    local_size: int


def plans_apart(planning: Planning, global_batch_size: int) -> bool:
    """Whether steps of this many packs are planned by another process."""
    return planning == "process" or (planning == "auto" and global_batch_size >= PROCESS_FROM)


class StepFeed(Iterator[tuple[StepPlan, "JsonState"]]):
    """(step, state after it) from a state on.

    Args:
        plan: of the run.
        state: before the first step.
        world_size, micro_batch_size: decide the deal.
        planning: where steps are planned.
        shared: the ranks of this machine, where they share a planning process.
    """

    def __init__(
        self,
        plan: Planner,
        state: StreamState,
        *,
        world_size: int,
        micro_batch_size: int,
        planning: Planning = "auto",
        shared: SharedPlanner | None = None,
    ) -> None:
        self._plan = plan
        self._world_size, self._micro_batch_size = world_size, micro_batch_size
        self._steps = plan.steps(state, world_size=world_size, micro_batch_size=micro_batch_size)
        self._state = self._steps.state()
        self.state: JsonState = self._state.to_json()
        self._is_apart = plans_apart(planning, plan.settings.global_batch_size)
        self._shared = shared if shared is not None and shared.local_size > 1 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._reads = False  # what the process sends
        self._until: float | None = None  # when it is no longer waited for; None before it is started

    def __next__(self) -> tuple[StepPlan, "JsonState"]:
        if self._is_apart:
            self._is_apart = self._reads or self._begins_to_read()
        if self._reads:
            return self._receive()
        step = next(self._steps)
        self._state = self._steps.state()
        self.state = self._state.to_json()
        return step, self.state

    def close(self) -> None:
        """End what plans ahead."""
        self._steps.close()
        if self._socket is not None:
            self._socket.close()
        self._end_process()
        self._socket = None

    def _end_process(self) -> None:
        """End the planning process, and let no rank wait for it."""
        if self._process is not None:
            end_helper(self._process)
        if self._shared is not None and self._shared.local_rank == 0:
            shutil.rmtree(self._shared.folder, ignore_errors=True)
        self._process = None

    def _begins_to_read(self) -> bool:
        """Start the planning process, or find the one of this machine, and see whether it has a step; False where there
        will be none. Until it has, steps are planned here."""
        try:
            if self._until is None:
                self._until = time.monotonic() + CONNECT_S
                self._start()
            if self._socket is None and self._shared is not None:
                self._socket = self._met(self._shared, self._until)
        except Exception as error:  # pickle raises whatever the objects of a user's own family raise
            _log.warning("steps are planned in this process, since no other one can: %r", error)
            self._end_process()
            return False
        self._reads = self._socket is not None and _has_news(self._socket)
        return True

    def _receive(self) -> tuple[StepPlan, "JsonState"]:
        """The next step from the planning process, past those that were planned here while it started."""
        assert self._socket is not None
        while True:
            try:
                header, numbers = receive_frame(self._socket)
            except EOFError as error:
                _log.warning(
                    "no more steps come from the process that plans them (%s); this process plans on by itself", error
                )
                return self._alone()
            if "end" in header:
                raise StopIteration
            if "error" in header:
                kind = getattr(wdstream.errors, header["error"], PlanError)
                known = isinstance(kind, type) and issubclass(kind, WdstreamError)
                raise (kind if known else PlanError)(header["message"])
            if header["step"] >= self._steps.number:
                step, self.state = step_of_frame((header, numbers))
                return step, self.state

    def _alone(self) -> tuple[StepPlan, "JsonState"]:
        """Plan on in this process from the last step that came."""
        ranks = {"world_size": self._world_size, "micro_batch_size": self._micro_batch_size}
        self.close()  # the other process, where there still is one, does not wait for this one, nor let others wait
        self._steps = self._plan.steps(self.state, **ranks)
        self._is_apart = self._reads = False
        return next(self)

    def _start(self) -> None:
        """Start the planning process, where that is this one's part."""
        if self._shared is not None and not self._shared.folder.exists():
            self._shared = None  # the ranks have met before, or somebody tidied up
        if self._shared is None:
            self._socket = self._start_own()
            self._socket.settimeout(_LOOK_S)
        elif self._shared.local_rank == 0:
            task = self._task(address=str(_address(self._shared)), num_readers=self._shared.local_size)
            self._process = start_helper(task)

    def _start_own(self) -> socket.socket:
        """A connection to a planning process for this one alone; it needs no place in a file system."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                task = self._task(descriptor=theirs.fileno())
                self._process = start_helper(task, descriptors=(theirs.fileno(),))
            except BaseException:
                ours.close()
                raise
        return ours

    def _met(self, shared: SharedPlanner, until: float) -> socket.socket | None:
        """The connection to the planning process of several ranks, once it listens; None before.

        Raises:
            PlanError: it does not start, or somebody removed the folder where they meet.
        """
        if not _address(shared).exists():
            if self._process is not None and self._process.poll() is not None:
                raise PlanError(f"the process that plans steps ended at once, with status {self._process.returncode}")
            if not shared.folder.exists() or time.monotonic() > until:
                raise PlanError(f"no process plans steps at {_address(shared)}")
            return None
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(_address(shared)))
        except OSError:
            connection.close()
            raise
        connection.settimeout(_LOOK_S)
        return connection

    def _task(self, *, descriptor: int | None = None, address: str = "", num_readers: int = 1) -> PlanningTask:
        return PlanningTask(
            plan=self._plan,
            state=self._state,
            world_size=self._world_size,
            micro_batch_size=self._micro_batch_size,
            descriptor=descriptor,
            address=address,
            num_readers=num_readers,
        )


def _has_news(connection: socket.socket) -> bool:
    """Whether something can be read, or the other side is gone."""
    poll = select.poll()  # unlike select(), of any descriptor: a run that has many shards open gets past 1,023
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _address(shared: SharedPlanner) -> Path:
    """Of the socket on which the planning process of several ranks listens."""
    return shared.folder / "s"
