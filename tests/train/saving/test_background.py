"""Jobs run in order, an error waits until it is asked for, and nothing is left when it is closed."""

from threading import Event
from traceback import StackSummary

import pytest
from torch.distributed.checkpoint.api import CheckpointException

from tests.helpers.waiting import wait_until
from wdstream.train.saving.background import Background


def fail() -> None:
    raise OSError("disk full")


def test_without_a_thread_a_job_runs_at_once() -> None:
    done: list[int] = []
    background = Background(is_threaded=False)
    background.add(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(OSError, match="disk full"):
        background.add(fail)
    assert not background.has_failed


def test_with_a_thread_they_run_in_order_and_errors_are_kept() -> None:
    done: list[int] = []
    may_run = Event()
    background = Background(is_threaded=True)

    def wait_first() -> None:
        may_run.wait()
        done.append(1)

    background.add(wait_first)
    background.add(lambda: done.append(2))
    assert done == [] and not background.has_failed
    may_run.set()
    background.wait()
    assert done == [1, 2]
    background.add(fail)
    wait_until(lambda: background.has_failed, "the job fails")
    with pytest.raises(OSError, match="disk full"):
        background.wait()
    background.add(lambda: done.append(3))  # would build on what is not there
    background.close()
    assert done == [1, 2]


def test_an_error_that_is_no_exception_is_kept_too() -> None:
    """torch.distributed.checkpoint raises one; the thread would end, and whoever waits for the next job would hang."""

    def fail_otherwise() -> None:
        raise CheckpointException("shards", {1: (OSError("disk full"), StackSummary())})

    background = Background(is_threaded=True)
    background.add(fail_otherwise)
    background.add(fail)
    with pytest.raises(CheckpointException):
        background.wait()
    background.close()


def test_what_is_abandoned_is_not_waited_for() -> None:
    """A second Ctrl-C stops at once, whatever the disk does."""
    background, may_run = Background(is_threaded=True), Event()
    background.add(may_run.wait)
    background.abandon()
    background.close()
    assert not may_run.is_set()
    may_run.set()
