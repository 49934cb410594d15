"""What is ready when: copies one micro-batch ahead, in order, each waited for before it is used, and faults named."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.errors import TrainError
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.step.device_feed import CopiesInPlace, Wait, copies_on, feed, tensors_in


@dataclass
class Ready:
    number: int
    values: dict[str, object]


class NotedCopies(CopiesInPlace):
    """A copies that writes down in which order they are made and used."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.events: list[str] = []
        self._is_copying = False

    @contextmanager
    def copying(self) -> Iterator[None]:
        self._is_copying = True
        yield
        self._is_copying = False

    def move(self, number: int) -> Ready:
        assert self._is_copying
        self.events.append(f"copy {number}")
        return Ready(number, {"a": torch.tensor([number]), "masks": {"b": [torch.tensor([2 * number])]}})

    def wait_for(self, tensors: Iterable[Tensor]) -> Wait:
        assert not self._is_copying
        first, *others = tensors
        assert len(others) == 1
        return lambda: self.events.append(f"wait {int(first)}")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_next_is_copied_before_this_one_is_used(depth: int) -> None:
    copies = NotedCopies(depth)
    for ready in feed(range(4), copies.move, copies):
        copies.events.append(f"use {ready.number}")
    for number in range(4):
        used = copies.events.index(f"use {number}")
        assert copies.events[used - 1] == f"wait {number}"
        assert copies.events[:used].count("use 0") == min(number, 1)
        assert sum(event.startswith("copy") for event in copies.events[:used]) == min(number + 1 + depth, 4)
    assert len(copies.events) == 12


def test_no_items() -> None:
    assert list(feed([], lambda item: item, CopiesInPlace(1))) == []


def test_a_copy_that_fails_names_the_micro_batch() -> None:
    def move(number: int) -> int:
        if number == 1:
            raise RuntimeError("CUDA error: misaligned address")
        return number

    with pytest.raises(TrainError, match="micro-batch 1 could not be moved to the device: CUDA error: misaligned"):
        list(feed(range(3), move, CopiesInPlace(1)))


def test_out_of_memory_stays_what_it_is() -> None:
    def move(number: int) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(feed(range(3), move, CopiesInPlace(1)))


def test_a_cpu_moves_nothing_ahead() -> None:
    copies = copies_on(torch.device("cpu"))
    assert isinstance(copies, CopiesInPlace)
    assert copies.depth == 0
    assert copies_on(torch.device("cpu")) is copies


def test_every_tensor_of_a_batch_is_kept_until_it_was_used(tiny_model: Path) -> None:
    family = load_family(tiny_model)
    batch: Batch = collate([encode_pack(make_samples(family)[:2], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    found = {id(tensor) for tensor in tensors_in(inputs)}
    assert found == {id(value) for value in inputs.values() if isinstance(value, Tensor)}
    assert len(found) >= 6
