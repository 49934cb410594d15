"""Deal: which rank computes which packs of a step, so that none waits long for another.

The packs of a step never change; only who computes what does, and every rank gets as many as any other. A cost is a
pair (language, vision) in one unit (cost.py). Two policies:

total  (DDP: ranks meet once a step) longest processing time first (Graham 1969): packs by falling cost, each to the
       rank with the least work so far that still has a place free.
phase  (FSDP: ranks meet in every layer of every micro step) packs of similar cost share a micro step. They are sorted
       by one cost and cut into micro steps; of the sortings by vision, language and their sum the one is taken that
       makes the sum over micro steps of (slowest vision + slowest language) least.

From bare packs to the records that the rest of wdstream reads: PackPlan and StepPlan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heapreplace

from wdstream.errors import PlanError
from wdstream.plan.cost import CostModel
from wdstream.plan.packer import Item
from wdstream.plan.settings import DealPolicy
from wdstream.records import PackPlan, StepPlan

Cost = tuple[int, int]
Deal = tuple[tuple[int, ...], ...]


def deal(costs: Sequence[Cost], *, world_size: int, micro_batch_size: int = 1, policy: DealPolicy = "total") -> Deal:
    """For each rank the places in `costs` that it computes, in order, `micro_batch_size` of them at a time.

    Args:
        costs: (language, vision) of each pack of the step.
        world_size: ranks.
        micro_batch_size: packs a forward pass.
        policy: "total" or "phase", see above.

    Raises:
        PlanError: the packs do not divide evenly, or the policy is unknown.
    """
    if world_size < 1 or micro_batch_size < 1 or len(costs) % (world_size * micro_batch_size):
        raise PlanError(
            f"a step of {len(costs)} packs (global_batch_size) cannot be divided among {world_size} ranks in micro "
            f"batches of {micro_batch_size}: make global_batch_size a multiple of {world_size * micro_batch_size}"
        )
    if policy == "total":
        return _deal_total(costs, world_size)
    if policy == "phase":
        return _deal_phase(costs, world_size, micro_batch_size)
    raise PlanError(f"deal policy {policy!r}: expected 'total' or 'phase'")


def imbalance(costs: Sequence[Cost], dealt: Deal, *, micro_batch_size: int = 1, policy: DealPolicy = "total") -> float:
    """How much longer the step takes than if all ranks were equally fast: slowest / mean, at least 1.

    With "total" ranks meet once a step; with "phase" after the vision and after the language part of each micro step.
    """
    mean = sum(language + vision for language, vision in costs) / len(dealt)
    if not mean:
        return 1.0
    if policy == "total":
        return max(sum(sum(costs[place]) for place in places) for places in dealt) / mean
    return _phase_time(costs, dealt, micro_batch_size) / mean


def _deal_total(costs: Sequence[Cost], world_size: int) -> Deal:
    per_rank = len(costs) // world_size
    free = [(0, rank) for rank in range(world_size)]  # a heap of (load, rank) of those with a place left
    dealt: list[list[int]] = [[] for _ in range(world_size)]
    totals = [language + vision for language, vision in costs]
    for place in _falling(totals):
        load, rank = free[0]
        dealt[rank].append(place)
        if len(dealt[rank]) < per_rank:
            heapreplace(free, (load + totals[place], rank))
        else:
            heappop(free)
    return tuple(map(tuple, dealt))


def _deal_phase(costs: Sequence[Cost], world_size: int, micro_batch_size: int) -> Deal:
    totals = [language + vision for language, vision in costs]
    keys = ([vision for _, vision in costs], [language for language, _ in costs], totals)
    candidates = [_by_micro_steps(costs, _falling(key), world_size, micro_batch_size) for key in keys]
    return min(candidates, key=lambda dealt: _phase_time(costs, dealt, micro_batch_size))  # the first of equals


def _by_micro_steps(costs: Sequence[Cost], places: Sequence[int], world_size: int, micro_batch_size: int) -> Deal:
    """Consecutive places share a micro step; inside it they are dealt by total cost."""
    dealt: list[list[int]] = [[] for _ in range(world_size)]
    together = world_size * micro_batch_size
    for start in range(0, len(places), together):
        group = places[start : start + together]
        for rank, chosen in enumerate(_deal_total([costs[place] for place in group], world_size)):
            dealt[rank] += [group[index] for index in chosen]
    return tuple(map(tuple, dealt))


def _phase_time(costs: Sequence[Cost], dealt: Deal, micro_batch_size: int) -> int:
    """Time of a step whose ranks wait for each other after each part of each micro step."""
    time = 0
    for start in range(0, len(dealt[0]), micro_batch_size):
        micro = [[costs[place] for place in places[start : start + micro_batch_size]] for places in dealt]
        time += max(sum(language for language, _ in rank) for rank in micro)
        time += max(sum(vision for _, vision in rank) for rank in micro)
    return time


def _falling(values: Sequence[int]) -> list[int]:
    """Places by falling value, the first of equals first."""
    return sorted(range(len(values)), key=lambda place: -values[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigner:
    """Makes records of steps.

    Attributes:
        cost: predicts what a pack costs.
        policy: see deal.py.
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

    def imbalance(self, step: StepPlan) -> float:
        """Slowest rank / mean of a step, by predicted cost."""
        return imbalance(costs_of(step.packs), step.deal, micro_batch_size=self.micro_batch_size, policy=self.policy)


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
