"""What a fork takes along and a child must not use: locks that another thread holds, connections, threads.

A forked child has the memory of its parent, but only the thread that forked. A lock that another thread held stays
held for ever; a connection is the parent's, whose answers would be torn in two. So locks here are free in a child, and
whoever has connections opens its own ones there.
"""

import os
from threading import RLock
from types import TracebackType
from weakref import WeakSet

_PARENTS: list[object] = []


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


def leave_to_parent(thing: object) -> None:
    """Keep what a fork took along as it is, and never end it: to close a connection here would disturb the parent's.

    What watches connections (epoll) is one for both processes, so even a destructor does harm.
    """
    _PARENTS.append(thing)


def _renew_locks() -> None:
    for lock in list(_LOCKS):
        lock.renew()


os.register_at_fork(after_in_child=_renew_locks)
