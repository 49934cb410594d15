"""where: in which steps a page comes, or a part of one that is split; or why the plan leaves it out.

The plan is a pure function, so this is a dry run of it. Names are those that trace and show print.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError
from wdstream.pipeline.planned import Plan
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.split_pages import page_of_part
from wdstream.plan.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that a page, or a part of one, comes: its name, step, pack of the run, and slot in the pack."""

    name: str
    step: int
    pack: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSteps:
    """The steps in which a page comes.

    Attributes:
        key: of the page, or the name of the part.
        steps: how many steps were looked through.
        occurrences: when it comes, in order; of a page that is split, when each part does.
        reason: why the plan leaves it out, if it does.
    """

    key: str
    steps: int
    occurrences: tuple[Occurrence, ...]
    reason: str | None

    def print(self, console: Console) -> None:
        """Print one line per occurrence."""
        lines = [f"{one.name}: step {one.step}, pack {one.pack}, slot {one.slot}" for one in self.occurrences]
        if self.reason is not None:
            lines = [f"{self.key}: left out of the plan, {self.reason}"]
        for line in lines or [f"{self.key}: not within the first {self.steps} steps"]:
            console.print(Text(line), soft_wrap=True)


def where(config: Config, key: str, *, max_steps: int | None = None) -> PageSteps:
    """The steps in which a page or a part comes, by a dry run of the plan.

    Args:
        config: of the run.
        key: the page's key, which is that of all its parts where it is split; or the name of one part, `KEY part 2/3`.
        max_steps: steps to look through; the whole run when left out.

    Raises:
        PlanError: no dataset has the key, the page has no such part, or the run has no end and `max_steps` is left
            out.
    """
    plan = plan_from_config(config)
    names = {sample: plan.key(sample) for sample in _samples_of(plan, key)}
    pages = {plan.mixture.page_of(sample) for sample in names}
    rejects = {page: reason for page, reason in plan.mixture.rejects() if page in pages}
    reasons = sorted(set(rejects.values()))
    reason = ", ".join(code.reason for code in reasons) or None
    if pages <= rejects.keys() and Reject.FILTERED not in reasons:  # a filter may be one of a curriculum's first epochs
        return PageSteps(key=key, steps=0, occurrences=(), reason=reason)
    limit = max_steps or config.train.max_steps or plan.total_steps()
    if limit is None:
        raise PlanError("the run has no end: train.max_steps and data.epochs are both unset; say how far to look")
    steps = plan.steps()
    occurrences = tuple(_occurrences(plan, steps, names, limit))
    steps.close()
    return PageSteps(key=key, steps=steps.number, occurrences=occurrences, reason=None if occurrences else reason)


def _occurrences(plan: Plan, steps: Steps, names: Mapping[int, str], limit: int) -> Iterator[Occurrence]:
    """Every time that one of the samples in `names` comes, up to step `limit`."""
    for step in range(limit):
        packs = steps.advance()
        if packs is None:
            return
        for number, pack in enumerate(packs, start=step * plan.settings.global_batch_size):
            for slot, item in enumerate(pack):
                if item.sample in names:
                    yield Occurrence(name=names[item.sample], step=step, pack=number, slot=slot)


def _samples_of(plan: Plan, name: str) -> list[int]:
    """Numbers of all samples of a name, in every dataset: of a page with all its parts, or of one part alone.

    Raises:
        PlanError: there is no such page, or it has no such part.
    """
    key = page_of_part(name)
    if key is None or _pages_of(plan, name):  # a page's own key may look like the name of a part
        return _samples_of_page(plan, name)
    names = {sample: plan.key(sample) for sample in _samples_of_page(plan, key)}
    chosen = [sample for sample, part in names.items() if part == name]
    if chosen:
        return chosen
    parts = ", ".join(f"'{part}'" for part in dict.fromkeys(names.values()) if part != key)
    known = f"its parts are {parts}" if parts else f"it is not split in this plan; ask for '{key}'"
    raise PlanError(f"page '{key}' has no part that is called '{name}': {known}")


def _samples_of_page(plan: Plan, key: str) -> list[int]:
    pages = _pages_of(plan, key)
    if not pages:
        names = ", ".join(f"'{dataset.name}'" for dataset in plan.datasets)
        raise PlanError(f"no dataset has a page with the key '{key}'; looked in {names}")
    return [sample for page in pages for sample in plan.mixture.samples_of(page)]


def _pages_of(plan: Plan, key: str) -> list[int]:
    """Sample numbers of a key: one in each dataset that has it."""
    rows = [(number, shards.find(key)) for number, shards in enumerate(plan.shards)]
    return [int(plan.mixture.offsets[number]) + row for number, row in rows if row is not None]
