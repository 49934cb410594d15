"""A function of many tasks in processes, with results in their order: for index, verify and tools of whole sets.

Few tasks are handed out at a time, so that they may be made when they are asked for. Processes end with their parent,
also when it is killed.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from typing import TypeVar

import psutil

from wdstream.errors import ShardError

Given = TypeVar("Given")
Found = TypeVar("Found")


def in_processes(
    function: Callable[[Given], Found],
    tasks: Iterable[Given],
    workers: int,
    *,
    command: str,
    begin: Callable[[], None] | None = None,
) -> Iterator[Found]:
    """The function's result for each task, in their order; with one worker, in this process.

    Args:
        function: of a module.
        tasks: made when they are asked for; they and the results travel between processes.
        workers: processes.
        command: name of the job, for messages.
        begin: called first in each process.

    Raises:
        ShardError: a process was lost.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    others = set(active_children())
    # spawn: a fork of a process with threads, such as torch's, can hang
    context = get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=partial(_prepare, begin))
    try:
        yield from _in_order(lambda task: pool.submit(function, task), iter(tasks), 2 * workers)
        pool.shutdown()
    except BrokenProcessPool as error:
        raise ShardError(
            f"a process of {command} was killed, by the system for want of memory or by somebody; run it again, with "
            "fewer --workers if memory is short"
        ) from error
    except BaseException:  # Ctrl-C: a large tar may take minutes more
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _in_order(submit: Callable[[Given], Future[Found]], tasks: Iterator[Given], ahead: int) -> Iterator[Found]:
    """Results in the order of the tasks, of which only some are handed out at a time."""
    waiting = deque(submit(task) for task in islice(tasks, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting += [submit(task) for task in islice(tasks, 1)]
        yield result


def _prepare(begin: Callable[[], None] | None) -> None:
    """One thread each; an interrupt from the keyboard is for the parent, and when that has ended, so has this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if begin is not None:
        begin()


def _end_with_parent() -> None:
    """A process of a pool whose parent was killed would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def kill_tree(pid: int) -> None:
    """SIGKILL for a process and all below it: the launcher puts its ranks in sessions of their own, so one by one."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # ended by itself in between
