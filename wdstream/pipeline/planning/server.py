"""The process that plans the steps of a run, for the processes of one machine.

Each reader connects once and gets every step, in order. A step goes out to all before the next is planned, and none
before all have taken the one AHEAD steps earlier; a reader that has enough ahead lets the others wait, which costs
nothing: ranks of a run are never more than a step apart.
"""

import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wdstream.errors import WdstreamError
from wdstream.pipeline.planning.frames import CONFIRMED, send_frame, send_step
from wdstream.plan.planner import Planner
from wdstream.plan.state import StreamState

CONNECT_S = 600.0
"""Until all readers are there."""

AHEAD = 4
"""Steps that are planned and not taken yet; a step of 4,096 packs has about 1 MB of memory, which all readers share."""

_LOOK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class PlanningTask:
    """What a planning process is started with.

    Attributes:
        plan: of the run.
        state: before the first step to be planned.
        world_size, micro_batch_size: decide the deal.
        descriptor: of a socket to the only reader, which this process was started with.
        address: where there are several: of the socket that they connect to, a path.
        num_readers: processes that connect.
    """

    plan: Planner
    state: StreamState
    world_size: int
    micro_batch_size: int
    descriptor: int | None = None
    address: str = ""
    num_readers: int = 1

    def run(self, output: TextIO) -> None:
        """Plan for all readers until the end of the plan, or until one is gone."""
        plan_for_readers(self)


def plan_for_readers(task: PlanningTask) -> None:
    """Plan for all readers until the end of the plan, or until none is left."""
    readers = _wait_for_readers(task) if task.descriptor is None else [socket.socket(fileno=task.descriptor)]
    if not readers:
        return
    try:
        _send_steps(task, readers)
    except WdstreamError as error:
        for reader in readers:
            with suppress(OSError):
                send_frame([reader], {"error": type(error).__name__, "message": str(error)})
    except OSError:  # a reader is gone, and with it the run
        pass
    finally:
        for reader in readers:
            reader.close()


def _wait_for_readers(task: PlanningTask) -> list[socket.socket]:
    """Their connections; none where the socket was removed before all were there: those without it plan alone."""
    address, readers, until = Path(task.address), list[socket.socket](), time.monotonic() + CONNECT_S
    with socket.socket(socket.AF_UNIX) as listener:
        partial = f"{address}~"
        listener.bind(partial)
        listener.listen(task.num_readers)
        Path(partial).rename(address)  # a reader that finds it can connect
        listener.settimeout(_LOOK_S)
        while len(readers) < task.num_readers:
            with suppress(TimeoutError):
                readers.append(listener.accept()[0])
            if not address.exists() or time.monotonic() > until:
                return []
    address.unlink()
    with suppress(OSError):
        address.parent.rmdir()  # nobody needs it any more, and a run that is killed removes nothing
    for reader in readers:
        reader.setblocking(True)
    return readers


def _send_steps(task: PlanningTask, readers: list[socket.socket]) -> None:
    ranks = {"world_size": task.world_size, "micro_batch_size": task.micro_batch_size}
    with closing(task.plan.steps(task.state, **ranks)) as steps:
        for number, step in enumerate(steps):
            if number >= AHEAD:
                _wait_for(readers)
            send_step(readers, step, steps.state().to_json())
    send_frame(readers, {"end": True})


def _wait_for(readers: list[socket.socket]) -> None:
    """Wait until every reader has taken one more step.

    Raises:
        ConnectionError: one is gone.
    """
    for reader in readers:
        if reader.recv(1) != CONFIRMED:
            raise ConnectionError("a reader is gone")
