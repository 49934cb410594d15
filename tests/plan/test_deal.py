import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdstream.errors import PlanError
from wdstream.plan.deal import assign, idle_note, imbalance
from wdstream.records import NO_PACK

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


@given(costs, st.integers(1, 24), st.integers(1, 9), st.sampled_from(["total", "phase"]))
def test_any_number_of_ranks(packs: list[tuple[int, int]], world_size: int, micro: int, policy: str) -> None:
    dealt = assign(packs, world_size=world_size, micro_batch_size=micro, policy=policy)  # type: ignore[arg-type]
    assert sorted(place for rank in dealt for place in rank if place != NO_PACK) == list(range(24))
    assert {len(rank) for rank in dealt} == {-(-24 // (world_size * micro)) * micro}
    assert imbalance(packs, dealt, micro_batch_size=micro, policy=policy) >= 1 - 1e-12  # type: ignore[arg-type]


def test_places_that_are_left_over() -> None:
    packs = [(1, 4), (1, 3), (1, 2), (1, 1)]
    assert assign(packs, world_size=3) == ((0, NO_PACK), (1, NO_PACK), (2, 3))
    assert assign(packs, world_size=3, policy="phase") == ((0, 3), (1, NO_PACK), (2, NO_PACK))
    assert imbalance(packs, ((0, NO_PACK), (1, NO_PACK), (2, 3))) == 5 * 3 / 14
    assert imbalance(packs, ((0, 3), (1, NO_PACK), (2, NO_PACK)), policy="phase") == (4 + 1 + 1 + 1) * 3 / 14
    assert assign(packs, world_size=1, micro_batch_size=3) == ((0, 1, 2, 3, NO_PACK, NO_PACK),)


def test_the_share_of_idle_places_is_said() -> None:
    assert idle_note(512, world_size=448) == (
        "42.9% of the places of a step stay empty: data.global_batch_size 512 on 448 ranks, train.micro_batch_size 1; "
        "none on 256 or 512 ranks"
    )
    assert idle_note(512, world_size=256) is None
    assert idle_note(5, world_size=1, micro_batch_size=2) == (
        "16.7% of the places of a step stay empty: data.global_batch_size 5 on 1 ranks, train.micro_batch_size 2; some "
        "are at any number of ranks"
    )


@pytest.mark.parametrize(
    ("world_size", "micro", "message"),
    [
        (0, 1, "expected at least 1 of each"),
        (1, 0, "expected at least 1 of each"),
        (
            48,
            1,
            "global_batch_size 24 on 48 ranks: 24 of them would never have a pack; make it 48",
        ),
    ],
)
def test_worlds_that_no_step_has_packs_for(world_size: int, micro: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        assign([(1, 1)] * 24, world_size=world_size, micro_batch_size=micro)
