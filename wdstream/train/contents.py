"""What a step holds over all ranks: of a plan as it was counted where it was planned, of lanes by bringing the ranks
together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from wdstream.batches.batch import Batch
from wdstream.nodes.node import State
from wdstream.pipeline.planned import Plan
from wdstream.records import Failure, StepPlan
from wdstream.train.step.loss import find_targets


class Share(NamedTuple):
    """What a dataset gave."""

    pages: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContents:
    """A step over all ranks, the same on each.

    Attributes:
        step: its number.
        num_packs: in it, those without pages included.
        num_supervised, num_pages, num_tokens, num_patches: in all its packs.
        digest: 64 bits over what the ranks must agree on: the plan of the step, or the settings of the stream.
        imbalance: cost of the busiest rank over the mean; predicted from the plan, or by tokens where there is none.
        mix: what each of several datasets gave, by name; empty for a single one.
        keys: pack number to the keys of its pages, where no plan could name them later; else None.
        unfit: pages that were passed over on the way to it, because no pack takes them.
        num_without_image: of its pages; counted where no index says it beforehand.
        state: the plan's state after the step, once in a while: what `wdstream trace` starts from.
        language_cost, vision_cost: predicted, in FLOPs; 0 where no plan tells.
        is_skipped: it is passed over (`train.skip_steps`).
    """

    step: int
    num_packs: int
    num_supervised: int
    num_pages: int
    num_tokens: int
    num_patches: int
    digest: int
    imbalance: float
    mix: Mapping[str, Share] = field(default_factory=dict)
    keys: Mapping[int, Sequence[str]] | None = None
    unfit: tuple[Failure, ...] = ()
    num_without_image: int = 0
    state: State | None = None
    language_cost: int = 0
    vision_cost: int = 0
    is_skipped: bool = False


def planned_contents(plan: Plan, step: StepPlan) -> StepContents:
    """What the plan says of a step, as it was counted where the step was planned."""
    totals = step.totals
    assert totals is not None, "a plan counts its steps"
    shares = zip(totals.pages_by_dataset, totals.tokens_by_dataset, strict=True)
    names = [dataset.name for dataset in plan.datasets]
    return StepContents(
        step=step.step,
        num_packs=len(step.packs),
        num_supervised=totals.num_supervised,
        num_pages=totals.num_pages,
        num_tokens=totals.num_tokens,
        num_patches=totals.num_patches,
        digest=totals.digest,
        imbalance=totals.imbalance,
        language_cost=totals.language_cost,
        vision_cost=totals.vision_cost,
        mix={name: Share(*share) for name, share in zip(names, shares, strict=True)} if len(names) > 1 else {},
    )


def rank_contents(step: int, batches: Sequence[Batch], *, digest: int) -> StepContents:
    """One rank's share of a step."""
    keys = {number: keys for batch in batches for number, keys in zip(batch.packs, batch.page_keys, strict=True)}
    return StepContents(
        step=step,
        num_packs=len(keys),
        num_supervised=sum(find_targets(batch.labels).num_supervised for batch in batches),
        num_pages=sum(map(len, keys.values())),
        num_tokens=sum(length for batch in batches for lengths in batch.lengths for length in lengths),
        num_patches=sum(batch.num_patches for batch in batches),
        digest=digest,
        imbalance=1.0,
        keys=keys,
        unfit=tuple(page for batch in batches for page in batch.unfit),
        num_without_image=sum(batch.without_image for batch in batches),
    )


def join_contents(ranks: Sequence[StepContents]) -> StepContents:
    """The step over all ranks."""
    tokens = [rank.num_tokens for rank in ranks]
    return replace(
        ranks[0],
        num_packs=sum(rank.num_packs for rank in ranks),
        num_supervised=sum(rank.num_supervised for rank in ranks),
        num_pages=sum(rank.num_pages for rank in ranks),
        num_tokens=sum(tokens),
        num_patches=sum(rank.num_patches for rank in ranks),
        imbalance=max(tokens) * len(tokens) / max(sum(tokens), 1),
        keys=dict(sorted(item for rank in ranks for item in (rank.keys or {}).items())),
        unfit=tuple(page for rank in ranks for page in rank.unfit),
        num_without_image=sum(rank.num_without_image for rank in ranks),
    )
