"""Shuffle: a permutation inside each run, fixed by the seed, exact on resume."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.nodes.items import Items
from wdstream.nodes.shuffle import Shuffle
from wdstream.testing import assert_resumes_exactly


def test_the_order_is_fixed_for_all_time() -> None:
    assert list(Shuffle(Items(range(10)), buffer=5, seed=3)) == [3, 1, 0, 4, 2, 9, 5, 8, 6, 7]


@settings(deadline=None, max_examples=30)
@given(count=st.integers(0, 40), buffer=st.integers(1, 50), seed=st.integers(0, 2**63))
def test_every_item_once_and_near_its_place(count: int, buffer: int, seed: int) -> None:
    node = Shuffle(Items(range(count)), buffer=buffer, seed=seed)
    items = list(node)
    assert sorted(items) == list(range(count))
    assert all(place // buffer == item // buffer for place, item in enumerate(items))
    assert list(Shuffle(Items(range(count)), buffer=buffer, seed=seed)) == items


def test_epochs_differ_and_seeds_differ() -> None:
    node = Shuffle(Items(range(30)), buffer=30)
    first = list(node)
    node.reset()
    second = list(node)
    assert sorted(first) == sorted(second)
    assert len({tuple(first), tuple(second), tuple(Shuffle(Items(range(30)), buffer=30, seed=1))}) == 3


def test_resumes_exactly_in_a_later_epoch_too() -> None:
    assert_resumes_exactly(lambda: Shuffle(Items(range(11)), buffer=4))
    node = Shuffle(Items(range(8)), buffer=8)
    list(node)
    node.reset()
    head = [next(node) for _ in range(3)]
    state = node.state_dict()
    other = Shuffle(Items(range(8)), buffer=8)
    other.reset(state)
    rest = list(other)
    assert rest == list(node)
    assert sorted(head + rest) == list(range(8))
