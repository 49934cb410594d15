"""trace: which pages were in a step of a run.

    run.json (configuration) + nearest state in states.jsonl  ->  the plan  ->  the pages of any step
    pages.jsonl                                               ->  those of a run on tars without an index

A plan is a pure function, so the pages are computed again and nothing is logged for it; `wdstream audit` proves that
they are those trained. Tars without an index have no plan: their pages are listed while the run trains on them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.config.build import plan_from_config
from wdstream.errors import PlanError
from wdstream.pipeline.planned import Plan
from wdstream.plan.summary import held_out_notes
from wdstream.records import NO_PACK, StepPlan
from wdstream.runs.losses import join_rows, read_losses
from wdstream.runs.record import RunFolder, read_run


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPage:
    """What a plan knows of a page.

    Attributes:
        sample: its number in the plan.
        dataset, shard: where it is.
        offset, nbytes: its bytes in the shard.
        tokens, patches: its length.
        is_quarantined: it had failed by then, and only kept its slot.
    """

    sample: int
    dataset: str
    shard: str
    offset: int
    nbytes: int
    tokens: int
    patches: int
    is_quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPage:
    """One page of a step.

    Attributes:
        rank: which rank computed it.
        pack: number of its pack in the run.
        slot: its place in the pack, from 0.
        key: its name; `KEY part 2/3` for part of a page that is split.
        planned: None in a run on tars without an index.
        loss: mean over its supervised tokens, where the run recorded it (train.record_losses) and trained the step.
    """

    rank: int
    pack: int
    slot: int
    key: str
    planned: PlannedPage | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The pages of a step, rank by rank where it was planned, else pack by pack; and what its data hold out.

    Attributes:
        step: its number.
        world_size: ranks that trained it, or would.
        pages: its pages.
        notes: what to know of them.
        is_trained: the ledger has the step, and it was not skipped.
    """

    step: int
    world_size: int
    pages: tuple[TracedPage, ...]
    notes: tuple[str, ...] = ()
    is_trained: bool = True

    def as_dict(self) -> dict[str, object]:
        """As plain values, for JSON; what a plan knows of a page is next to its place."""
        pages = []
        for page in self.pages:
            row = asdict(page)
            pages.append(row | (row.pop("planned") or {}))
        figures = {"step": self.step, "world_size": self.world_size, "is_trained": self.is_trained}
        return {**figures, "notes": list(self.notes), "pages": pages}

    def print(self, console: Console) -> None:
        """Print a table, one line per page; nothing in it is markup."""
        table = Table(title=f"step {self.step} on {self.world_size} ranks: {len(self.pages)} pages")
        is_planned = any(page.planned is not None for page in self.pages)
        planned = ("shard", "bytes", "tokens", "patches", "") if is_planned else ()
        has_losses = any(page.loss is not None for page in self.pages)
        for name in ("rank", "pack", "slot", "key", *planned, *(("loss",) if has_losses else ())):
            table.add_column(name, overflow="fold", no_wrap=name not in ("key", "shard"))
        for page in self.pages:
            loss = "" if page.loss is None else f"{page.loss:.4f}"
            table.add_row(*(Text(str(value)) for value in (*_row(page), *((loss,) if has_losses else ()))))
        console.print(table)
        for note in self.notes:
            console.print(Text(note), soft_wrap=True)


def _row(page: TracedPage) -> tuple[object, ...]:
    row = (page.rank, page.pack, page.slot, page.key)
    if (planned := page.planned) is None:
        return row
    shard, where = f"{planned.dataset}/{planned.shard}", f"{planned.offset}+{planned.nbytes}"
    return (*row, shard, where, planned.tokens, planned.patches, "quarantined" if planned.is_quarantined else "")


def trace(output: Path, *, step: int, rank: int | None = None) -> Trace:
    """The pages of a step of a run, or only those that one rank computed.

    Raises:
        TrainError: no run in the folder, or its ledger says that other pages were trained in this step.
        PlanError: the run has no such step, or no such rank.
        WdstreamError: its shards or model folder are not there any more.
    """
    folder = read_run(output)
    last = folder.config.train.max_steps
    if last is not None and step >= last:
        raise PlanError(f"step {step}: the run ends before it; its steps are 0 to {last - 1} (train.max_steps)")
    world_size = folder.world_size(step)
    if rank is not None and not 0 <= rank < world_size:
        raise PlanError(f"rank {rank}: step {step} was trained on {world_size} ranks, numbered from 0")
    is_planned = folder.config.data.streaming is None
    pages, notes = _planned_pages(folder, step) if is_planned else (_listed_pages(folder, step), ())
    losses = _losses(folder, step)
    pages = tuple(
        replace(page, loss=losses.get((page.pack, page.slot))) for page in pages if rank is None or page.rank == rank
    )
    is_reached, is_skipped = any(line["step"] == step for line in folder.steps), folder.is_skipped(step)
    if is_skipped:
        notes = (*notes, f"step {step} is skipped (train.skip_steps): its pages are not trained on")
    elif not is_reached:
        notes = (*notes, f"step {step} was not trained yet: these are the pages that it will have")
    is_trained = is_reached and not is_skipped
    return Trace(step=step, world_size=world_size, pages=pages, notes=notes, is_trained=is_trained)


def _losses(folder: RunFolder, step: int) -> dict[tuple[int, int], float]:
    """Mean loss by pack and slot, of pages with supervised tokens; none where none were recorded."""
    rows = join_rows(list(read_losses(folder.files, first=step, last=step)))
    places = zip(rows.pack.tolist(), rows.slot.tolist(), rows.tokens.tolist(), rows.mean.tolist(), strict=True)
    return {(pack, slot): mean for pack, slot, tokens, mean in places if tokens}


def _listed_pages(folder: RunFolder, step: int) -> tuple[TracedPage, ...]:
    packs = folder.files.read_pages(step)
    if packs is None:
        raise PlanError(f"step {step}: not among the steps that {folder.files.pages} lists; it was not trained yet")
    world_size = folder.world_size(step)
    return tuple(
        TracedPage(rank=number % world_size, pack=number, slot=slot, key=key)
        for number, keys in packs.items()
        for slot, key in enumerate(keys)
    )


def _planned_pages(folder: RunFolder, step: int) -> tuple[tuple[TracedPage, ...], tuple[str, ...]]:
    """The pages, and what the plan's datasets hold out."""
    plan = plan_from_config(folder.config)
    planned = plan.step(
        step,
        world_size=folder.world_size(step),
        micro_batch_size=folder.config.train.micro_batch_size,
        state_near=folder.state_near(step),
    )
    pages = tuple(
        page for rank in range(len(planned.assignment)) for page in _pages_of_rank(folder, plan, planned, rank)
    )
    keys: dict[int, list[str]] = {pack.number: [] for pack in planned.packs}
    for page in pages:
        keys[page.pack].append(page.key)
    folder.check_trained(step, keys)
    return pages, held_out_notes(plan.datasets)


def _pages_of_rank(folder: RunFolder, plan: Plan, step: StepPlan, rank: int) -> Iterator[TracedPage]:
    for pack in (step.packs[position] for position in step.assignment[rank] if position != NO_PACK):
        for slot, (sample, tokens, patches) in enumerate(zip(pack.samples, pack.tokens, pack.patches, strict=True)):
            dataset, row = plan.locate(sample)
            shards = plan.shards[dataset]
            planned = PlannedPage(
                sample=sample,
                dataset=plan.datasets[dataset].name,
                shard=shards.shard_name(row),
                offset=int(shards.by_row.offset[row]),
                nbytes=int(shards.by_row.nbytes[row]),
                tokens=tokens,
                patches=patches,
                is_quarantined=folder.has_failed(plan.mixture.page_of(sample), step.step),
            )
            yield TracedPage(rank=rank, pack=pack.number, slot=slot, key=plan.key(sample), planned=planned)
