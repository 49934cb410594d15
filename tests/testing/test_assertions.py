"""The harness itself: it must notice every kind of wrong resume."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from wdstream.nodes.items import Items
from wdstream.nodes.node import Stage, State
from wdstream.testing.assertions import assert_resumes_exactly, is_same


class Broken(Items[int]):
    """Items, with one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__(range(5))
        self.fault = fault
        self.live: State = {}

    def reset(self, initial_state: State | None = None) -> None:
        super().reset(initial_state)
        if initial_state and self.fault == "repeats" and self._place:
            self._place -= 1
        if initial_state and self.fault == "loses" and self._place == 3:
            self._place += 1

    def get_state(self) -> State:
        if self.fault == "live":
            self.live["place"] = self._place
            return self.live
        if self.fault == "not json":
            return {"place": np.int64(self._place)}
        return super().get_state()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("repeats", "resumed after 1 items: item 0 differs: expected 1, found 0"),
        ("loses", "resumed after 3 items: item 0 differs: expected 3, found 4"),
        ("live", "the state after item 0 changed while the node continued"),
    ],
)
def test_faults_are_found(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_resumes_exactly(lambda: Broken(fault))


def test_states_that_are_not_json_are_found() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        assert_resumes_exactly(lambda: Broken("not json"))


def test_endless_nodes_are_compared_up_to_a_limit() -> None:
    class Naturals(Items[int]):
        def __init__(self) -> None:
            super().__init__(range(10**9))

    assert assert_resumes_exactly(Naturals, max_items=4) == [0, 1, 2, 3]


@dataclass
class Record:
    values: np.ndarray


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        ("ab", "ab", True),
        ([1, (2, "x")], [1, (2, "x")], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        (np.zeros(3, np.int64), np.zeros(3, np.int64), True),
        (np.zeros(3, np.int64), np.zeros(3, np.int32), False),
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), torch.zeros(2), False),
        (Record(np.ones(2)), Record(np.ones(2)), True),
        (Record(np.ones(2)), Record(np.zeros(2)), False),
    ],
)
def test_is_same(left: object, right: object, same: bool) -> None:
    assert is_same(left, right) is same


def test_a_stage_needs_advance() -> None:
    with pytest.raises(TypeError, match="Stage needs its own advance"):
        next(Stage())
