"""Map and BatchMap: order, skipping, states, and every trap of the node contract (item, source, StopIteration)."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch
import torchdata.nodes as td

from wdstream.errors import DecodeError, ShardError
from wdstream.nodes.items import Items
from wdstream.nodes.mapper import BatchMap, Map
from wdstream.nodes.node import Node
from wdstream.nodes.pack import Pack
from wdstream.nodes.prefetch import Prefetch
from wdstream.testing import assert_resumes_exactly


def double(item: int) -> int:
    time.sleep(0.001 * (item % 3))  # later items finish before earlier ones
    return item * 2


def refuse_multiples_of_four(item: int) -> int:
    if item % 4 == 0:
        raise DecodeError(f"page {item}: not an image")
    return item


def break_at_five(item: int) -> int:
    if item == 5:
        raise ShardError("x.tar: truncated at byte 512")
    return item


def all_threads_ended() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("wdstream")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_step_keeps_the_order(workers: int) -> None:
    step = Map(Items(range(20)), double, workers=workers)
    assert list(step) == list(range(0, 40, 2))
    assert all_threads_ended()


@pytest.mark.parametrize(("workers", "resumed_workers"), [(0, 3), (3, 0), (1, 2), (2, 2)])
def test_step_resumes_with_other_workers(workers: int, resumed_workers: int) -> None:
    items = assert_resumes_exactly(
        lambda: Map(Items(range(12)), refuse_multiples_of_four, workers=workers, on_error="skip"),
        make_resumed=lambda: Map(Items(range(12)), refuse_multiples_of_four, workers=resumed_workers, on_error="skip"),
    )
    assert items == [1, 2, 3, 5, 6, 7, 9, 10, 11]


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_items_are_counted_logged_and_kept_in_the_state(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    step = Map(Items(range(9)), refuse_multiples_of_four, workers=workers, on_error="skip", name="Decode")
    with caplog.at_level(logging.WARNING, "wdstream"):
        assert list(step) == [1, 2, 3, 5, 6, 7]
    assert step.skipped == 3
    assert step.state_dict() == {"source": {"place": 9}, "skipped": 3}
    assert caplog.messages[0] == "Decode: skipped: page 0: not an image"


def test_too_many_skipped_items_are_an_error() -> None:
    step = Map(Items(range(9)), refuse_multiples_of_four, on_error="skip", max_skipped=1)
    assert [next(step), next(step), next(step)] == [1, 2, 3]
    with pytest.raises(RuntimeError, match=r"2 items skipped, more than max_skipped=1; the last one: page 4"):
        next(step)


def test_a_page_error_raises_unless_skipping_was_asked_for() -> None:
    with pytest.raises(DecodeError, match="page 0"):
        next(Map(Items(range(9)), refuse_multiples_of_four))


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_item_that_raises_is_final_and_closes_the_graph(workers: int, on_error: str) -> None:
    step = Map(Items(range(20)), break_at_five, workers=workers, on_error=on_error)  # type: ignore[arg-type]
    assert [next(step) for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(3):  # the same error again, never a hang or a short epoch
        with pytest.raises(ShardError, match="truncated at byte 512"):
            next(step)
    assert step.state_dict()["source"] == {"place": 5}
    assert all_threads_ended()
    step.reset({"source": {"place": 17}, "skipped": 0})
    assert list(step) == [17, 18, 19]


@pytest.mark.parametrize("wrap", [lambda s: Map(s, double, workers=2), lambda s: Prefetch(s, depth=3)])
def test_a_source_that_raises_is_final(wrap: Callable[[Node[int]], Node[int]]) -> None:
    node = wrap(Map(Items(range(20)), break_at_five))
    for _ in range(5):
        next(node)
    for _ in range(3):
        with pytest.raises(ShardError, match="truncated at byte 512"):
            next(node)
    assert all_threads_ended()


def test_a_source_error_is_not_skipped_by_the_step_above() -> None:
    node = Map(Map(Items(range(5)), refuse_multiples_of_four), double, on_error="skip")
    with pytest.raises(DecodeError, match="page 0"):
        next(node)


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_iteration_from_a_user_function_does_not_end_the_epoch(workers: int) -> None:
    def careless(item: int) -> int:
        return next(value for value in range(3) if value == item)

    step = Map(Items(range(20)), careless, workers=workers, name="Careless")
    assert [next(step) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="Careless: the function raised StopIteration"):
        next(step)


def test_none_is_refused() -> None:
    with pytest.raises(TypeError, match="Forgetful: got None"):
        next(BatchMap(Items(range(3)), lambda items: [None for _ in items], size=2, name="Forgetful"))
    with pytest.raises(TypeError, match="Map: got None"):
        next(Map(Items(range(3)), lambda item: None))


def test_threads_do_not_change_the_threads_of_torch() -> None:
    before = torch.get_num_threads()
    step = Map(Items(range(4)), lambda item: torch.get_num_threads(), workers=2)
    assert list(step) == [1, 1, 1, 1]
    assert torch.get_num_threads() == before


def test_threads_that_ask_torch_first_do_not_decide_for_all() -> None:
    """In a fresh process: whoever asks first for the number of threads fixes it, and here that must not be a worker."""
    code = """
import os, torch
from wdstream.nodes.mapper import Map
from wdstream.nodes.items import Items
assert len(list(Map(Items(range(8)), torch.arange, workers=2))) == 8
print(torch.get_num_threads() > 1 or len(os.sched_getaffinity(0)) == 1)
"""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_closed_nodes_say_so() -> None:
    step = Map(Items(range(4)), double, workers=1)
    assert next(step) == 0
    step.close()
    with pytest.raises(RuntimeError, match="Map: closed"):
        next(step)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="Map: workers=-1"):
        Map(Items([]), double, workers=-1)
    with pytest.raises(ValueError, match="on_error='ignore', expected 'raise' or 'skip'"):
        Map(Items([]), double, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="BatchMap: a group of 0 items"):
        BatchMap(Items([]), list, size=0)


def triple_odd(items: list[int]) -> list[int]:
    return [item for item in items for _ in range(3) if item % 2]


@pytest.mark.parametrize("drop_last", [False, True])
def test_group_resumes_inside_a_group(drop_last: bool) -> None:
    items = assert_resumes_exactly(lambda: BatchMap(Items(range(11)), triple_odd, size=4, drop_last=drop_last))
    assert items == [1, 1, 1, 3, 3, 3, 5, 5, 5, 7, 7, 7] + ([] if drop_last else [9, 9, 9])


def test_group_state_is_a_position() -> None:
    group = BatchMap(Items(range(100)), list, size=10)
    for _ in range(23):
        next(group)
    assert group.state_dict() == {"source": {"place": 20}, "group": 2, "emitted": 3}
    for _ in range(7):
        next(group)
    assert json.dumps(group.state_dict()) == '{"source": {"place": 30}, "group": 3, "emitted": 0}'


def test_group_errors_are_final() -> None:
    group = BatchMap(Map(Items(range(20)), break_at_five), list, size=3)
    assert [next(group) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(ShardError):
            next(group)


def test_nodes_mix_with_those_of_torchdata() -> None:
    def graph() -> td.BaseNode[list[int]]:
        ours = Map(Items(range(20)), double, workers=2)
        theirs = td.ParallelMapper(ours, lambda item: item + 1, num_workers=2)
        return Prefetch(td.Batcher(Map(theirs, double), batch_size=3), depth=2)

    assert assert_resumes_exactly(graph)[:2] == [[2, 6, 10], [14, 18, 22]]


@pytest.mark.parametrize("number", [None, "2", 1.5, -1])
def test_counts_that_are_none(number: int) -> None:
    source = Items([1])
    with pytest.raises(ValueError, match=r"Map: workers=.*, expected 0 \(inline\) or a number"):
        Map(source, str, workers=number)
    with pytest.raises(ValueError, match=r"BatchMap: a group of .*; expected 1 or more"):
        BatchMap(source, list, size=number)
    with pytest.raises(ValueError, match=r"Prefetch: depth=.*, expected 0 or more items"):
        Prefetch(source, depth=number)
    with pytest.raises(ValueError, match=r"Pack: .*pool=.*; each must be at least 1"):
        Pack(source, sequence_length=8, pool=number)
