"""From bare packs to the records that the rest of wdstream reads: PackPlan and StepPlan."""

from collections.abc import Sequence
from dataclasses import dataclass

from wdstream.plan.cost import CostModel
from wdstream.plan.packer import Item
from wdstream.plan.steps import Cost, DealPolicy, deal, straggler
from wdstream.records import PackPlan, StepPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealer:
    """Makes records of steps.

    Attributes:
        cost: predicts what a pack costs.
        policy: see steps.py.
        world_size: ranks.
        micro_batch_size: packs a forward pass.
    """

    cost: CostModel
    policy: DealPolicy
    world_size: int = 1
    micro_batch_size: int = 1

    def check(self, global_batch_size: int) -> None:
        """Raises PlanError when a step of so many packs cannot be divided so."""
        deal([(0, 0)] * global_batch_size, world_size=self.world_size, micro_batch_size=self.micro_batch_size)

    def step_plan(self, number: int, packs: Sequence[Sequence[Item]]) -> StepPlan:
        """The record of a step, dealt."""
        first = number * len(packs)
        plans = tuple(pack_plan(first + place, items, self.cost) for place, items in enumerate(packs))
        dealt = deal(
            costs_of(plans), world_size=self.world_size, micro_batch_size=self.micro_batch_size, policy=self.policy
        )
        return StepPlan(step=number, packs=plans, deal=dealt)

    def straggler(self, step: StepPlan) -> float:
        """Slowest rank / mean of a step, by predicted cost."""
        return straggler(costs_of(step.packs), step.deal, micro_batch_size=self.micro_batch_size, policy=self.policy)


def costs_of(packs: Sequence[PackPlan]) -> list[Cost]:
    """(language, vision) of each pack."""
    return [(pack.language_cost, pack.vision_cost) for pack in packs]


def pack_plan(number: int, items: Sequence[Item], cost: CostModel) -> PackPlan:
    """The record of a pack; `items` may be empty."""
    columns = tuple(zip(*items, strict=True)) or ((),) * len(Item._fields)
    samples, tokens, patches, supervised, vision_costs, scales = columns
    return PackPlan(
        number=number,
        samples=samples,
        tokens=tokens,
        patches=patches,
        supervised=supervised,
        scales=scales,
        language_cost=sum(cost.language_of(count) for count in tokens),
        vision_cost=sum(vision_costs),
    )
