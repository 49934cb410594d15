"""A step as arrays says what its packs say one by one: digests, costs, totals, shares; a pack may be empty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.packed import packed
from tests.helpers.plan_data import pages, planner
from wdstream.plan.deal import Assigner, CostModel, step_digest
from wdstream.plan.packer import Item
from wdstream.plan.protocols import Dataset
from wdstream.plan.step_columns import PackPlans, columns_of_packs
from wdstream.records import StepPlan

ITEMS = st.builds(
    Item,
    sample=st.integers(0, 2**40),
    tokens=st.integers(1, 2**20),
    patches=st.integers(0, 2**20),
    supervised=st.integers(0, 2**20),
    vision_cost=st.integers(0, 2**50),
    scale=st.integers(1, 64),
)
PACKS = st.lists(st.lists(ITEMS, max_size=5), min_size=1, max_size=9)
COST = CostModel(per_token=18_540_000_000_000, per_token_squared=7_000_000, per_patch=5)


@given(PACKS, st.integers(0, 2**40))
def test_the_digest_is_that_of_the_packs(packs: list[list[Item]], step: int) -> None:
    columns = columns_of_packs(step * len(packs), packed(packs), (1, 1))
    plain = StepPlan(step=step, packs=tuple(PackPlans(columns)), assignment=((),))
    assert columns.digest(step) == step_digest(plain)


@given(PACKS)
def test_packs_are_those_of_the_packer(packs: list[list[Item]]) -> None:
    plans = PackPlans(columns_of_packs(12, packed(packs), (COST.per_token, COST.per_token_squared)))
    assert len(plans) == len(packs)
    for number, (plan, items) in enumerate(zip(plans, packs, strict=True)):
        assert plan.number == 12 + number
        assert list(plan.samples) == [item.sample for item in items]
        assert list(zip(plan.tokens, plan.patches, plan.supervised, plan.scales, strict=True)) == [
            (item.tokens, item.patches, item.supervised, item.scale) for item in items
        ]
        assert plan.language_cost == sum(COST.language(item.tokens) for item in items)
        assert plan.vision_cost == sum(item.vision_cost for item in items)
    assert plans == tuple(plans)
    assert plans[-1] == tuple(plans)[-1]
    assert plans[1:] == tuple(plans)[1:]
    assert (plans == tuple(plans)[1:]) is False
    with pytest.raises(IndexError):
        plans[len(packs)]


@pytest.mark.parametrize("deal", ["total", "phase"])
def test_totals_are_those_of_the_packs(deal: str) -> None:
    names = ("books", "slides", "forms")
    datasets = [Dataset(columns=pages(60, seed=seed), name=name) for seed, name in enumerate(names)]
    plan = planner(*datasets, deal=deal, epochs=1, tail="pad")
    for step in plan.steps(world_size=2):
        totals = step.totals
        assert totals is not None
        samples = np.array([sample for pack in step.packs for sample in pack.samples])
        tokens = np.array([count for pack in step.packs for count in pack.tokens])
        owners = np.array([plan.locate(sample)[0] for sample in samples])
        assert totals.num_pages == len(samples)
        assert totals.num_tokens == tokens.sum()
        assert totals.num_patches == sum(sum(pack.patches) for pack in step.packs)
        assert totals.num_supervised == step.num_supervised == sum(sum(pack.supervised) for pack in step.packs)
        assert totals.digest == step_digest(step)
        assert totals.imbalance == plan.imbalance(step)
        assert totals.pages_by_dataset == tuple(int((owners == number).sum()) for number in range(3))
        assert totals.tokens_by_dataset == tuple(int(tokens[owners == number].sum()) for number in range(3))


def test_costs_beyond_64_bits_are_compared_exactly() -> None:
    huge = CostModel(per_token=1 << 61, per_token_squared=1 << 61)
    items = [[Item(number, 3 + number, 1, 1, 7)] for number in range(4)]
    assigner = Assigner(cost=huge, policy="phase", world_size=2)
    step = assigner.step_plan(0, packed(items))
    costs = [huge.language(3 + number) + 7 for number in range(4)]
    assert [pack.language_cost + pack.vision_cost for pack in step.packs] == costs
    assert step.totals is not None
    assert step.totals.imbalance == (costs[3] + costs[1]) * 2 / sum(costs) == assigner.imbalance_of(packed(items))


def test_a_cost_beyond_64_bits_of_packs_without_tokens() -> None:
    columns = columns_of_packs(0, packed([[], [Item(3, 0, 5)]]), (1 << 63, 1))
    assert columns.language_costs.tolist() == [0, 0]
    assert columns_of_packs(0, packed([[Item(3, 2, 5)]]), (1 << 63, 1)).language_costs.tolist() == [(1 << 64) + 4]
