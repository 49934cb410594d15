"""A function of many tasks in processes, with results in their order: for index, verify and tools of whole sets.

Few tasks are handed out at a time, so that they may be made when they are asked for. Processes end with their parent,
also when it is killed, and do not run the script that the parent is, which may have no `if __name__ == "__main__":`.
What was at work when a process was lost is done again.
"""

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from typing import Any, TypeVar

import psutil

from wdstream.errors import ShardError, WdstreamError

Given = TypeVar("Given")
Found = TypeVar("Found")
_Submit = Callable[..., "Future[tuple[bool, Any]]"]
_MOST_LOSSES = 3
"""Of processes, one after the other without a result in between."""
_log = logging.getLogger("wdstream")
_starting = threading.Lock()
_has_begun = False
"""In a process: whether what comes first was done."""


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
        function: of a module; called again with tasks that were at work when a process was lost.
        tasks: made when they are asked for; they and the results travel between processes.
        workers: processes.
        command: name of the job, for messages.
        begin: called first in each process, but not in this one.

    Raises:
        ShardError: process after process was lost.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    later, losses = iter(tasks), 0
    waiting = deque(islice(later, 2 * workers))
    while waiting:
        try:
            with _pool(workers) as submit:
                answers = deque(submit(function, begin, task) for task in waiting)
                while waiting:
                    is_found, answer = answers.popleft().result()
                    waiting.popleft()
                    losses = 0
                    if not is_found:
                        raise answer
                    yield answer
                    for task in islice(later, 1):
                        waiting.append(task)  # first: it is still to be done if this pool takes no more
                        answers.append(submit(function, begin, task))
        except BrokenProcessPool as error:
            losses += 1
            if losses == _MOST_LOSSES:
                raise ShardError(
                    f"{losses} processes of {command} were killed one after the other without a result in between, by "
                    "the system for want of memory or by somebody; run it again, with fewer --workers if memory is "
                    "short"
                ) from error
            _log.warning("a process of %s was lost; what was at work is done again", command)


@contextmanager
def _pool(workers: int) -> Iterator[_Submit]:
    """How to submit a function, what comes first and a task to processes, which end with the block: at once if that
    ends early, since a large tar may take minutes more.

    A process whose parent forks while it has threads, such as torch's, can hang: these are spawned.
    """
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare)
    started = set[Any]()

    def submit(*call: object) -> Future[tuple[bool, Any]]:
        packed = pickle.dumps(call)  # a process that cannot unpack what the pool packs ends, as one that was killed
        resource_tracker.ensure_running()  # whose start would let interrupts through again
        with _starting, _without_script(), interrupts_wait():
            before = set(active_children())
            try:
                return pool.submit(_answer, packed)  # may start one process more
            finally:
                started.update(set(active_children()) - before)

    try:
        yield submit
        pool.shutdown()
    except BaseException:
        for process in started:
            process.kill()
        for process in started:  # after all are: a second Ctrl-C may end the wait
            process.join()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _without_script() -> Iterator[None]:
    """For the block, nothing says where the script is: a process that is spawned would run it up to its end, or to the
    call that starts processes, which Python refuses there."""
    names: dict[str, object] = vars(sys.modules["__main__"])
    hidden: dict[str, object] = {name: names[name] for name in ("__file__", "__spec__") if name in names}
    names |= dict.fromkeys(hidden)
    try:
        yield
    finally:
        names |= hidden


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """A Ctrl-C in the block is answered at its end, so that what is started there is known and can be ended.

    Python answers it anywhere: in the start of a thread, which may then not run, or between a fork and the program that
    is to run. A process that is started in the block sees none before `ignore_interrupts`.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_ours = threading.current_thread() is threading.main_thread() and callable(handler)
    came: list[int] = []
    if is_ours:  # another thread may be the one that is sent the signal, so to block it here is not enough
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_ours:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def ignore_interrupts() -> None:
    """In a process that was started by ours: an interrupt from the keyboard is for its parent to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # for programs that it starts


def _prepare() -> None:
    """In a process: interrupts are for its parent, and when that has ended, so has this."""
    ignore_interrupts()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _answer(packed: bytes) -> tuple[bool, Any]:
    """In a process: whether the function gave a result, and that, or what was raised."""
    global _has_begun
    try:
        function, begin, task = pickle.loads(packed)  # our own
        if begin is not None and not _has_begun:
            begin()
        _has_begun = True
        return True, function(task)
    except Exception as error:  # whatever it is, it is raised again in the parent
        return False, _to_travel(error)


def _to_travel(error: Exception) -> Exception:
    """An error, one that is not meant for a user with where it was raised; or one that says the same, where it cannot
    be pickled, which would look like a lost process."""
    if not isinstance(error, WdstreamError):
        error.add_note(f"in a process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # our own
    except Exception:  # raises whatever the error's class raises
        return RuntimeError(f"{error!r}\n{traceback.format_exc()}")
    return error


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
