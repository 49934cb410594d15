"""What a fork takes along and a child must not use: locks that another thread holds, connections, threads.

A forked child has the memory of its parent, but only the thread that forked. A lock that another thread held stays
held forever; a connection is the parent's, whose answers would be torn in two. So locks here are free in a child, and
whoever has connections opens its own ones there.
"""

import os
from ctypes import py_object, pythonapi
from threading import RLock
from types import TracebackType
from weakref import WeakSet

_KEPT: list[object] = []
"""During a fork, what the child must not end."""


class ForkSafeLock:
    """A lock that a thread may take several times, and that is free in a forked child, whoever held it."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = RLock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be free, whoever holds it."""
        self._lock = RLock()


_LOCKS: WeakSet[ForkSafeLock] = WeakSet()


_CONNECTED: WeakSet[object] = WeakSet()


def leave_to_parent(thing: object) -> None:
    """Keep what a fork took along as it is, and never end it: to close a connection here would disturb the parent's.

    What watches connections (epoll) is one for both processes, so even a destructor does harm, also at the end of the
    child: one more reference, which nobody gives back, lets none run.
    """
    pythonapi.Py_IncRef(py_object(thing))


def has_connections(thing: object) -> None:
    """Have forked children leave it to this process, whether they use it or not."""
    _CONNECTED.add(thing)


def _before() -> None:
    _KEPT.extend(_CONNECTED)


def _in_child() -> None:
    for thing in _KEPT:
        leave_to_parent(thing)
    _KEPT.clear()
    for lock in list(_LOCKS):
        lock.renew()


os.register_at_fork(before=_before, after_in_parent=_KEPT.clear, after_in_child=_in_child)
