"""Micro-batches to the device: on a GPU by a CUDA stream of their own, each while the one before it is computed.

    loader's thread   pinned memory                                    (wdstream/batches/form.py)
    copy stream       copy, normalise 0 | copy, normalise 1 | ...      one micro-batch ahead
    compute stream                        forward, backward 0 | ...    waits for the event after copy 0

Only pinned memory is copied without waiting, and two owners keep memory from being used again too early. Of the
pinned buffers that is PyTorch's pinned allocator: it notes an event on the copying stream, and gives a buffer out again
only when that has passed. Of the tensors on the device it is `record_stream`: they are made on the copy stream and used
on the compute stream, so their memory returns only when both are done with it.

On any other device there is one stream, and micro-batches are moved when they are asked for, as without this file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from wdstream.errors import TrainError

Moved = TypeVar("Moved")
Ready = TypeVar("Ready")
Wait = Callable[[], None]


class CopyPlace(Protocol):
    """Where copies are made, while something else is computed."""

    depth: int
    """Items that are made ready ahead of the one that is used."""

    def copying(self) -> AbstractContextManager[object]:
        """What is done inside is started as a copy."""

    def wait_for(self, tensors: Iterable[Tensor]) -> Wait:
        """What the computation calls before it uses `tensors`, which were made while copying."""


class CopiesInPlace:
    """Copies are made where it is computed: on a CPU, or any device without CUDA."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth

    def copying(self) -> AbstractContextManager[object]:
        """Nothing is to be entered: it is computed here, too."""
        return nullcontext()

    def wait_for(self, tensors: Iterable[Tensor]) -> Wait:
        """There is nothing to wait for."""
        return lambda: None


class CudaCopies:
    """A CUDA stream for copies. The only code here that needs a GPU."""

    depth = 1

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def copying(self) -> AbstractContextManager[object]:
        """Copies and kernels that are started inside run in the copy stream."""
        return torch.cuda.stream(self._stream)

    def wait_for(self, tensors: Iterable[Tensor]) -> Wait:
        """The compute stream, not the host, waits for all that was started in the copy stream so far."""
        made, done = list(tensors), torch.cuda.Event()
        done.record(self._stream)

        def wait() -> None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(done)
            for tensor in made:
                if tensor.is_cuda:
                    tensor.record_stream(computing)

        return wait


@lru_cache
def copies_on(device: torch.device) -> CopyPlace:
    """Where copies to a device are made. One stream for all of them: memory that one frees serves no other."""
    return CudaCopies(device) if device.type == "cuda" else CopiesInPlace()


def feed(items: Iterable[Moved], move: Callable[[Moved], Ready], copies: CopyPlace) -> Iterator[Ready]:
    """Each of `items` on the device, in order; while one is used, the copies of the next `copies.depth` are under way.

    Args:
        items: micro-batches.
        move: copies one; what it returns holds tensors in dicts, lists or attributes.
        copies: where.

    Raises:
        TrainError: a copy failed; says of which micro-batch. Out of memory stays what it is.
    """
    pending: list[tuple[Ready, Wait]] = []
    for number, item in enumerate(items):
        pending.append(_moved(number, item, move, copies))
        if len(pending) > copies.depth:
            yield _handed_over(pending.pop(0))
    while pending:
        yield _handed_over(pending.pop(0))


def _moved(number: int, item: Moved, move: Callable[[Moved], Ready], copies: CopyPlace) -> tuple[Ready, Wait]:
    try:
        with copies.copying():
            ready = move(item)
        return ready, copies.wait_for(tensors_in(ready))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TrainError(f"micro-batch {number} could not be moved to the device: {error}") from error


def _handed_over(pending: tuple[Ready, Wait]) -> Ready:
    ready, wait = pending
    wait()
    return ready


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in mappings, sequences and the fields of dataclasses, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name))
