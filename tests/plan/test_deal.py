import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.errors import PlanError
from wdstream.plan.deal import assign, imbalance

costs = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=24, max_size=24)


def test_longest_first_to_the_least_loaded() -> None:
    packs = [(5, 0), (1, 0), (9, 0), (4, 0), (3, 0), (2, 0)]
    # 9 -> rank 0, 5 -> 1, 4 -> 1, 3 -> 1 is full after it (3 places each), so 2 and 1 go to rank 0
    assert assign(packs, world_size=2) == ((2, 4, 1), (0, 3, 5))
    assert imbalance(packs, ((2, 4, 1), (0, 3, 5))) == 13 / 12


def test_equal_costs_go_round() -> None:
    assert assign([(1, 1)] * 4, world_size=2) == ((0, 2), (1, 3))
    assert assign([(0, 0)] * 2, world_size=1) == ((0, 1),)
    assert imbalance([(0, 0)] * 2, ((0,), (1,))) == 1.0


def test_phase_puts_alike_packs_into_one_micro_step() -> None:
    packs = [(1, 9), (1, 1), (1, 8), (1, 2)]
    assert assign(packs, world_size=2, policy="phase") == ((0, 3), (2, 1))
    assert assign(packs, world_size=2, policy="total") == ((0, 1), (2, 3))
    assert imbalance(packs, ((0, 3), (2, 1)), policy="phase") == (1 + 9 + 1 + 2) / 12
    assert imbalance(packs, ((0, 1), (3, 2)), policy="phase") == (1 + 9 + 1 + 8) / 12


@given(costs, st.sampled_from([(1, 1), (2, 3), (4, 1), (3, 4), (8, 3), (24, 1)]), st.sampled_from(["total", "phase"]))
def test_every_pack_once_and_equal_counts(packs: list[tuple[int, int]], shape: tuple[int, int], policy: str) -> None:
    world_size, micro = shape
    dealt = assign(packs, world_size=world_size, micro_batch_size=micro, policy=policy)  # type: ignore[arg-type]
    assert sorted(place for rank in dealt for place in rank) == list(range(24))
    assert {len(rank) for rank in dealt} == {24 // world_size}
    assert imbalance(packs, dealt, micro_batch_size=micro, policy=policy) >= 1 - 1e-12  # type: ignore[arg-type]


@pytest.mark.parametrize(("world_size", "micro"), [(5, 1), (4, 4), (0, 1), (1, 0), (48, 1)])
def test_a_step_that_cannot_be_divided(world_size: int, micro: int) -> None:
    with pytest.raises(PlanError, match=r"global_batch_size 24 cannot be divided by|expected at least 1 of each"):
        assign([(1, 1)] * 24, world_size=world_size, micro_batch_size=micro)
