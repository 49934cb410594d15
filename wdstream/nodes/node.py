"""Node: torchdata's node contract with types, and Stage, the form of it that every node here takes.

The contract (torchdata.nodes.BaseNode): `reset(state)` opens a node at a saved position, `reset()` at the start of a
new epoch; `next()` gives an item or raises StopIteration; `get_state()` is a small dict of a position. One thread at a
time calls a node. States here are JSON: numbers, text, and the state of the source under SOURCE_KEY.

Stage adds what the contract leaves open, and what goes wrong without it: the first error is final. It closes the graph
(threads end), and every later call raises the same error instead of waiting for an item that never comes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar

Out = TypeVar("Out", covariant=True)
State = dict[str, Any]
"""A position, as JSON."""
JsonState = Mapping[str, Any]
"""A state that was saved, by this process or another."""

SOURCE_KEY = "source"

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

    Args:
        source: the node it reads; None for a node that is a source itself.
        name: what errors call it; the class name when empty.
    """

    def __init__(self, source: Node[object] | None = None, *, name: str = "") -> None:
        super().__init__()
        self.source = source
        self.name = name or type(self).__name__
        self._error: Exception | None = None

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, or at the start of a new epoch."""
        super().reset(initial_state)
        self._error = None

    def next(self) -> Out:
        """The next item; after an error, that error again.

        Raises:
            TypeError: a None came out; loaders take None for "nothing there" and would lose their place.
        """
        if self._error is not None:
            raise self._error
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
