"""Steps: what a pack costs, which rank computes it, and the records and digests of a step.

Cost, in FLOPs, of a sample of L tokens whose images have p_1, p_2, ... vision patches each:

    language = per_token * L + per_token_squared * L**2
    vision   = sum over images of (per_patch * p + per_image_patch_squared * p**2)

Source of the coefficients (`training_flops`): a forward and backward pass costs 6 FLOPs per parameter and token
(Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and attention 12 * width FLOPs per layer for each (query, key)
pair that is computed (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). A document of L tokens under a causal
mask computes L**2 / 2 pairs, an image of p patches p**2 of them. Documents of a pack do not attend to each other, so
a pack costs the sum of its samples. Everything is a Python or int64 integer: every rank must find the same numbers,
whatever its machine.

Assignment: the packs of a step never change; only who computes what does, and every rank runs as many micro batches as
any other, since all meet in each. Where the packs do not divide evenly, some places hold none (NO_PACK): the row is
empty, and teaches nothing.

total  (DDP: ranks meet once per step) longest processing time first (Graham 1969): packs by falling cost, each to the
       rank with the least work so far that still takes one.
phase  (FSDP: ranks meet in every layer of every micro step) packs of similar cost share a micro step. They are sorted
       by one cost and cut into micro steps; of the sortings by vision, language and their sum the one is taken that
       makes the sum over micro steps of (slowest vision + slowest language) least.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heapreplace
from typing import TYPE_CHECKING

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.step_columns import (
    Costs,
    PackedSamples,
    PackPlans,
    RankPacks,
    StepColumns,
    columns_of_packs,
    datasets_of_samples,
    exact,
)
from wdstream.records import NO_PACK, Ints, StepPlan, StepTotals

if TYPE_CHECKING:
    from wdstream.plan.settings import DealPolicy  # pydantic, which families need not import for the cost of a token


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Coefficients of the cost of a sample, integers of at least 0, in FLOPs (or any one unit: only ratios matter).

    Attributes:
        per_token: of each token in the language model.
        per_token_squared: of each token of a sample, squared: causal attention inside the sample.
        per_patch: of each vision patch, before any merge.
        per_image_patch_squared: of each patch of an image, squared: attention inside the image.

    Raises:
        PlanError: a coefficient is negative or no integer.
    """

    per_token: int = 1
    per_token_squared: int = 0
    per_patch: int = 0
    per_image_patch_squared: int = 0

    def __post_init__(self) -> None:
        for name in ("per_token", "per_token_squared", "per_patch", "per_image_patch_squared"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise PlanError(f"CostModel.{name}: expected an integer of at least 0, found {value!r}")

    def language(self, tokens: int) -> int:
        """Cost of one sample of this many tokens in the language model."""
        return tokens * self.per_token + tokens * tokens * self.per_token_squared

    def vision(self, patches: Ints) -> Ints:
        """Cost of images of these many patches in the vision tower; same shape."""
        return patches * self.per_patch + patches * patches * self.per_image_patch_squared


def training_flops(
    *,
    language_parameters: int,
    language_layers: int,
    language_width: int,
    vision_parameters: int,
    vision_layers: int,
    vision_width: int,
) -> CostModel:
    """Coefficients from a model's shape, by the formula in this module's docstring.

    Args:
        language_parameters: parameters that every token passes (embeddings of the input left out; active ones for a
            mixture of experts).
        language_layers: attention layers over the whole document.
        language_width: heads times head size of those layers.
        vision_parameters: parameters that every patch passes.
        vision_layers: attention layers over the whole image; layers with windows cost per patch, leave them out.
        vision_width: heads times head size of those layers.
    """
    return CostModel(
        per_token=6 * language_parameters,
        per_token_squared=6 * language_layers * language_width,
        per_patch=6 * vision_parameters,
        per_image_patch_squared=12 * vision_layers * vision_width,
    )


Cost = tuple[int, int]


def packs_per_rank(global_batch_size: int, *, world_size: int, micro_batch_size: int = 1) -> int:
    """Places for packs that each rank has in a step, a whole number of micro batches; nothing else divides a step.

    Raises:
        PlanError: there are more ranks than packs, or a micro batch is more than a step.
    """
    if not hasattr(micro_batch_size, "__index__") or micro_batch_size < 1 or world_size < 1:
        raise PlanError(f"micro_batch_size {micro_batch_size!r} on {world_size} ranks: expected at least 1 of each")
    if world_size > global_batch_size:
        raise PlanError(
            f"global_batch_size {global_batch_size} on {world_size} ranks: {world_size - global_batch_size} of them "
            f"would never have a pack; make it {world_size} or more, or run on at most {global_batch_size} ranks"
        )
    if micro_batch_size > global_batch_size:
        raise PlanError(
            f"global_batch_size {global_batch_size} is less than micro_batch_size {micro_batch_size}: places would "
            f"never hold a pack; lower train.micro_batch_size to {global_batch_size} or less"
        )
    return -(-global_batch_size // (world_size * micro_batch_size)) * micro_batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePlaces:
    """Places of a step that hold no pack.

    Attributes:
        share: of all places of the ranks, 0 to 1; 0 where the packs divide evenly.
        even_world_sizes: the two world sizes, rising, without such places that are nearest; fewer where there are none.
    """

    share: float
    even_world_sizes: tuple[int, ...]

    @property
    def ranks(self) -> str:
        """The even world sizes, in words; empty without one."""
        return " or ".join(map(str, self.even_world_sizes))


def idle_places(global_batch_size: int, *, world_size: int, micro_batch_size: int = 1) -> IdlePlaces:
    """What a world leaves empty. Raises PlanError as `packs_per_rank` does."""
    each = packs_per_rank(global_batch_size, world_size=world_size, micro_batch_size=micro_batch_size)
    even = [size for size in range(1, global_batch_size + 1) if global_batch_size % (size * micro_batch_size) == 0]
    nearest = sorted(sorted(even, key=lambda size: abs(size - world_size))[:2])
    return IdlePlaces(share=1 - global_batch_size / (each * world_size), even_world_sizes=tuple(nearest))


def idle_note(global_batch_size: int, *, world_size: int, micro_batch_size: int = 1) -> str | None:
    """What to know of a world that does not divide a step; None where it does."""
    idle = idle_places(global_batch_size, world_size=world_size, micro_batch_size=micro_batch_size)
    if not idle.share:
        return None
    return (
        f"{idle.share:.1%} of the places of a step stay empty: data.global_batch_size {global_batch_size} on "
        f"{world_size} ranks, train.micro_batch_size {micro_batch_size}; "
        + (f"none on {idle.ranks} ranks" if idle.ranks else "some are at any number of ranks")
    )


def check_even(global_batch_size: int, *, world_size: int, micro_batch_size: int = 1) -> None:
    """Refuse a world that would leave places empty: a stream without a plan cannot.

    Raises:
        PlanError: the packs do not divide evenly; names the nearest numbers that would do.
    """
    idle = idle_places(global_batch_size, world_size=world_size, micro_batch_size=micro_batch_size)
    if not idle.share:
        return
    share = world_size * micro_batch_size
    below, above = global_batch_size // share * share, -(-global_batch_size // share) * share
    sizes = " or ".join(str(size) for size in (below, above) if size)
    advice = f"; or run on {idle.ranks} ranks" if idle.ranks else ""
    raise PlanError(
        f"global_batch_size {global_batch_size} cannot be divided by {world_size} ranks x micro_batch_size "
        f"{micro_batch_size} = {share}: make it {sizes}{advice}"
    )


def assign(
    costs: Sequence[Cost], *, world_size: int, micro_batch_size: int = 1, policy: "DealPolicy" = "total"
) -> RankPacks:
    """For each rank the indices in `costs` of the packs that it computes, in order, `micro_batch_size` at a time.

    All ranks have as many places; those that are left over are NO_PACK, the last ones of their micro batches.

    Args:
        costs: (language, vision) of each pack of the step, in one unit.
        world_size: ranks.
        micro_batch_size: packs per forward pass.
        policy: "total" or "phase", see above.

    Raises:
        PlanError: there are more ranks than packs.
    """
    return RankPacks(_assign(_arrays(costs), world_size, micro_batch_size, policy))


def imbalance(
    costs: Sequence[Cost],
    assignment: Sequence[Sequence[int]],
    *,
    micro_batch_size: int = 1,
    policy: "DealPolicy" = "total",
) -> float:
    """How much longer the step takes than if all ranks were equally fast: slowest / mean, at least 1.

    With "total" ranks meet once per step; with "phase" after the vision and after the language part of each micro step.
    """
    return _imbalance(_arrays(costs), np.array(assignment, dtype=np.int64), micro_batch_size, policy)


def _arrays(costs: Sequence[Cost]) -> tuple[Costs, Costs]:
    """Costs of the packs in the language model, and in the vision tower."""
    language, vision = (
        exact(np.array(part, dtype=object), 1 << 63)
        for part in ([cost[0] for cost in costs], [cost[1] for cost in costs])
    )
    return language, vision


def _assign(costs: tuple[Costs, Costs], world_size: int, micro_batch_size: int, policy: "DealPolicy") -> Ints:
    """int64 (ranks, places of each), see `assign`."""
    language, vision = costs
    per_rank = packs_per_rank(len(language), world_size=world_size, micro_batch_size=micro_batch_size)
    if policy == "total":
        return _assign_total(language + vision, world_size, per_rank)
    keys = (vision, language, language + vision)
    candidates = [_by_micro_steps(costs, _falling(key), world_size, micro_batch_size) for key in keys]
    return min(candidates, key=lambda candidate: _phase_time(costs, candidate, micro_batch_size))  # the first of equals


def _imbalance(costs: tuple[Costs, Costs], assignment: Ints, micro_batch_size: int, policy: "DealPolicy") -> float:
    totals = costs[0] + costs[1]
    mean = int(totals.sum()) / len(assignment)
    if not mean:
        return 1.0
    if policy == "total":
        return int(_dealt(totals, assignment).sum(axis=1).max()) / mean
    return _phase_time(costs, assignment, micro_batch_size) / mean


def _falling(costs: Costs) -> Ints:
    """int64 (packs,): packs by falling cost, the first of equals first."""
    return np.argsort(-costs, kind="stable")


def _dealt(costs: Costs, assignment: Ints) -> Costs:
    """(ranks, places of each): what is computed in each place; 0 in one that holds no pack."""
    return np.append(costs, 0)[assignment]  # NO_PACK finds the 0 at the end


def _assign_total(totals: Costs, world_size: int, per_rank: int) -> Ints:
    """int64 (ranks, places of each), by what each pack costs in total."""
    assignment = np.full((world_size, per_rank), NO_PACK)
    falling = _falling(totals)
    if per_rank == 1:
        assignment[: len(totals), 0] = falling
        return assignment
    free = [(0, rank) for rank in range(world_size)]  # a heap of (load, rank) of those that still take one
    taken = [0] * world_size
    for pack, cost in zip(falling.tolist(), totals[falling].tolist(), strict=True):
        load, rank = free[0]
        assignment[rank, taken[rank]] = pack
        taken[rank] += 1
        if taken[rank] < per_rank:
            heapreplace(free, (load + cost, rank))
        else:
            heappop(free)
    return assignment


def _by_micro_steps(costs: tuple[Costs, Costs], packs: Ints, world_size: int, micro_batch_size: int) -> Ints:
    """Consecutive packs share a micro step, inside it by total cost: int64 (ranks, places of each)."""
    together, totals = world_size * micro_batch_size, costs[0] + costs[1]
    groups = [packs[start : start + together] for start in range(0, len(packs), together)]
    micro_steps = [
        np.append(group, NO_PACK)[_assign_total(totals[group], world_size, micro_batch_size)] for group in groups
    ]
    return np.concatenate(micro_steps, axis=1)


def _phase_time(costs: tuple[Costs, Costs], assignment: Ints, micro_batch_size: int) -> int:
    """Time of a step whose ranks wait for each other after each part of each micro step."""
    parts = (_dealt(part, assignment).reshape(len(assignment), -1, micro_batch_size).sum(axis=2) for part in costs)
    return sum(int(micro.max(axis=0).sum()) for micro in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigner:
    """Makes records of steps.

    Attributes:
        cost: predicts what a pack costs.
        policy: "total" or "phase", see above.
        world_size: ranks.
        micro_batch_size: packs per forward pass.
    """

    cost: CostModel
    policy: "DealPolicy"
    world_size: int = 1
    micro_batch_size: int = 1

    def step_plan(self, number: int, packs: PackedSamples, *, offsets: Ints | None = None) -> StepPlan:
        """The record of a step, its packs assigned to ranks.

        Args:
            number: of the step.
            packs: of the step.
            offsets: int64 (datasets + 1,), sample numbers at which the datasets begin; None: all are of one.
        """
        columns = self._columns(number, packs)
        assignment, slowest = self._deal(columns)
        pages, tokens = shares(columns, offsets)
        totals = StepTotals(
            num_supervised=int(columns.supervised.sum()),
            num_pages=len(columns.samples),
            num_tokens=int(columns.tokens.sum()),
            num_patches=int(columns.patches.sum()),
            digest=columns.digest(number),
            imbalance=slowest,
            pages_by_dataset=pages,
            tokens_by_dataset=tokens,
            language_cost=int(columns.language_costs.sum()),
            vision_cost=int(columns.vision_costs.sum()),
        )
        return StepPlan(step=number, packs=PackPlans(columns), assignment=RankPacks(assignment), totals=totals)

    def imbalance_of(self, packs: PackedSamples) -> float:
        """Slowest rank / mean of a step of these packs, by predicted cost."""
        return self._deal(self._columns(0, packs))[1]

    def idle_places(self, global_batch_size: int) -> IdlePlaces:
        """What this world leaves empty of a step of this many packs."""
        return idle_places(global_batch_size, world_size=self.world_size, micro_batch_size=self.micro_batch_size)

    def _columns(self, number: int, packs: PackedSamples) -> StepColumns:
        language = self.cost.per_token, self.cost.per_token_squared
        return columns_of_packs(number * len(packs), packs, language)

    def _deal(self, columns: StepColumns) -> tuple[Ints, float]:
        """The assignment of a step, int64 (ranks, places of each), and its imbalance."""
        costs = columns.language_costs, columns.vision_costs
        assignment = _assign(costs, self.world_size, self.micro_batch_size, self.policy)
        return assignment, _imbalance(costs, assignment, self.micro_batch_size, self.policy)

    def imbalance(self, step: StepPlan) -> float:
        """Slowest rank / mean of a step, by predicted cost."""
        costs = [(pack.language_cost, pack.vision_cost) for pack in step.packs]
        return imbalance(costs, step.assignment, micro_batch_size=self.micro_batch_size, policy=self.policy)


def shares(columns: StepColumns, offsets: Ints | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pages and tokens that each dataset gives to a step; `offsets` as in `Assigner.step_plan`."""
    if offsets is None or len(offsets) <= 2:
        return (len(columns.samples),), (int(columns.tokens.sum()),)
    count = len(offsets) - 1
    owners = datasets_of_samples(columns.samples, offsets)
    tokens = np.zeros(count, dtype=np.int64)
    np.add.at(tokens, owners, columns.tokens)
    return tuple(np.bincount(owners, minlength=count).tolist()), tuple(tokens.tolist())


def step_digest(step: StepPlan) -> int:
    """64 bits over a step's number and its packs: samples, lengths and scales, in order; not over the assignment."""
    packs = [
        np.array(
            [pack.number, len(pack.samples), *pack.samples, *pack.tokens, *pack.patches, *pack.scales], dtype="<i8"
        )
        for pack in step.packs
    ]
    digest = hashlib.blake2b(np.concatenate([[step.step], *packs]).astype("<i8").tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def pack_digest(number: int, keys: Sequence[str]) -> int:
    """64 bits of sha256 over a pack's number and its keys in order."""
    text = "\n".join((str(number), *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def pages_digest(packs: Iterable[tuple[int, Sequence[str]]]) -> str:
    """16 hex digits over (pack number, keys) of a step: a sum, so the assignment to ranks does not matter."""
    return f"{sum(pack_digest(number, keys) for number, keys in packs) % (1 << 64):016x}"
