"""where: in which steps a page comes, or a part of one that is split; or why the plan leaves it out.

The plan is a pure function, so this is a dry run of it. Names are those that trace and show print, names of raw files,
and whatever else curation/resolve.py finds a page by.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from rich.console import Console
from rich.text import Text

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.curation.resolve import nearest, resolve_in
from wdstream.errors import PlanError
from wdstream.pipeline.planned import Plan
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.split_pages import page_of_part
from wdstream.plan.steps import Steps
from wdstream.text.characters import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that a page, or a part of one, comes: its name, step, pack of the run, and slot in the pack; and whether
    the step is skipped."""

    name: str
    step: int
    pack: int
    slot: int
    is_skipped: bool = False

    def __str__(self) -> str:
        skipped = ", which is skipped (train.skip_steps)" if self.is_skipped else ""
        return f"{self.name}: step {self.step}{skipped}, pack {self.pack}, slot {self.slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSteps:
    """The steps in which a page comes.

    Attributes:
        key: of the page, or the name that was asked for.
        steps: how many steps were looked through.
        occurrences: when it comes, in order; of a page that is split, when each part does.
        reason: why the plan leaves it out, if it does.
        remarks: which pages the name stands for, which of several the plan leaves out, and what never got into a set.
    """

    key: str
    steps: int
    occurrences: tuple[Occurrence, ...]
    reason: str | None
    remarks: tuple[str, ...] = ()

    def with_skipped(self, skips: Callable[[int], bool]) -> "PageSteps":
        """The same, with those steps marked that are passed over."""
        marked = [replace(one, is_skipped=skips(one.step)) for one in self.occurrences]
        return replace(self, occurrences=tuple(marked))

    def as_dict(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return asdict(self)

    def print(self, console: Console) -> None:
        """Print the remarks, and one line per occurrence."""
        lines = [str(one) for one in self.occurrences]
        if self.reason is not None:
            lines = [f"{one_line(self.key)}: left out of the plan, {self.reason}"]
        if not lines and self.steps:
            lines = [f"{one_line(self.key)}: not within the first {self.steps} steps"]
        for line in (*self.remarks, *lines):
            console.print(Text(line), soft_wrap=True)


def where(config: Config, key: str, *, max_steps: int | None = None) -> PageSteps:
    """The steps in which a page or a part comes, by a dry run of the plan.

    Args:
        config: of the run.
        key: the page's key, which is that of all its parts where it is split; the name of one part, `KEY part 2/3`; or
            another name of one or several pages (curation/resolve.py).
        max_steps: steps to look through; the whole run when left out.

    Raises:
        PlanError: no dataset has the key, the page has no such part, or the run has no end and `max_steps` is left
            out.
    """
    found = where_in(plan_from_config(config), key, max_steps or config.train.max_steps)
    return found.with_skipped(config.train.skips)


def where_in(plan: Plan, key: str, limit: int | None) -> PageSteps:
    """The same of a plan: the steps before `limit`, or all of them, in which a page or a part comes.

    Raises:
        PlanError: as of `where`.
    """
    samples, remarks = _samples_of(plan, key)
    names = {sample: plan.key(sample) for sample in samples}
    pages = {plan.mixture.page_of(sample): name for sample, name in names.items()}
    rejects = {page: reason for page, reason in plan.mixture.rejects() if page in pages}
    reason = ", ".join(code.reason for code in sorted(set(rejects.values()))) or None
    is_never = pages.keys() <= rejects.keys() and Reject.FILTERED not in rejects.values()
    if is_never:  # where a filter is the reason, it may be one of a curriculum's first epochs
        return PageSteps(key=key, steps=0, occurrences=(), reason=reason, remarks=remarks)
    limit = limit or plan.total_steps()
    if limit is None:
        raise PlanError("the run has no end: train.max_steps and data.epochs are both unset; say how far to look")
    steps = plan.steps()
    occurrences = tuple(_occurrences(plan, steps, names, limit))
    steps.close()
    if occurrences:
        left_out = (f"{pages[page]}: left out of the plan, {code.reason}" for page, code in rejects.items())
        remarks, reason = (*remarks, *left_out), None
    return PageSteps(key=key, steps=steps.number, occurrences=occurrences, reason=reason, remarks=remarks)


def _occurrences(plan: Plan, steps: Steps, names: Mapping[int, str], limit: int) -> Iterator[Occurrence]:
    """Every time that one of the samples in `names` comes, up to step `limit`."""
    wanted = list(names)
    for step in range(limit):
        packs = steps.advance()
        if packs is None:
            return
        for place in np.flatnonzero(np.isin(packs.samples, wanted)).tolist():
            pack = int(np.searchsorted(packs.bounds, place, side="right")) - 1
            number, slot = step * plan.settings.global_batch_size + pack, place - int(packs.bounds[pack])
            yield Occurrence(name=names[int(packs.samples[place])], step=step, pack=number, slot=slot)


def _samples_of(plan: Plan, name: str) -> tuple[list[int], tuple[str, ...]]:
    """Numbers of all samples of a name, in every dataset: of pages with all their parts, or of one part alone; and
    remarks on what the name stands for.

    Raises:
        PlanError: there is no such page, or it has no such part.
    """
    key = page_of_part(name)
    if key is None or any(shards.find(name) is not None for shards in plan.shards):  # a key may look like a part's name
        return _samples_of_pages(plan, name)
    samples, remarks = _samples_of_pages(plan, key)
    names = {sample: plan.key(sample) for sample in samples}
    chosen = [sample for sample, part in names.items() if part.endswith(name[len(key) :])]
    if chosen:
        return chosen, remarks
    parts = ", ".join(f"'{part}'" for part in dict.fromkeys(names.values()) if page_of_part(part))
    known = f"its parts are {parts}" if parts else f"it is not split in this plan; ask for '{key}'"
    raise PlanError(f"page '{key}' has no part that is called '{name}': {known}")


def _samples_of_pages(plan: Plan, name: str) -> tuple[list[int], tuple[str, ...]]:
    found = resolve_in(plan.shards, name)
    remarks = [line for shards, each in zip(plan.shards, found, strict=True) for line in each.remarks(shards)]
    pages = [int(plan.mixture.offsets[number]) + row for number, each in enumerate(found) for row in each.rows]
    if not pages and not remarks:
        names = ", ".join(f"'{dataset.name}'" for dataset in plan.datasets)
        raise PlanError(f"no dataset has a page with the key '{name}'; looked in {names}{nearest(found)}")
    return [sample for page in pages for sample in plan.mixture.samples_of(page)], tuple(dict.fromkeys(remarks))
