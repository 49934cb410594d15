from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.plan.packer import Budget, Item, PoolPacker

TOKENS, PATCHES = 4096, 1000


def sizes(max_tokens: int = TOKENS, max_patches: int = PATCHES) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(1, max_tokens), st.integers(0, max_patches)), min_size=1, max_size=120)


def items_of(pairs: list[tuple[int, int]]) -> list[Item]:
    return [Item(number, tokens, patches) for number, (tokens, patches) in enumerate(pairs)]


def pack_all(items: list[Item], pool: int, *, max_tokens: int = TOKENS, max_patches: int = PATCHES) -> list[list[Item]]:
    packer = PoolPacker(Budget(tokens=max_tokens, patches=max_patches))
    packs, at = [], 0
    while at < len(items) or len(packer):
        missing = pool - len(packer)
        packer.add(items[at : at + missing])
        at += missing
        packs.append(packer.pack())
    return packs


def test_by_hand() -> None:
    packer = PoolPacker(Budget(tokens=100, patches=100))
    packer.add(Item(number, tokens, 1) for number, tokens in enumerate([50, 30, 25, 20, 10, 49]))
    # 50 starts; 50 are left: 30 + 20 fill them exactly, 49 + nothing does not
    assert [item.sample for item in packer.pack()] == [0, 1, 3]
    assert [item.sample for item in packer.items] == [2, 4, 5]
    assert [item.sample for item in packer.pack()] == [2, 4, 5]
    assert len(packer) == 0


def test_the_second_budget_binds() -> None:
    packer = PoolPacker(Budget(tokens=100, patches=10))
    packer.add([Item(0, 60, 6), Item(1, 40, 5), Item(2, 30, 4), Item(3, 5, 0)])
    assert [item.sample for item in packer.pack()] == [0, 2, 3]


def test_samples_without_patches_follow_when_patches_are_scarce() -> None:
    packer = PoolPacker(Budget(tokens=1000, patches=10))
    packer.add([Item(0, 10, 10), Item(1, 10, 10), Item(2, 900, 0), Item(3, 80, 0), Item(4, 20, 0)])
    assert [item.sample for item in packer.pack()] == [0, 2, 3]
    assert [item.sample for item in packer.pack()] == [1, 4]


@given(sizes(), st.integers(1, 40))
@settings(deadline=None)
def test_every_sample_once_within_both_budgets(pairs: list[tuple[int, int]], pool: int) -> None:
    packs = pack_all(items_of(pairs), pool)
    assert sorted(item.sample for pack in packs for item in pack) == list(range(len(pairs)))
    for pack in packs:
        assert sum(item.tokens for item in pack) <= TOKENS
        assert sum(item.patches for item in pack) <= PATCHES


@given(sizes(), st.integers(1, 40))
@settings(deadline=None)
def test_the_oldest_starts_each_pack_so_nothing_waits_longer_than_the_pool(
    pairs: list[tuple[int, int]], pool: int
) -> None:
    packs = pack_all(items_of(pairs), pool)
    placed: set[int] = set()
    for pack in packs:
        assert pack[0].sample == min(set(range(len(pairs))) - placed)
        placed |= {item.sample for item in pack}
    pack_of = {item.sample: number for number, pack in enumerate(packs) for item in pack}
    arrived, missing = 0, pool
    for number, pack in enumerate(packs):
        entering = range(arrived, min(len(pairs), arrived + missing))
        assert all(pack_of[sample] - number < pool for sample in entering)
        arrived, missing = entering.stop, len(pack)


@given(sizes(1000, 400), st.integers(1, 40))
@settings(deadline=None)
def test_nothing_that_fits_is_left_in_the_pool(pairs: list[tuple[int, int]], pool: int) -> None:
    packer = PoolPacker(Budget(tokens=TOKENS, patches=PATCHES))
    packer.add(items_of(pairs[:pool]))
    while len(packer):
        pack = packer.pack()
        tokens = TOKENS - sum(item.tokens for item in pack)
        patches = PATCHES - sum(item.patches for item in pack)
        assert not [item for item in packer.items if item.tokens <= tokens and item.patches <= patches]


@given(sizes(), st.integers(0, TOKENS), st.integers(0, PATCHES))
@settings(deadline=None)
def test_the_best_single_or_pair_is_found(pairs: list[tuple[int, int]], tokens: int, patches: int) -> None:
    """Against all singles and pairs. Sizes are rounded up to 1/2048 of the capacity, so a pair seems larger than it is,
    by less than two of these: one that fits with that to spare is found, or a choice smaller by no more than that."""
    packer = PoolPacker(Budget(tokens=TOKENS, patches=10**6))  # patches never scarce
    packer.add(items_of(pairs))
    axis = packer._packer._axes[0]
    within = axis.bits & axis.up_to[tokens // axis.unit]
    found = [packer._items[place] for place in axis.best(axis.bits, within, tokens, patches)]
    rounding = TOKENS // 1024
    singles = [item.tokens for item in packer.items if item.tokens <= tokens and item.patches <= patches]
    pairs_within = [
        one.tokens + two.tokens for one, two in combinations(packer.items, 2) if one.patches + two.patches <= patches
    ]
    found_tokens = sum(item.tokens for item in found)
    assert len(found) <= 2
    assert sum(item.patches for item in found) <= patches
    assert found_tokens <= tokens
    assert found_tokens >= max(singles, default=0) - rounding
    assert found_tokens >= max((size for size in pairs_within if size <= tokens - rounding), default=0) - rounding


@given(sizes(1500, 500), st.integers(1, 30))
@settings(deadline=None, max_examples=50)
def test_a_pool_restored_in_its_order_gives_the_same_packs(pairs: list[tuple[int, int]], pool: int) -> None:
    """At every pack: what comes out depends on the pool's content alone, not on how it came to be."""
    items = items_of(pairs)
    packer = PoolPacker(Budget(tokens=TOKENS, patches=PATCHES))
    at = 0
    while at < len(items) or len(packer):
        missing = pool - len(packer)
        packer.add(items[at : at + missing])
        at += missing
        restored = PoolPacker(Budget(tokens=TOKENS, patches=PATCHES))
        restored.add(packer.items)
        assert packer.pack() == restored.pack()


def test_many_pages_of_one_size() -> None:
    """Fixed canvases give every page the same patches; the search must not try all pairs of them."""
    items = [Item(number, 2_100 + number % 7, 8_000) for number in range(3000)]
    packs = pack_all(items, 128, max_tokens=16_384, max_patches=40_000)
    assert {len(pack) for pack in packs} == {5}


@pytest.mark.parametrize(("tokens", "patches", "each"), [(4097, 10, 2), (10, 23_548, 2), (2731, 10, 3), (10, 9157, 7)])
def test_pages_of_one_size_that_fill_a_pack_exactly_do(tokens: int, patches: int, each: int) -> None:
    """Budgets that are not a multiple of 2048: sizes are between two levels of the search."""
    items = [Item(number, tokens, patches) for number in range(each * 30)]
    capacity = max(10, tokens) * each, max(10, patches) * each
    packs = pack_all(items, 128, max_tokens=capacity[0], max_patches=capacity[1])
    assert [len(pack) for pack in packs] == [each] * 30


def test_fill_of_page_like_lengths() -> None:
    # 7 to 10 tiles of 256 tokens with 60 to 1000 of text, an eighth of the pages a single tile
    items = []
    for number in range(6000):
        tiles = 1 if number % 8 == 0 else 7 + number * 7919 % 4
        items.append(Item(number, tiles * 256 + 60 + number * 104_729 % 941, tiles * 1024))
    packs = pack_all(items, 128, max_tokens=16_384, max_patches=60_000)
    full = packs[: -128 // 5]
    assert sum(item.tokens for pack in full for item in pack) / (16_384 * len(full)) > 0.995
