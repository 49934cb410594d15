import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wdstream.plan.order import Order


def order_of(sizes: list[int], *, seed: int = 0, group: int = 2) -> Order:
    starts = np.cumsum([0, *sizes])
    return Order(starts[:-1], int(starts[-1]), seed=seed, shuffle_shards=group)


def whole(order: Order, epoch: int = 0) -> list[int]:
    return [row for block in range(order.num_blocks) for row in order.block(epoch, block).tolist()]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(0, 5), st.integers(1, 5))
def test_every_row_once_an_epoch(sizes: list[int], epoch: int, group: int) -> None:
    order = order_of(sizes, group=group)
    assert sorted(whole(order, epoch)) == list(range(sum(sizes)))
    lengths = [len(order.block(epoch, block)) for block in range(order.num_blocks)]
    assert [order.block_range(epoch, block) for block in range(order.num_blocks)] == [
        (sum(lengths[:block]), sum(lengths[: block + 1])) for block in range(order.num_blocks)
    ]


def test_a_block_holds_whole_shards() -> None:
    order = order_of([10] * 6, group=2)
    for block in range(3):
        assert len({row // 10 for row in order.block(3, block).tolist()}) == 2


def test_the_order_never_changes() -> None:
    # If this fails, every running job would continue with other data: raise PLAN_VERSION (parts.py).
    assert whole(order_of([3, 3, 3, 3])) == [8, 2, 1, 0, 6, 7, 10, 9, 11, 4, 3, 5]


def test_epochs_and_seeds_differ() -> None:
    order = order_of([50] * 4)
    assert whole(order, 0) != whole(order, 1)
    assert whole(order, 0) != whole(order_of([50] * 4, seed=1), 0)


def blocks_of(order: Order) -> list[list[int]]:
    return [order.block(0, block).tolist() for block in range(order.num_blocks)]


def test_the_seed_decides_the_order_of_shards_and_of_the_pages_in_a_block() -> None:
    shards = [[rows[0] // 10 for rows in blocks_of(order_of([10] * 6, seed=seed, group=1))] for seed in (0, 5)]
    assert shards == [[0, 2, 3, 4, 5, 1], [4, 3, 2, 1, 0, 5]]
    assert [whole(order_of([6], seed=seed), 2) for seed in (0, 5)] == [[4, 1, 3, 0, 5, 2], [4, 2, 3, 0, 5, 1]]
