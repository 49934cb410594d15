"""Pack: both budgets kept, nothing lost or doubled, exact resume with a state of places."""

import json
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.errors import RowError
from wdstream.nodes.items import Items
from wdstream.nodes.mapper import Map
from wdstream.nodes.pack import Pack
from wdstream.testing import assert_resumes_exactly

Pair = tuple[int, int]


def pack_pairs(sizes: list[Pair], *, pool: int = 8) -> Pack[Pair]:
    return Pack(Items(sizes), sequence_length=100, max_patches=50, pool=pool, measure=lambda pair: pair)


def page_like(count: int, seed: int) -> list[Pair]:
    draw = random.Random(seed)
    return [(tokens := draw.randint(5, 60), min(50, tokens // 2 + draw.randint(0, 5))) for _ in range(count)]


def test_packs_fill_both_budgets() -> None:
    assert list(pack_pairs([(60, 10), (50, 10), (40, 10), (50, 45)])) == [[(60, 10), (40, 10)], [(50, 10)], [(50, 45)]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 50)), max_size=60), st.integers(1, 20))
def test_every_item_once_within_the_budgets(sizes: list[Pair], pool: int) -> None:
    packs = list(pack_pairs(sizes, pool=pool))
    assert sorted(pair for pack in packs for pair in pack) == sorted(sizes)
    assert all(sum(t for t, _ in pack) <= 100 and sum(p for _, p in pack) <= 50 for pack in packs)


@pytest.mark.parametrize(("count", "pool"), [(0, 4), (1, 4), (40, 1), (40, 8), (40, 64)])
def test_resumes_exactly(count: int, pool: int) -> None:
    sizes = [(tokens, patches + number) for number, (tokens, patches) in enumerate(page_like(count, 1))]
    sizes = [(tokens, min(patches, 50)) for tokens, patches in sizes]
    packs = assert_resumes_exactly(lambda: pack_pairs(sizes, pool=pool))
    assert sum(map(len, packs)) == count


def test_the_state_holds_places_only() -> None:
    node = pack_pairs(page_like(4000, 2), pool=128)
    for _ in range(800):
        next(node)
    state = node.state_dict()
    assert len(state["waiting"]) < 128
    assert state["source"] == {"place": state["place"]}
    assert state["taken"] < 2000
    assert len(json.dumps(state)) < 2000


def test_an_item_too_long_for_any_pack(caplog: pytest.LogCaptureFixture) -> None:
    source = Items([(50, 1), (101, 1), (50, 51), (50, 2)])
    with pytest.raises(
        RowError, match="Pack: an item: 101 tokens and 1 patches; a pack holds at most 100 and 50; raise"
    ):
        list(Pack(source, sequence_length=100, max_patches=50, measure=lambda pair: pair))
    node = Pack(source, sequence_length=100, max_patches=50, measure=lambda pair: pair, on_error="skip")
    with caplog.at_level(logging.WARNING, "wdstream"):
        assert list(node) == [[(50, 1), (50, 2)]]
    assert node.rejected == 2
    assert caplog.messages[0] == "Pack: left out: an item: 101 tokens and 1 patches; a pack holds at most 100 and 50"
    unlimited = Pack(source, sequence_length=101, measure=lambda pair: pair)
    assert sorted(map(len, unlimited)) == [1, 1, 2]


def test_rejects_resume_exactly_and_are_counted_once() -> None:
    def make() -> Pack[Pair]:
        sizes = [(101, 0) if number % 5 == 0 else pair for number, pair in enumerate(page_like(30, 3))]
        return Pack(Items(sizes), sequence_length=100, max_patches=50, pool=6, measure=lambda p: p, on_error="skip")

    assert_resumes_exactly(make)
    node = make()
    next(node)
    other = make()
    other.reset(node.state_dict())
    list(node)
    list(other)
    assert node.rejected == other.rejected == 6


def test_source_errors_are_final() -> None:
    def fail(pair: Pair) -> Pair:
        raise OSError("disk gone")

    node = Pack(Map(Items([(1, 1)]), fail), sequence_length=10, measure=lambda pair: pair)
    for _ in range(2):
        with pytest.raises(OSError, match="disk gone"):
            next(node)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(
        ValueError, match="Pack: sequence_length=0, max_patches=None, pool=128; each must be at least 1"
    ):
        Pack(Items([]), sequence_length=0)
