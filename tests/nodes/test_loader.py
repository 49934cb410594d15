"""Loader: saving and loading in any order, continuing, next epochs, closing."""

import threading

import pytest

from wdstream.nodes.items import Items
from wdstream.nodes.loader import Loader
from wdstream.nodes.mapper import Map
from wdstream.nodes.prefetch import Prefetch
from wdstream.nodes.shuffle import Shuffle


def make_loader() -> Loader[int]:
    return Loader(Prefetch(Map(Items(range(6)), lambda item: item, workers=2), depth=2))


def test_state_before_load_does_not_matter() -> None:
    first = make_loader()
    assert [next(first) for _ in range(4)] == [0, 1, 2, 3]
    state = first.state_dict()
    first.close()
    second = make_loader()
    untouched = second.state_dict()
    second.load_state_dict(state)
    assert list(second) == [4, 5]
    second.load_state_dict(untouched)
    assert list(second) == [0, 1, 2, 3, 4, 5]


def test_load_in_the_middle_and_twice() -> None:
    loader = make_loader()
    next(loader)
    state = loader.state_dict()
    assert [next(loader) for _ in range(3)] == [1, 2, 3]
    loader.load_state_dict(state)
    assert next(loader) == 1
    loader.load_state_dict(state)
    loader.load_state_dict(loader.state_dict())
    assert list(loader) == [1, 2, 3, 4, 5]


def test_a_broken_off_loop_continues_and_the_end_begins_the_next_epoch() -> None:
    loader = Loader(Shuffle(Items(range(6)), buffer=6))
    first = []
    for item in loader:
        first.append(item)
        if len(first) == 2:
            break
    first += list(loader)
    second = list(loader)
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4, 5]
    assert first != second


def test_state_at_the_end_resumes_at_the_end() -> None:
    loader = make_loader()
    assert len(list(loader)) == 6
    other = make_loader()
    other.load_state_dict(loader.state_dict())
    assert list(other) == []
    assert list(other) == [0, 1, 2, 3, 4, 5]


def test_none_does_not_restart_the_epoch_on_resume() -> None:
    loader = Loader(Items([1, None, 3]))
    assert next(loader) == 1
    with pytest.raises(TypeError, match="Items: got None"):
        next(loader)


def test_closes_with_the_block() -> None:
    with make_loader() as loader:
        next(loader)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("wdstream")]
    with pytest.raises(RuntimeError, match="Prefetch: closed"):
        next(loader)
