"""The process that plans the steps of a run, for the processes of one machine.

Each reader connects once and gets every step, in order. A step goes out to all before the next is planned; a reader
that has enough ahead lets the others wait, which costs nothing: ranks of a run are never more than a step apart.
"""

import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import WdstreamError
from wdstream.pipeline.planning.frames import send_frame, send_step
from wdstream.plan.planner import Planner
from wdstream.plan.state import StreamState

CONNECT_S = 600.0
"""Until all readers are there."""


@dataclass(frozen=True, kw_only=True)
class PlanningTask:
    """What a planning process is started with.

    Attributes:
        plan: of the run.
        state: before the first step to be planned.
        world_size, micro_batch_size: decide the deal.
        address: of the socket, a path.
        num_readers: processes that connect.
    """

    plan: Planner
    state: StreamState
    world_size: int
    micro_batch_size: int
    address: str
    num_readers: int

    def run(self) -> None:
        """Plan for all readers until the end of the plan, or until one is gone."""
        plan_for_readers(self)


def plan_for_readers(task: PlanningTask) -> None:
    """Plan for all readers until the end of the plan, or until none is left."""
    with socket.socket(socket.AF_UNIX) as listener:
        partial = f"{task.address}~"
        listener.bind(partial)
        listener.listen(task.num_readers)
        Path(partial).rename(task.address)  # a reader that finds it can connect
        listener.settimeout(CONNECT_S)
        readers = [listener.accept()[0] for _ in range(task.num_readers)]
    Path(task.address).unlink()
    try:
        _send_steps(task, readers)
    except WdstreamError as error:
        for reader in readers:
            with suppress(OSError):
                send_frame(reader, {"error": type(error).__name__, "message": str(error)})
    except OSError:  # a reader is gone, and with it the run
        pass


def _send_steps(task: PlanningTask, readers: list[socket.socket]) -> None:
    ranks = {"world_size": task.world_size, "micro_batch_size": task.micro_batch_size}
    with closing(task.plan.steps(task.state, **ranks)) as steps:
        for step in steps:
            state = steps.state().to_json()
            for reader in readers:
                send_step(reader, step, state)
    for reader in readers:
        send_frame(reader, {"end": True})
