"""What `wdstream plan` says: a dry run of one epoch in figures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from wdstream.plan.datasets import Mixture
from wdstream.plan.deal import Assigner
from wdstream.plan.packer import Item
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.steps import Steps

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A dry run of one epoch (of a mixture by weight: of as many pages as the datasets have).

    Attributes:
        samples: in the indexes.
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
        datasets: what each gives.
    """

    samples: int
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
    datasets: tuple[DatasetShare, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self) | {"rejects": dict(self.rejects)}

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
        downscaled = f", {self.downscaled:,} of them downscaled" if self.downscaled else ""
        split = f", {self.split_pages:,} of them split into {self.parts:,} parts" if self.parts else ""
        yield "pages packed", f"{self.pages:,}{downscaled}{split}"
        yield "rejected", ", ".join(f"{count:,} {reason}" for reason, count in self.rejects.items()) or "none"
        yield "packs", f"{self.packs:,} of {self.pages_per_pack:.2f} pages"
        yield "steps", f"{self.steps:,}" + ("" if self.total_steps is None else f", {self.total_steps:,} in the run")
        yield "tokens", f"{self.tokens:,}, {self.supervised:,} of them supervised; fill {self.fill_tokens:.2%}"
        yield "patches", f"{self.patches:,}; fill {self.fill_patches:.2%}"
        yield (
            f"slowest of {self.world_size} ranks",
            f"{self.imbalance_p50:.4f} of the mean (median step), {self.imbalance_p99:.4f} (p99)",
        )


class _Tally:
    """Sums over the packs of an epoch."""

    def __init__(self, num_datasets: int) -> None:
        self.packs = self.supervised = self.downscaled = self.split_pages = self.parts = 0
        self.pages, self.tokens, self.patches = ([0] * num_datasets for _ in range(3))
        self.imbalances: list[float] = []

    def add(self, owners: Sequence[int], part_numbers: Sequence[int], items: Sequence[Item]) -> None:
        """Count the samples of a step; the first part of a page that is split, number 1, counts as the page."""
        for owner, part, item in zip(owners, part_numbers, items, strict=True):
            self.pages[owner] += part <= 1
            self.split_pages += part == 1
            self.parts += part >= 1
            self.tokens[owner] += item[1]
            self.patches[owner] += item[2]
            self.supervised += item[3]
            self.downscaled += item[5] != 64


def summarise(mixture: Mixture, steps: Steps, assigner: Assigner, total_steps: int | None) -> PlanSummary:
    """Use up the first pass of a run and count."""
    size = mixture.settings.global_batch_size
    tally = _Tally(len(mixture.planned))
    packs = _packs_of_epoch(steps, mixture.num_samples if mixture.is_endless else None)
    while step := list(islice(packs, size)):
        items = [item for pack in step for item in pack]
        numbers = np.array([item[0] for item in items], dtype=np.int64)
        part_numbers, pages = np.divmod(numbers, mixture.num_samples)
        owners = np.searchsorted(mixture.offsets, pages, side="right") - 1
        tally.add(owners.tolist(), part_numbers.tolist(), items)
        if len(step) == size:
            tally.imbalances.append(assigner.imbalance(assigner.step_plan(tally.packs // size, step)))
        tally.packs += len(step)
    rejects = steps.rejects.sum(axis=0)
    steps.close()
    return _summary(mixture, tally, rejects.tolist(), assigner.world_size, total_steps)


def _packs_of_epoch(steps: Steps, num_pages: int | None) -> Iterator[list[Item]]:
    """The packs of the first pass; of a mixture without passes, those with the first `num_pages` pages."""
    num_packed = 0
    for pack in steps.rest_of_pass():
        yield pack
        num_packed += len(pack)
        if num_pages is not None and num_packed >= num_pages:
            return


def _summary(
    mixture: Mixture, tally: _Tally, rejects: Sequence[int], world_size: int, total_steps: int | None
) -> PlanSummary:
    settings = mixture.settings
    pages, tokens, patches = sum(tally.pages), sum(tally.tokens), sum(tally.patches)
    packs = max(tally.packs, 1)
    p50, p99 = np.percentile(tally.imbalances or [1.0], [50, 99]).tolist()
    return PlanSummary(
        samples=mixture.num_samples,
        pages=pages,
        rejects={code.reason: rejects[code] for code in Reject if code and rejects[code]},
        downscaled=tally.downscaled,
        split_pages=tally.split_pages,
        parts=tally.parts,
        packs=tally.packs,
        steps=-(-tally.packs // settings.global_batch_size),
        total_steps=total_steps,
        tokens=tokens,
        patches=patches,
        supervised=tally.supervised,
        fill_tokens=tokens / (packs * settings.sequence_length),
        fill_patches=patches / (packs * settings.max_patches),
        pages_per_pack=(pages - tally.split_pages + tally.parts) / packs,
        world_size=world_size,
        imbalance_p50=p50,
        imbalance_p99=p99,
        datasets=tuple(
            DatasetShare(
                name=dataset.name,
                samples=len(dataset.columns),
                pages=tally.pages[number],
                tokens=tally.tokens[number],
                patches=tally.patches[number],
                share_of_pages=tally.pages[number] / max(pages, 1),
                share_of_tokens=tally.tokens[number] / max(tokens, 1),
            )
            for number, dataset in enumerate(mixture.datasets)
        ),
    )
