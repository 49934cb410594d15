"""LookAhead: what comes next is prepared, bounded, and no item waits for it."""

import threading
import time

import pytest

from tests.helpers.waiting import wait_until
from wdstream.errors import ShardError
from wdstream.nodes.items import Items
from wdstream.nodes.look_ahead import LookAhead
from wdstream.testing import assert_resumes_exactly


def ignore(_: int) -> None:
    """Nothing to prepare."""


@pytest.mark.parametrize(("depth", "resumed_depth"), [(1, 5), (3, 1), (20, 2)])
def test_resumes_with_another_depth(depth: int, resumed_depth: int) -> None:
    items = assert_resumes_exactly(
        lambda: LookAhead(Items(range(8)), ignore, depth=depth),
        make_resumed=lambda: LookAhead(Items(range(8)), ignore, depth=resumed_depth),
    )
    assert items == list(range(8))


def test_the_next_items_are_prepared_and_no_more() -> None:
    prepared: set[int] = set()
    node = LookAhead(Items(range(100)), prepared.add, depth=4)
    assert next(node) == 0
    wait_until(lambda: {1, 2, 3, 4} <= prepared, "items ahead")
    time.sleep(0.02)  # in which no more are prepared
    assert prepared <= {0, 1, 2, 3, 4}
    node.close()


def test_items_wait_for_nothing_and_close_ends_what_has_not_begun() -> None:
    goes_on, begun = threading.Event(), []

    def prepare(item: int) -> None:
        begun.append(item)
        goes_on.wait()

    node = LookAhead(Items(range(100)), prepare, depth=10, workers=1)
    assert [next(node) for _ in range(5)] == [0, 1, 2, 3, 4]
    goes_on.set()
    node.close()
    count = len(begun)
    assert count < 15
    assert [thread.name for thread in threading.enumerate() if "LookAhead" in thread.name] == []
    assert len(begun) == count


def test_an_error_of_preparing_is_left_to_who_uses_the_item() -> None:
    def prepare(item: int) -> None:
        raise ShardError(f"{item} cannot be read")

    assert list(LookAhead(Items(range(5)), prepare, depth=2)) == [0, 1, 2, 3, 4]


def test_no_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth=0"):
        LookAhead(Items(range(5)), ignore, depth=0)
