"""Prefetch: items ahead, exact states, clean ends."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.helpers.waiting import wait_until
from wdstream.errors import ShardError
from wdstream.nodes.items import Items
from wdstream.nodes.mapper import Map
from wdstream.nodes.node import Node
from wdstream.nodes.prefetch import Prefetch
from wdstream.testing import assert_resumes_exactly


@pytest.mark.parametrize(("depth", "resumed_depth"), [(0, 2), (1, 0), (3, 1)])
def test_resumes_with_another_depth(depth: int, resumed_depth: int) -> None:
    items = assert_resumes_exactly(
        lambda: Prefetch(Items(range(8)), depth=depth),
        make_resumed=lambda: Prefetch(Items(range(8)), depth=resumed_depth),
    )
    assert items == list(range(8))


def test_items_are_made_ahead_but_no_more_than_asked() -> None:
    made: list[int] = []

    def make(item: int) -> int:
        made.append(item)
        return item

    node = Prefetch(Map(Items(range(100)), make), depth=3)
    next(node)
    wait_until(lambda: len(made) >= 4, "items ahead")
    time.sleep(0.02)  # in which no more are made
    assert made == [0, 1, 2, 3]
    node.close()
    assert made == [0, 1, 2, 3]


def test_threads_end_with_the_epoch_with_close_and_with_the_node() -> None:
    def alive() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("wdstream")]

    assert list(Prefetch(Items(range(5)), depth=2)) == [0, 1, 2, 3, 4]
    assert alive() == []
    node = Prefetch(Map(Items(range(50)), lambda item: item, workers=2), depth=2)
    next(node)
    assert len(alive()) >= 2
    node.close()
    assert alive() == []
    node.reset()
    next(node)
    del node
    wait_until(lambda: alive() == [], "the end of the threads")


def test_error_is_final_and_state_stays_at_the_last_item() -> None:
    def make(item: int) -> int:
        if item == 2:
            raise ShardError("b.tar: gone")
        return item

    node = Prefetch(Map(Items(range(5)), make, workers=2), depth=4)
    assert [next(node), next(node)] == [0, 1]
    for _ in range(2):
        with pytest.raises(ShardError, match=r"b\.tar: gone"):
            next(node)
    assert node.state_dict() == {"source": {"source": {"place": 2}, "skipped": 0}}


@pytest.mark.parametrize("wrap", [lambda step: step, Prefetch], ids=["step", "prefetch"])
def test_ctrl_c_while_waiting_loses_no_item(
    wrap: Callable[[Node[int]], Node[int]],
) -> None:
    """As in a notebook, where the loop continues after an interrupt."""
    asked, release, main = threading.Event(), threading.Event(), threading.main_thread().ident
    assert main is not None

    def make(item: int) -> int:
        asked.set()
        release.wait()
        return item

    def interrupt() -> None:
        asked.wait()
        time.sleep(0.1)  # so that the main thread waits as a rule; before that, an interrupt loses no item either
        signal.pthread_kill(main, signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    node = wrap(Map(Items(range(5)), make, workers=1))
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            next(node)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, handler)
        release.set()
    assert list(node) == [0, 1, 2, 3, 4]


def test_wrong_depth_is_named() -> None:
    with pytest.raises(ValueError, match="Prefetch: depth=-1"):
        Prefetch(Items([]), depth=-1)


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from wdstream.nodes.mapper import Map
from wdstream.nodes.items import Items
from wdstream.nodes.loader import Loader
from wdstream.nodes.prefetch import Prefetch
step = Map(Items(range(1000)), lambda item: item and time.sleep(float(sys.argv[1])) or item, workers=1)
loader = Loader(Prefetch(step, depth=2))
print(next(loader), flush=True)
if sys.argv[2] == "wait":
    print(next(loader), flush=True)
"""


def test_a_program_that_ends_without_closing_ends_at_once() -> None:
    """The thousand items would take longer than a test may last."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, "1.0", "end"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_ctrl_c_stops_a_program_that_waits() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "1.0", "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "0\n"
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate()
    assert program.returncode == -signal.SIGINT, errors
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
