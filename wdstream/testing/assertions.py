"""Proofs as assertions: packed documents do not see each other, and a node continues exactly where it was stopped."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.nodes.node import Node, State, close
from wdstream.proofs.isolation import Alter, Isolation, require_isolation
from wdstream.records import Sample

_Item = TypeVar("_Item")


def assert_resumes_exactly(
    make: Callable[[], Node[_Item]], *, make_resumed: Callable[[], Node[_Item]] | None = None, max_items: int = 1000
) -> list[_Item]:
    """Stop a node after each of its items in turn, resume a fresh one from the saved state, and compare what follows.

    The state must survive JSON, must not change while the node continues, and a node that was resumed and stopped again
    must be as good as one that was stopped for the first time.

    Args:
        make: builds the node; two nodes it builds give the same items.
        make_resumed: builds the node that resumes, such as one with another number of workers; `make` when left out.
        max_items: items compared, for a node without an end.

    Returns:
        The items of the uninterrupted node.

    Raises:
        AssertionError: says after which item the streams differ, and how.
    """
    make_resumed = make_resumed or make
    expected, states = _run(make(), None, max_items)
    seconds = []
    for stop, state in enumerate(states):
        rest, later = _run(make_resumed(), state, max_items - stop)
        _compare(expected[stop:], rest, f"resumed after {stop} items")
        seconds.append(later[1:2])
    for stop, later in enumerate(seconds):
        for state in later:
            rest, _ = _run(make(), state, max_items - stop - 1)
            _compare(expected[stop + 1 :], rest, f"resumed after {stop} items, and again one item later")
    return expected


def _run(node: Node[_Item], state: State | None, max_items: int) -> tuple[list[_Item], list[State]]:
    """All items from a state on, and the state before the first and after each of them."""
    node.reset(state)
    items: list[_Item] = []
    states = [node.state_dict()]
    texts = [json.dumps(states[0])]
    for item in islice(node, max_items):
        items.append(item)
        states.append(node.state_dict())
        texts.append(json.dumps(states[-1]))
    close(node)
    for number, (kept, text) in enumerate(zip(states, texts, strict=True)):
        assert json.dumps(kept) == text, (
            f"the state after item {number} changed while the node continued: {text} -> {kept}"
        )
    return items, [json.loads(text) for text in texts]


def _compare(expected: list[_Item], found: list[_Item], when: str) -> None:
    for number, (left, right) in enumerate(zip(expected, found, strict=False)):
        assert is_same(left, right), f"{when}: item {number} differs: expected {left!r}, found {right!r}"
    assert len(expected) == len(found), f"{when}: expected {len(expected)} more items, found {len(found)}"


def is_same(left: object, right: object) -> bool:
    """Equal in type and content, arrays and tensors bit for bit, through records, mappings and sequences."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if is_dataclass(left) and not isinstance(left, type):
        return all(is_same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    if isinstance(left, Sequence) and isinstance(right, Sequence) and not isinstance(left, str | bytes):
        return len(left) == len(right) and all(map(is_same, left, right))
    return bool(left == right)


def assert_no_leak(
    model: torch.nn.Module,
    family: Family,
    samples: Sequence[Sample],
    *,
    tolerance: float = 1e-5,
    max_leak: float = 0.0,
    alter: Alter | None = None,
) -> Isolation:
    """Assert that a pack of `samples` computes what each document computes alone, and that none sees another.

    Args:
        model: in eval mode.
        family: of the model.
        samples: at least two documents.
        tolerance: largest distance of a document's logits to those of the document alone.
        max_leak: largest change of a document's logits by changing another document; 0 is bitwise.
        alter: applied to the model's keyword arguments in the packed passes, to try a recipe of your own.

    Returns:
        The measured figures.

    Raises:
        AssertionError: names the two documents and the figure.
    """
    try:
        return require_isolation(model, family, samples, max_leak=max_leak, tolerance=tolerance, alter=alter)
    except FamilyError as error:
        raise AssertionError(str(error)) from error
