"""Steps between processes: what arrives is what was sent, and no more of it is planned than is taken."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from tests.helpers.packed import packed
from tests.helpers.plan_data import pages, planner
from wdstream.pipeline.planning.frames import _LENGTHS, receive_frame, send_step, step_of_frame
from wdstream.pipeline.planning.server import AHEAD, PlanningTask, plan_for_readers
from wdstream.plan.deal import Assigner, CostModel
from wdstream.plan.packer import Item
from wdstream.records import StepPlan
from wdstream.storage.tries import Stop, end_by

STATE = {"step": 1, "pool": [3, 4]}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def a_step(per_token: int = 3) -> StepPlan:
    assigner = Assigner(cost=CostModel(per_token=per_token), policy="total", world_size=2)
    return assigner.step_plan(7, packed([[Item(8, 3, 2, 1, 9)], [], [Item(5, 4, 1, 2, 3), Item(6, 1, 0)], []]))


@pytest.mark.parametrize(("per_token", "assignment"), [(3, ((0, 1), (2, 3))), (1 << 61, ((2, 3), (0, 1)))])
def test_a_step_arrives_as_it_was(
    ends: tuple[socket.socket, socket.socket], per_token: int, assignment: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """Also one whose costs fit no 64 bits."""
    ours, theirs = ends
    sent = a_step(per_token)
    send_step([theirs], sent, STATE)
    step, state = step_of_frame(receive_frame(ours))
    assert (step, step.totals, state) == (sent, sent.totals, STATE)
    assert step.assignment == assignment
    assert step.packs[2].language_cost == 5 * per_token


def test_without_memory_that_has_no_name_a_file_does(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours, theirs = ends
    send_step([theirs], a_step(), STATE)
    assert step_of_frame(receive_frame(ours))[0] == a_step()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("num_sent", "message"),
    [(0, r"did not come along; .* \(ulimit -n\)"), (8, "cannot be mapped: mmap length is greater")],
)
def test_a_frame_whose_memory_is_lost_is_none(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, num_sent: int, message: str
) -> None:
    """The system drops a descriptor for which the receiver has no room; not a step of zeros."""
    ours, theirs = ends
    (tmp_path / "memory").write_bytes(bytes(num_sent))
    with (tmp_path / "memory").open() as memory:
        socket.send_fds(theirs, [_LENGTHS.pack(2, 16)], [memory.fileno()] if num_sent else [])
    theirs.sendall(b"{}")
    with pytest.raises(EOFError, match=message):
        receive_frame(ours)


class Unconfirmed(socket.socket):
    """A reader that takes frames and does not say so."""

    def sendall(self, data: object, flags: int = 0) -> None: ...


def test_no_more_is_planned_than_is_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    plan = planner(pages(60), epochs=None, global_batch_size=2)
    state = plan.initial_state()
    task = PlanningTask(plan=plan, state=state, world_size=1, micro_batch_size=1, descriptor=os.dup(theirs.fileno()))
    serving = Thread(target=plan_for_readers, args=(task,))
    serving.start()
    stop = Stop()
    with Unconfirmed(fileno=os.dup(ours.fileno())) as reader, closing(ours):
        numbers = [receive_frame(reader)[0]["step"] for _ in range(AHEAD)]
        reader.settimeout(0.3)
        end_by(stop)
        stop.set()
        with pytest.raises(TimeoutError):
            receive_frame(reader)
        ours.sendall(b"\1")
        reader.settimeout(None)
        numbers.append(receive_frame(reader)[0]["step"])
    theirs.close()
    serving.join()
    assert numbers == list(range(AHEAD + 1))
