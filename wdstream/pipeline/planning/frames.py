"""Planned steps between processes of one machine: a JSON object on a socket, and arrays in memory that they share.

bytes of the header, bytes of the arrays (two little-endian 64-bit numbers), with a descriptor of the arrays' memory
    ─► header, JSON ─► arrays, end to end, which the receiver maps; never a pickle

The memory has no name in any file system, and is gone when the last process that maps it is. A reader confirms every
frame with one byte, so that the sender knows how far it is ahead.
"""

import json
import logging
import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from math import inf
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.step_columns import NUM_FIELDS, PackPlans, RankPacks, StepColumns
from wdstream.records import StepPlan, StepTotals
from wdstream.storage.tries import is_stopped

_LENGTHS = struct.Struct("<QQ")
CONFIRMED = b"\1"
SILENT_S = 60.0
"""Seconds of waiting for a frame after which a warning says so."""
_log = logging.getLogger("wdstream")
Received = TypeVar("Received")

Frame = tuple[dict[str, Any], NDArray[np.int64]]
"""A header, and what comes with it: int64 (n,), of which nothing is read before it is asked for."""


def send_frame(
    receivers: Sequence[socket.socket], header: Mapping[str, object], arrays: Sequence[NDArray[np.int64]] = ()
) -> None:
    """Send a header and arrays to all receivers; blocks while one of them takes nothing."""
    text, num_bytes = json.dumps(header, separators=(",", ":")).encode(), 8 * sum(array.size for array in arrays)
    memory = _shared_memory(arrays) if num_bytes else None
    frame = _LENGTHS.pack(len(text), num_bytes) + text
    try:
        for receiver in receivers:
            sent = socket.send_fds(receiver, [frame[: _LENGTHS.size]], [] if memory is None else [memory])
            receiver.sendall(frame[sent:])
    finally:
        if memory is not None:
            os.close(memory)


def _shared_memory(arrays: Sequence[NDArray[np.int64]]) -> int:
    """A descriptor of memory that holds these arrays, end to end."""
    try:
        memory = os.memfd_create("wdstream-step")
    except (AttributeError, OSError):  # not on this system, or not in this container
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    with os.fdopen(memory, "wb", closefd=False) as file:
        for array in arrays:
            file.write(np.ascontiguousarray(array, dtype="<i8").data)
    return memory


def receive_frame(sender: socket.socket) -> Frame:
    """The next header and its arrays.

    Raises:
        EOFError: the other side is gone, or this process cannot have the arrays: says why.
        TimeoutError: it is silent, and nobody wants the frame any more; of a socket that has a timeout.
    """
    lengths, memory = _receive_lengths(sender)
    try:
        text_bytes, data_bytes = _LENGTHS.unpack(lengths)
        header: dict[str, Any] = json.loads(_receive(sender, text_bytes))
        mapped = _map(memory, data_bytes) if data_bytes else b""
    finally:
        if memory >= 0:
            os.close(memory)
    with suppress(OSError):  # it may be through, and gone
        sender.sendall(CONFIRMED)
    return header, np.frombuffer(mapped, "<i8")


def _map(memory: int, num_bytes: int) -> mmap.mmap:
    """What is in this memory; writable for this process alone, so that arrays of it are as any others.

    Raises:
        EOFError: this process cannot have it.
    """
    if memory < 0:  # the system drops what it cannot hand over; mmap would take -1 for new memory, all zeros
        raise EOFError("its memory did not come along; has this process too many open files (ulimit -n)?")
    try:
        return mmap.mmap(memory, num_bytes, flags=mmap.MAP_PRIVATE)
    except (OSError, ValueError) as error:  # ValueError: fewer bytes than the header says
        raise EOFError(f"its memory cannot be mapped: {error}") from error


def _receive_lengths(sender: socket.socket) -> tuple[bytes, int]:
    """The first bytes of a frame, and the descriptor that came with them; -1 without one."""
    start, descriptors, _, _ = _when_there(lambda: socket.recv_fds(sender, _LENGTHS.size, 1))
    if not start:
        raise EOFError("the other side is gone")
    return start + _receive(sender, _LENGTHS.size - len(start)), descriptors[0] if descriptors else -1


def _receive(sender: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        more = _when_there(partial(sender.recv_into, view[got:]))
        if not more:
            raise EOFError("the other side is gone")
        got += more
    return bytes(data)


def _when_there(receive: Callable[[], Received]) -> Received:
    """What a call on a socket receives, however long it takes while the frame is wanted."""
    warn_at = time.monotonic() + SILENT_S
    while True:
        try:
            return receive()
        except TimeoutError:
            if is_stopped():
                raise
            if time.monotonic() > warn_at:
                warn_at = inf
                _log.warning(
                    "no step came for %.0f s from the process that plans them: another rank is late, or that process "
                    "halted; kill it (python -m wdstream.pipeline.planning.helper), and each rank plans on by itself",
                    SILENT_S,
                )
        except ConnectionError as error:
            raise EOFError(str(error)) from error


def send_step(receivers: Sequence[socket.socket], step: StepPlan, state: Mapping[str, object]) -> None:
    """Send a step as a Planner makes it, and the state after it."""
    packs, assignment, totals = step.packs, step.assignment, step.totals
    assert isinstance(packs, PackPlans), "a step as the planner makes it"
    assert isinstance(assignment, RankPacks), "dealt"
    assert totals is not None, "counted"
    columns = packs.columns
    costs = [columns.language_costs, columns.vision_costs]
    has_large_costs = any(cost.dtype == object for cost in costs)
    header = {
        "step": step.step,
        "first": columns.first,
        "packs": len(columns),
        "ranks": len(assignment),
        "places": assignment.places.size,
        "costs": [cost.tolist() for cost in costs] if has_large_costs else None,
        "totals": asdict(totals),
        "state": state,
    }
    arrays = [columns.bounds, assignment.places, *([] if has_large_costs else costs), columns.values]
    send_frame(receivers, header, arrays)


def step_of_frame(frame: Frame) -> tuple[StepPlan, dict[str, object]]:
    """A step and the state after it, as `send_step` sent them; what is not asked for is never read."""
    header, numbers = frame
    num_packs, costs = header["packs"], header["costs"]
    ends = np.cumsum([num_packs + 1, header["places"], *([] if costs else [num_packs, num_packs])])
    bounds, places, *given, values = np.split(numbers, ends)
    language, vision = (np.array(cost, dtype=object) for cost in costs) if costs else given
    totals = header["totals"]
    by_dataset = {name: tuple(totals[name]) for name in ("pages_by_dataset", "tokens_by_dataset")}
    columns = StepColumns(
        first=header["first"],
        bounds=bounds,
        values=values.reshape(NUM_FIELDS, -1),
        language_costs=language,
        vision_costs=vision,
    )
    step = StepPlan(
        step=header["step"],
        packs=PackPlans(columns),
        assignment=RankPacks(places.reshape(header["ranks"], -1)),
        totals=StepTotals(**(totals | by_dataset)),
    )
    return step, header["state"]
