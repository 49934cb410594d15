"""trace: which pages were in a step of a run. Nothing is logged for it.

    run.json (configuration) + nearest state in states.jsonl  ->  the plan  ->  the pages of any step

The plan is a pure function, so the pages are computed again; `wdstream audit` proves that they are those trained.

trace for a run on tars without an index: no plan can compute its pages again, so they are read from its list.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError, TrainError
from wdstream.pipeline.planned import Plan
from wdstream.plan.hashing import pages_digest
from wdstream.records import StepPlan
from wdstream.storage.json_lines import read_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One page of a step: which rank computed it, the number of its pack in the run, its place there, its key."""

    rank: int
    pack: int
    place: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStep:
    """The pages of a step, pack by pack."""

    step: int
    world_size: int
    pages: tuple[ListedPage, ...]

    def print(self, console: Console) -> None:
        """Print a table, one line a page."""
        rows = [(page.rank, page.pack, page.place, page.key) for page in self.pages]
        print_pages(console, ("rank", "pack", "place", "key"), rows, step=self.step, world_size=self.world_size)


def print_pages(
    console: Console, names: Sequence[str], rows: Sequence[Sequence[object]], *, step: int, world_size: int
) -> None:
    """Print the pages of a step as a table, a line each, under the names of its columns; nothing in it is markup."""
    table = Table(title=f"step {step} on {world_size} ranks: {len(rows)} pages")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name not in ("key", "shard"))
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console.print(table)


def trace_listed(run: Path, *, step: int, rank: int | None, world_size: int) -> ListedStep:
    """The pages of a step, from RUN/pages.jsonl.

    Raises:
        PlanError: the step was not trained.
    """
    line = next((line for line in read_lines(run / "pages.jsonl") if line["step"] == step), None)
    if line is None:
        raise PlanError(f"step {step}: not among the steps that {run / 'pages.jsonl'} lists; it was not trained yet")
    pages = (page for page in _listed_pages(line["packs"], world_size) if rank is None or page.rank == rank)
    return ListedStep(step=step, world_size=world_size, pages=tuple(pages))


def _listed_pages(packs: Mapping[str, Any], world_size: int) -> Iterator[ListedPage]:
    for number, keys in packs.items():
        for place, key in enumerate(keys):
            yield ListedPage(rank=int(number) % world_size, pack=int(number), place=place, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """What a training run left behind (record.py).

    Attributes:
        path: the folder.
        config: of the last start.
        fingerprints: of its plan.
        steps: the ledger, one entry a step.
        states: the stream's states by the step that follows them.
        quarantine: the step at which each failed sample was listed.
    """

    path: Path
    config: Config
    fingerprints: Mapping[str, str]
    steps: Sequence[Mapping[str, Any]]
    states: Mapping[int, Mapping[str, Any]]
    quarantine: Mapping[int, int]

    def world_size(self, step: int) -> int:
        """Ranks that trained a step; for one not trained, those of the newest."""
        sizes = {line["step"]: int(line["world_size"]) for line in self.steps}
        return sizes.get(step, sizes[max(sizes)] if sizes else 1)

    def has_failed(self, page: int, step: int) -> bool:
        """Whether a page, by its sample number, had been listed in the quarantine by a step."""
        return self.quarantine.get(page, step + 1) <= step

    def check_trained(self, step: StepPlan, pages: Sequence["TracedPage"]) -> None:
        """Compare the pages of a whole step with the ledger's digest of it, if it was trained.

        Raises:
            TrainError: they are not those.
        """
        keys: dict[int, list[str]] = {pack.number: [] for pack in step.packs}
        for page in pages:
            keys[page.pack].append(page.key)
        found = pages_digest(keys.items())
        trained = {str(line["digest"]) for line in self.steps if line["step"] == step.step}
        if trained and found not in trained:
            raise TrainError(
                f"step {step.step}: the plan of {self.path / 'run.json'} gives other pages (digest {found}) than were "
                f"trained ({', '.join(trained)}): settings or data were changed after this step, or the ledger was; "
                "bring them back as they were, or see what `wdstream audit` says"
            )

    def state_near(self, step: int) -> Mapping[str, Any] | None:
        """The last saved state before a step."""
        known = [number for number in self.states if number <= step]
        return self.states[max(known)] if known else None


def read_run(path: Path) -> RunFolder:
    """Read the folder of a run.

    Raises:
        TrainError: there is no run in it.
    """
    record = path / "run.json"
    try:
        tree = json.loads(record.read_bytes())
        config = Config.model_validate(tree["config"])
    except (OSError, ValueError, KeyError) as error:
        raise TrainError(f"{path}: not the folder of a training run: {record.name} cannot be read ({error})") from error
    states = [line["stream"] for line in read_lines(path / "states.jsonl")]
    return RunFolder(
        path=path,
        config=config,
        fingerprints=tree["fingerprints"],
        steps=list(read_lines(path / "steps.jsonl")),
        states={int(state["step"]): state for state in states},
        quarantine={line["sample"]: line["step"] for line in read_lines(path / "quarantine.jsonl")},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPage:
    """One page of a step.

    Attributes:
        rank: which rank computes it.
        pack: number of its pack in the run.
        place: its place in the pack.
        key, sample, dataset, shard: what it is and where it lies; `KEY part 2/3` for part of a page that is split.
        offset, nbytes: its bytes in the shard.
        tokens, patches: its length.
        is_quarantined: it had failed by then, and only kept its slot.
    """

    rank: int
    pack: int
    place: int
    key: str
    sample: int
    dataset: str
    shard: str
    offset: int
    nbytes: int
    tokens: int
    patches: int
    is_quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The pages of a step, rank by rank."""

    step: int
    world_size: int
    pages: tuple[TracedPage, ...]

    def print(self, console: Console) -> None:
        """Print a table, one line a page."""
        names = ("rank", "pack", "place", "key", "shard", "bytes", "tokens", "patches", "")
        rows = [
            (
                *(page.rank, page.pack, page.place, page.key),
                *(f"{page.dataset}/{page.shard}", f"{page.offset}+{page.nbytes}", page.tokens, page.patches),
                "quarantined" if page.is_quarantined else "",
            )
            for page in self.pages
        ]
        print_pages(console, names, rows, step=self.step, world_size=self.world_size)


def trace(run: Path, *, step: int, rank: int | None = None) -> Trace | ListedStep:
    """The pages of a step of a run, or of one rank's part of it; listed ones, of a run on tars without an index.

    Raises:
        TrainError: no run in the folder, or its ledger says that other pages were trained in this step.
        PlanError: the run has no such step, or no such rank.
        WdstreamError: its shards or checkpoint are not there any more.
    """
    folder = read_run(run)
    world_size = folder.world_size(step)
    if rank is not None and not 0 <= rank < world_size:
        raise PlanError(f"rank {rank}: step {step} was trained on {world_size} ranks, numbered from 0")
    if folder.config.data.streaming is not None:
        return trace_listed(run, step=step, rank=rank, world_size=world_size)
    plan = plan_from_config(folder.config)
    planned = plan.step(
        step,
        world_size=world_size,
        micro_batch_size=folder.config.train.micro_batch_size,
        state_near=folder.state_near(step),
    )
    everywhere = [page for number in range(world_size) for page in _pages(folder, plan, planned, number)]
    folder.check_trained(planned, everywhere)
    pages = tuple(page for page in everywhere if rank is None or page.rank == rank)
    return Trace(step=step, world_size=world_size, pages=pages)


def _pages(folder: RunFolder, plan: Plan, step: StepPlan, rank: int) -> Iterator[TracedPage]:
    for pack in (step.packs[place] for place in step.deal[rank]):
        for place, (sample, tokens, patches) in enumerate(zip(pack.samples, pack.tokens, pack.patches, strict=True)):
            dataset, row = plan.locate(sample)
            shards = plan.shards[dataset]
            yield TracedPage(
                rank=rank,
                pack=pack.number,
                place=place,
                key=plan.key(sample),
                sample=sample,
                dataset=plan.datasets[dataset].name,
                shard=shards.shard_name(row),
                offset=int(shards.offset[row]),
                nbytes=int(shards.nbytes[row]),
                tokens=tokens,
                patches=patches,
                is_quarantined=folder.has_failed(plan.mixture.page_of(sample), step.step),
            )
