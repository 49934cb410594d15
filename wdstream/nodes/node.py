"""Node: torchdata's node contract with types, and Stage, the form of it that every node here takes.

The contract (torchdata.nodes.BaseNode): `reset(state)` opens a node at a saved position, `reset()` at the start of a
new epoch; `next()` gives an item or raises StopIteration; `get_state()` is a small dict of a position. One thread at a
time calls a node. States here are JSON: numbers, text, and the state of the source under SOURCE_KEY.

Stage adds what the contract leaves open, and what goes wrong without it. The first error is final: it closes the graph
(threads end), and every later call raises the same error instead of waiting for an item that never comes. And a node
goes to other processes: pickled, or in a fork, it opens again at its place there, with files and threads of its own.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar

from torch.utils.data import get_worker_info

from wdstream.errors import PlanError
from wdstream.storage.forks import leave_to_parent

Out = TypeVar("Out", covariant=True)
State = dict[str, Any]
"""A position, as JSON."""
JsonState = Mapping[str, Any]
"""A state that was saved, by this process or another."""

SOURCE_KEY = "source"
_IS_OPEN = "_BaseNode__initialized"

if TYPE_CHECKING:

    class Node(Iterator[Out], Generic[Out]):
        """The typed face of torchdata.nodes.BaseNode."""

        def __next__(self) -> Out: ...
        def next(self) -> Out:
            """The next item, or StopIteration."""

        def reset(self, initial_state: State | None = None) -> None:
            """Open at a saved state, or at the start of a new epoch."""

        def state_dict(self) -> State:
            """The position, opening the node first when it is not open yet."""

        def get_state(self) -> State:
            """The position of an open node."""

else:
    from torchdata.nodes import BaseNode as Node


class Stage(Node[Out]):
    """Base of all nodes here. A subclass writes `advance()`, extends `reset()`, and `close()` when it holds threads.

    What a node is made of is set by its constructor; all else, its place and what is open, by `reset()` after that of
    this class: it does not go to other processes.

    Args:
        source: the node it reads; None for a node that is a source itself.
        name: what errors call it; the class name when empty.
    """

    def __init__(self, source: Node[object] | None = None, *, name: str = "") -> None:
        super().__init__()
        self.source = source
        self.name = name or type(self).__name__
        self._error: Exception | None = None
        self._opened_in, self._made_in = os.getpid(), dataloader_share()
        self._made_of: frozenset[str] = frozenset()
        self._pickled_at: State | None = None

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        self._error = self._pickled_at = None
        self._made_of = self._made_of or frozenset(vars(self))
        if self._opened_in != os.getpid():
            for name in vars(self).keys() - self._made_of:
                leave_to_parent(vars(self).pop(name))
            self._opened_in = os.getpid()

    def __next__(self) -> Out:
        self._open_unpickled()
        return super().__next__()

    def state_dict(self) -> State:
        """The position, opening the node first when it is not open yet."""
        self._open_unpickled()
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        made_of = {name: value for name, value in vars(self).items() if name in (self._made_of or vars(self))}
        place = self.get_state() if self._made_of else self._pickled_at
        return {**made_of, "_made_of": frozenset(), "_pickled_at": place, _IS_OPEN: False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _opened_in=os.getpid())

    def _open_unpickled(self) -> None:
        if self._pickled_at is not None:
            self.reset(self._pickled_at)

    def refuse_copies(self) -> None:
        """For a source that is asked for items: refuse to give all to each of several workers of a DataLoader.

        Raises:
            PlanError: it was made before these workers, so that each has a copy.
        """
        _, workers = share = dataloader_share()
        if workers > 1 and self._made_in != share:
            raise PlanError(
                f"{self.name}: was made before the {workers} workers of a DataLoader, and each of them would give all "
                "of its items. Use one worker, as nodes have threads of their own; or make the node in each worker, "
                "of its share; or take plan.loader or FromWebDataset, which share out by themselves"
            )

    def next(self) -> Out:
        """The next item; after an error, that error again.

        Raises:
            TypeError: a None came out; loaders take None for "nothing there" and would lose their place.
        """
        if self._error is not None:
            raise self._error
        if self._opened_in != os.getpid():
            self.reset(self.get_state())
        try:
            item = self.advance()
            if item is None:
                raise TypeError(f"{self.name}: got None for an item; return an item, or raise PageError to skip one")
        except StopIteration:
            raise
        except Exception as error:
            self._error = error
            self.close()
            raise
        return item

    def advance(self) -> Out:
        """Make the next item, or raise StopIteration."""
        raise TypeError(f"{type(self).__name__}: a Stage needs its own advance()")

    def close(self) -> None:
        """End this node's threads and its sources'; only `reset` opens it again."""
        if self._error is None:
            self._error = RuntimeError(f"{self.name}: closed; reset the node, or build a new graph")
        close(self.source)


def dataloader_share() -> tuple[int, int]:
    """Number of this worker of a torch DataLoader, and how many there are; 0 of 1 anywhere else."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)


def check_node(source: object, name: str) -> None:
    """Check that what a node is to read from is a node.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(source, Node):
        raise TypeError(
            f"{name}: expected a node to read from, found {source!r:.80}; a list is one as Items(...), any other "
            "iterable as torchdata.nodes.IterableWrapper(...)"
        )


def check_tars(urls: object, name: str) -> None:
    """Check that addresses of tars are several texts, not one.

    Only lists are looked through: a sequence that computes its addresses, as those of a lane are, may have no end.

    Raises:
        TypeError: they are not.
    """
    is_sequence = isinstance(urls, Sequence) and not isinstance(urls, str | bytes)
    if not is_sequence or (isinstance(urls, list | tuple) and not all(isinstance(url, str) for url in urls)):
        raise TypeError(
            f"{name}: urls: expected a list of paths or addresses of tars as text, found {urls!r:.80}; "
            "expand_urls(...) of wdstream.nodes.tar_urls gives those of a folder"
        )


def is_count(value: object, *, least: int) -> bool:
    """Whether an argument is a whole number of at least `least`; numpy's are, too."""
    return isinstance(value, SupportsIndex) and value.__index__() >= least


def close(node: object) -> None:
    """Close a node, or, where the node is of another library and cannot be closed, whatever it reads from."""
    closer = getattr(node, "close", None)
    if callable(closer):
        closer()
    elif (source := getattr(node, "source", None)) is not None:
        close(source)


def open_source(source: Node[object], state: State | None) -> None:
    """Reset a source to the part of its reader's saved state that belongs to it."""
    source.reset(None if state is None else state[SOURCE_KEY])


def leaked(name: str) -> RuntimeError:
    """The error for a function of a node that raised StopIteration.

    A node that let it through would end the epoch early and silently (PEP 479 fixed the same for generators).
    """
    return RuntimeError(
        f"{name}: the function raised StopIteration, which would end the epoch early; look for next() without a "
        "default in it"
    )
