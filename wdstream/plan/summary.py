"""What `wdstream plan` says: a dry run of one epoch in figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture
from wdstream.plan.deal import Assigner, IdlePlaces
from wdstream.plan.metadata_columns import count_absent, own_expressions
from wdstream.plan.protocols import Dataset
from wdstream.plan.sample_lengths import FULL_SCALE, Reject
from wdstream.plan.settings import PlanSettings
from wdstream.plan.step_columns import PackedSamples, join_packs
from wdstream.plan.steps import Steps
from wdstream.records import Ints

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetShare:
    """One dataset's share of an epoch.

    Attributes:
        name: of the dataset.
        samples: in its index.
        pages: that were packed; a page of a dataset with several epochs counts each time, a split page once.
        tokens: of those pages.
        patches: of those pages.
        share_of_pages: of all packed pages, 0 to 1.
        share_of_tokens: of all packed tokens, 0 to 1.
    """

    name: str
    samples: int
    pages: int
    tokens: int
    patches: int
    share_of_pages: float
    share_of_tokens: float


def no_step(global_batch_size: int) -> str:
    """What to say of a plan whose packs do not fill one step."""
    return (
        f"the data fill not one step of {global_batch_size} packs (data.global_batch_size), and data.tail: drop leaves "
        "the last, unfilled one out: there is nothing to train; use a smaller batch, or data.tail: pad or wrap"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A dry run of one epoch (of a mixture by weight: of as many pages as the datasets have).

    Attributes:
        samples: in the indexes.
        held_out: of the samples, by their indexes; whether the plan takes them is for each dataset's `split`.
        without_image: of the samples.
        pages: packed; a page that is split counts once.
        rejects: how many were left out, by reason.
        downscaled: pages whose images are shrunk to fit.
        split_pages: pages that are too long and packed in parts.
        parts: of those pages, each a sample of its own.
        packs: of the epoch.
        steps: of the epoch, the last one begun counted in full.
        total_steps: of the run; None without an end.
        tokens, patches, supervised: of all packs.
        fill_tokens, fill_patches: share of the two capacities that is used, 0 to 1.
        pages_per_pack: mean; parts count as pages.
        world_size: ranks that the imbalance is for.
        imbalance_p50, imbalance_p99: slowest rank / mean over whole steps, by predicted cost.
        idle: places of a step that hold no pack.
        datasets: what each gives.
        absent: samples that lack metadata that `where` names, by name; comparisons with it are false.
    """

    samples: int
    held_out: int
    without_image: int
    pages: int
    rejects: Mapping[str, int]
    downscaled: int
    split_pages: int
    parts: int
    packs: int
    steps: int
    total_steps: int | None
    tokens: int
    patches: int
    supervised: int
    fill_tokens: float
    fill_patches: float
    pages_per_pack: float
    world_size: int
    imbalance_p50: float
    imbalance_p99: float
    idle: IdlePlaces
    datasets: tuple[DatasetShare, ...]
    absent: Mapping[str, int]

    def require_steps(self, global_batch_size: int) -> None:
        """Refuse a plan by which nothing would be trained.

        Raises:
            PlanError: gives the counts by reason, or says that no step is filled.
        """
        if not self.packs:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.rejects.items() if count)
            raise PlanError(
                f"no sample can be planned: of {self.samples} samples all are rejected ({reasons or 'there is none'}); "
                "`wdstream plan --rejects FILE` lists them"
            )
        if self.total_steps == 0:
            raise PlanError(no_step(global_batch_size))

    def padding(self, row_length: int) -> float:
        """Share of padding, 0 to 1, in rows of this many tokens, one for each pack."""
        return 1 - self.tokens / (max(self.packs, 1) * row_length)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"rejects": dict(self.rejects), "absent": dict(self.absent)}

    def print(self, console: "Console") -> None:
        """A table of the figures, and one of the datasets when there are several."""
        from rich.table import Table

        table = Table(show_header=False, box=None, title="plan of one epoch", title_justify="left")
        for name, value in self._rows():
            table.add_row(name, value)
        console.print(table)
        if len(self.datasets) < 2:
            return
        mix = Table("dataset", "samples", "pages", "tokens", "of pages", "of tokens", box=None)
        for part in self.datasets:
            counts = (f"{count:,}" for count in (part.samples, part.pages, part.tokens))
            mix.add_row(part.name, *counts, f"{part.share_of_pages:.1%}", f"{part.share_of_tokens:.1%}")
        console.print(mix)

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "samples", f"{self.samples:,}"
        if self.held_out:
            trained, held = (self.rejects.get(side.reason, 0) for side in (Reject.NOT_HELD_OUT, Reject.HELD_OUT))
            others = f"; {trained:,} others are not in this plan" if trained else ""
            left_out = f", {held:,} of them not in this plan" if held else ", in this plan"
            yield "held out", f"{self.held_out:,} of {self.samples:,} samples{left_out}{others}"
        yield "have no image", f"{self.without_image:,} of {self.samples:,} samples"
        downscaled = f", {self.downscaled:,} of them downscaled" if self.downscaled else ""
        split = f", {self.split_pages:,} of them split into {self.parts:,} parts" if self.parts else ""
        yield "pages packed", f"{self.pages:,}{downscaled}{split}"
        sides = {Reject.HELD_OUT.reason, Reject.NOT_HELD_OUT.reason}
        rejected = [f"{count:,} {reason}" for reason, count in self.rejects.items() if reason not in sides]
        yield "rejected", ", ".join(rejected) or "none"
        if self.absent:
            counts = ", ".join(f"{count:,} have no {name!r}" for name, count in self.absent.items())
            yield "asked by where", f"{counts}; comparisons with what a page lacks are false"
        yield "packs", f"{self.packs:,} of {self.pages_per_pack:.2f} pages"
        yield "steps", f"{self.steps:,}" + ("" if self.total_steps is None else f", {self.total_steps:,} in the run")
        yield "tokens", f"{self.tokens:,}, {self.supervised:,} of them supervised; fill {self.fill_tokens:.2%}"
        yield "patches", f"{self.patches:,}; fill {self.fill_patches:.2%}"
        yield (
            f"slowest of {self.world_size} ranks",
            f"{self.imbalance_p50:.4f} of the mean (median step), {self.imbalance_p99:.4f} (p99)",
        )
        if self.idle.share:
            advice = f"; none at {self.idle.ranks} ranks" if self.idle.ranks else "; some at any number of ranks"
            yield "idle places", f"{self.idle.share:.1%} of those of {self.world_size} ranks hold no pack{advice}"


def num_held_out(dataset: Dataset) -> int:
    """Samples that the dataset's index holds out."""
    held_out = dataset.columns.held_out
    return 0 if held_out is None else int(np.count_nonzero(held_out))


def held_out_notes(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """A line for each dataset whose index holds pages out: how many, and whether they are among what is taken."""
    taken = {"train": "left out", "held_out": "these alone are read", "all": "READ TOO, by split: all"}
    return tuple(
        f"{num_held_out(dataset):,} of {len(dataset.columns):,} samples of {dataset.name} are held out, and "
        f"{taken[dataset.split]}"
        for dataset in datasets
        if dataset.columns.held_out is not None
    )


def summarise(mixture: Mixture, steps: Steps, assigner: Assigner, total_steps: int | None) -> PlanSummary:
    """Use up the first pass of a run and count; where it has an end, the others are run through, too.

    Args:
        mixture: the datasets.
        steps: from the beginning of the run.
        assigner: of the world whose balance is reported.
        total_steps: of the run, where they are known; None counts them.
    """
    settings, num_packs = mixture.settings, 0
    totals, others = np.zeros((len(mixture.planned), 3), dtype=np.int64), np.zeros(4, dtype=np.int64)
    imbalances: list[float] = []
    for step in _steps_of_epoch(steps, settings, mixture.num_samples if mixture.is_endless else None):
        others += _count(mixture, step.values, totals)
        if len(step) == settings.global_batch_size:
            imbalances.append(assigner.imbalance_of(step))
        num_packs += len(step)
    rejects = steps.rejects.sum(axis=0).tolist()
    if total_steps is None and settings.epochs is not None:
        total_steps = steps_of(num_packs + steps.count_later(), settings)
    steps.close()
    num_pages, tokens, patches = totals.sum(axis=0).tolist()
    supervised, downscaled, split_pages, parts = others.tolist()
    return PlanSummary(
        samples=mixture.num_samples,
        held_out=sum(map(num_held_out, mixture.datasets)),
        without_image=sum(int((dataset.columns.num_images[:] == 0).sum()) for dataset in mixture.datasets),
        pages=num_pages,
        rejects={code.reason: rejects[code] for code in Reject if code and rejects[code]},
        downscaled=downscaled,
        split_pages=split_pages,
        parts=parts,
        packs=num_packs,
        steps=-(-num_packs // settings.global_batch_size),
        total_steps=total_steps,
        tokens=tokens,
        patches=patches,
        supervised=supervised,
        fill_tokens=tokens / (max(num_packs, 1) * settings.sequence_length),
        fill_patches=patches / (max(num_packs, 1) * settings.max_patches),
        pages_per_pack=(num_pages - split_pages + parts) / max(num_packs, 1),
        world_size=assigner.world_size,
        **_percentiles(imbalances),
        idle=assigner.idle_places(settings.global_batch_size),
        datasets=tuple(map(partial(_share, num_pages, tokens), mixture.datasets, totals.tolist())),
        absent=count_absent([*settings.expressions, *own_expressions(mixture.datasets)], mixture.datasets),
    )


def _percentiles(imbalances: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(imbalances or [1.0], [50, 99]).tolist()
    return {"imbalance_p50": p50, "imbalance_p99": p99}


def steps_of(num_packs: int, settings: PlanSettings) -> int:
    """Steps of a run that has an end, by the packs of all its passes; `tail` decides about the last ones."""
    whole, rest = divmod(num_packs, settings.global_batch_size)
    return whole + (rest > 0 and settings.tail != "drop")


def _count(mixture: Mixture, values: Ints, totals: Ints) -> Ints:
    """Add pages, tokens and patches to each dataset's `totals`, (datasets, 3); the first part of a page counts as it.

    Returns:
        int64 (4,): supervised tokens, downscaled pages, pages that are split, and their parts.
    """
    samples, tokens, patches, supervised, _, scales = values
    part_numbers, pages = np.divmod(samples, mixture.num_samples)
    datasets = np.searchsorted(mixture.offsets, pages, side="right") - 1
    np.add.at(totals, datasets, np.column_stack((part_numbers <= 1, tokens, patches)))
    counted = (supervised, scales != FULL_SCALE, part_numbers == 1, part_numbers > 0)
    return np.array([column.sum() for column in counted], dtype=np.int64)


def _share(all_pages: int, all_tokens: int, dataset: Dataset, totals: Sequence[int]) -> DatasetShare:
    pages, tokens, patches = totals
    return DatasetShare(
        name=dataset.name,
        samples=len(dataset.columns),
        pages=pages,
        tokens=tokens,
        patches=patches,
        share_of_pages=pages / max(all_pages, 1),
        share_of_tokens=tokens / max(all_tokens, 1),
    )


def _steps_of_epoch(steps: Steps, settings: PlanSettings, num_pages: int | None) -> Iterator[PackedSamples]:
    """The packs of the first pass by steps, of which the last may have fewer; of a mixture without passes, those with
    the first `num_pages` pages."""
    size, num_packed = settings.global_batch_size, 0
    parts: list[PackedSamples] = []
    while num_pages is None or num_packed < num_pages:
        # A pack has no more pages than the pool: so none is planned beyond the last one.
        packs = steps.next_packs(size if num_pages is None else max((num_pages - num_packed) // settings.pool, 1))
        if not packs:
            break
        num_packed += len(packs.samples)
        parts.append(packs)
        if sum(map(len, parts)) == size:
            yield join_packs(parts)
            parts = []
    if parts:
        yield join_packs(parts)
