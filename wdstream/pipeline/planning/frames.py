"""Planned steps as bytes on a socket between processes of one run: a JSON object and arrays; never a pickle.

bytes of the header, bytes of the arrays (two little-endian 64-bit numbers) ─► header, JSON ─► arrays, end to end
"""

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.step_columns import PackPlans, StepColumns
from wdstream.records import StepPlan, StepTotals
from wdstream.storage.tries import is_stopped

_LENGTHS = struct.Struct("<QQ")
_DTYPES = ("<i8", "<i4", "<i4", "<i4", "<i8", "u1")
"""Of the rows of StepColumns.values on the way, which keeps a step of 4,096 packs at 400 kB."""

Frame = tuple[dict[str, Any], bytes]


def send_frame(sender: socket.socket, header: Mapping[str, object], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Send a header and arrays; blocks while the other side takes nothing."""
    text, data = json.dumps(header, separators=(",", ":")).encode(), b"".join(array.tobytes() for array in arrays)
    sender.sendall(_LENGTHS.pack(len(text), len(data)) + text + data)


def receive_frame(receiver: socket.socket) -> Frame:
    """The next header and the bytes of its arrays.

    Raises:
        EOFError: the other side is gone.
        TimeoutError: it is silent, and nobody wants the frame any more; of a socket that has a timeout.
    """
    text_bytes, data_bytes = _LENGTHS.unpack(_receive(receiver, _LENGTHS.size))
    header: dict[str, Any] = json.loads(_receive(receiver, text_bytes))
    return header, _receive(receiver, data_bytes)


def _receive(receiver: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        try:
            more = receiver.recv_into(view[got:])
        except TimeoutError:
            if is_stopped():
                raise
            continue
        except ConnectionError as error:
            raise EOFError(str(error)) from error
        if not more:
            raise EOFError("the other side is gone")
        got += more
    return bytes(data)


def send_step(sender: socket.socket, step: StepPlan, state: Mapping[str, object]) -> None:
    """Send a step as a Planner makes it, and the state after it."""
    packs, totals = step.packs, step.totals
    assert isinstance(packs, PackPlans), "a step as the planner makes it"
    assert totals is not None, "counted"
    columns = packs.columns
    header = {
        "step": step.step,
        "first": columns.first,
        "packs": len(columns),
        "samples": columns.values.shape[1],
        "ranks": len(step.assignment),
        "places": sum(map(len, step.assignment)),
        "costs": [columns.language_costs, columns.vision_costs],
        "totals": asdict(totals),
        "state": state,
    }
    rows = [row.astype(dtype) for row, dtype in zip(columns.values, _DTYPES, strict=True)]
    send_frame(sender, header, [columns.bounds.astype("<i8"), np.array(step.assignment, dtype="<i8"), *rows])


def step_of_frame(frame: Frame) -> tuple[StepPlan, dict[str, object]]:
    """A step and the state after it, as `send_step` sent them."""
    header, data = frame
    num_packs, num_samples, place = header["packs"], header["samples"], 0
    arrays = []
    for dtype, count in (
        ("<i8", num_packs + 1),
        ("<i8", header["places"]),
        *((dtype, num_samples) for dtype in _DTYPES),
    ):
        arrays.append(np.frombuffer(data, dtype, count, place))
        place += count * np.dtype(dtype).itemsize
    bounds, assignment, *rows = arrays
    totals = header["totals"]
    by_dataset = {name: tuple(totals[name]) for name in ("pages_by_dataset", "tokens_by_dataset")}
    columns = StepColumns(
        first=header["first"],
        bounds=bounds.astype(np.int64),
        values=np.stack([row.astype(np.int64) for row in rows]),
        language_costs=header["costs"][0],
        vision_costs=header["costs"][1],
    )
    step = StepPlan(
        step=header["step"],
        packs=PackPlans(columns),
        assignment=tuple(map(tuple, assignment.reshape(header["ranks"], -1).tolist())),
        totals=StepTotals(**(totals | by_dataset)),
    )
    return step, header["state"]
