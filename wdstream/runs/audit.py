"""audit: the proof that a run trained exactly the pages that were planned, whatever happened to it.

    for every step: the ledger's digest over (pack, keys) that the ranks trained  ==  the digest of the planned ones
    for every state that was saved:                                   the state  ==  the plan's state after its step
    pages trained  =  pages planned  -  pages that failed and are in the quarantine  -  pages of skipped steps

The ledger holds a digest per step, not keys. Where it differs, single faults (a page dropped, doubled, or swapped with
another) are tried one by one, so that the report can name the page.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wdstream.config.build import plan_from_config
from wdstream.pipeline.planned import Plan
from wdstream.plan.deal import pages_digest
from wdstream.plan.steps import Steps
from wdstream.records import StepPlan
from wdstream.runs.layout import StepLine
from wdstream.runs.record import RunFolder, read_run

Keys = dict[int, tuple[str, ...]]
"""Pack number to the keys of its pages, in order."""
MAX_PRINTED = 20
"""Differences that are printed; one wrong step early on makes every later one differ."""


@dataclass(slots=True, kw_only=True)
class AuditReport:
    """What the audit found.

    Attributes:
        steps: steps in the ledger.
        planned: pages planned in them; each part of a page that is split is one.
        parts: pieces of split pages among them.
        quarantined: slots of pages that failed, where nothing was supervised.
        skipped: pages of steps that were passed over.
        skipped_steps: how many those are.
        states: saved states that were compared.
        differences: a sentence for each thing that is not as it should be.
    """

    steps: int
    planned: int = 0
    parts: int = 0
    quarantined: int = 0
    skipped: int = 0
    skipped_steps: int = 0
    states: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def trained(self) -> int:
        """Pages that were really trained on."""
        return self.planned - self.quarantined - self.skipped

    @property
    def is_clean(self) -> bool:
        """Whether the run is as planned."""
        return not self.differences

    def print(self, console: Console) -> None:
        """Print the first differences and the totals."""
        for difference in self.differences[:MAX_PRINTED]:
            console.print(Text.assemble(("differs", "red"), f" {difference}"))
        if len(self.differences) > MAX_PRINTED:
            console.print(f"... and {len(self.differences) - MAX_PRINTED} more", highlight=False)
        parts = f" ({self.parts} of them parts of pages)" if self.parts else ""
        skipped = f" - {self.skipped} of {self.skipped_steps} skipped steps" if self.skipped_steps else ""
        console.print(
            f"{self.steps} steps, {self.states} saved states: {self.planned} pages planned{parts} - {self.quarantined} "
            f"quarantined{skipped} = {self.trained} trained; "
            + ("all as planned" if self.is_clean else f"{len(self.differences)} differences"),
            highlight=False,
        )


def audit(run: Path) -> AuditReport:
    """Recompute every step of a run and compare it with what the run recorded.

    Raises:
        TrainError: no run in the folder.
        WdstreamError: its shards or model folder are not there any more.
    """
    folder = read_run(run)
    plan, report = plan_from_config(folder.config), AuditReport(steps=len(folder.steps))
    report.differences += [
        f"plan: the fingerprint of {name} is {plan.fingerprints.get(name)} now, and was {value} in the run"
        for name, value in folder.fingerprints.items()
        if plan.fingerprints.get(name) != value
    ]
    if report.is_clean:  # else nothing below would mean anything
        _Audit(folder, plan, report).run()
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A step whose pages are not the planned ones: the planned `keys`, and the `ledger_digest`."""

    keys: Keys
    ledger_digest: str


class _Audit:
    """One pass over all steps of a run, which fills in a report."""

    def __init__(self, folder: RunFolder, plan: Plan, report: AuditReport) -> None:
        self._folder = folder
        self._plan = plan
        self._report = report
        self._lines: dict[int, list[StepLine]] = {}
        for line in folder.steps:
            self._lines.setdefault(line["step"], []).append(line)
        self._digests: dict[str, int] = {}
        self._wrong: dict[int, Mismatch] = {}

    def run(self) -> None:
        count = max(self._lines, default=-1) + 1
        steps = self._plan.steps()
        self._check_state(steps)
        for number in range(count):
            if (step := next(steps, None)) is None:
                self._note(f"step {number}: in the ledger, but the run ends before it")
                break
            if number >= self._folder.first_step:
                self._check_step(step)
            self._check_state(steps)
        steps.close()
        self._report.differences += explain(self._wrong, self._digests)
        for number in sorted(number for number in self._folder.states if number > count):
            self._note(f"state before step {number}: saved, but the ledger ends before")

    def _note(self, difference: str) -> None:
        self._report.differences.append(difference)

    def _check_step(self, step: StepPlan) -> None:
        lines = self._lines.get(step.step, [])
        if len(lines) != 1:
            times = "missing from the ledger" if not lines else f"{len(lines)} times in the ledger"
            self._note(f"step {step.step}: {times}")
            return
        line, report = lines[0], self._report
        samples = [sample for pack in step.packs for sample in pack.samples]
        pages = [self._plan.mixture.page_of(sample) for sample in samples]
        failed = sum(self._folder.has_failed(page, step.step) for page in pages)
        report.planned += len(samples)
        report.parts += sum(page != sample for page, sample in zip(pages, samples, strict=True))
        if line.get("skipped", False):
            report.skipped += len(samples)
            report.skipped_steps += 1
        else:
            report.quarantined += failed
        for name, expected, recorded in (
            ("pages", len(samples), line["pages"]),
            ("supervised", step.num_supervised, line["supervised"]),
            ("failed", failed, line["failed"]),
        ):
            if recorded != expected:
                self._note(f"step {step.step}: {name} expected {expected}, found {recorded}")
        keys = {pack.number: tuple(map(self._plan.key, pack.samples)) for pack in step.packs}
        self._digests[_digest(keys)] = step.step
        if line["digest"] != _digest(keys):
            self._wrong[step.step] = Mismatch(keys=keys, ledger_digest=line["digest"])

    def _check_state(self, steps: Steps) -> None:
        step = steps.number
        saved = self._folder.states.get(step)
        if saved is None:
            return
        self._report.states += 1
        planned = steps.state().to_json()
        if saved != planned:
            fields = [name for name in planned if planned[name] != saved.get(name)] or ["a field unknown to the plan"]
            texts = (f"{name} expected {planned.get(name)}, found {saved.get(name)}" for name in fields)
            self._note(f"state before step {step}: {'; '.join(texts)}")


def explain(wrong: Mapping[int, Mismatch], digests: Mapping[str, int]) -> Iterator[str]:
    """A sentence for each step whose pages are not the planned ones: which page, where one fault explains it.

    Args:
        wrong: the steps in question.
        digests: step by digest, of the planned pages of all steps.
    """
    swapped = dict(_swaps_between_steps(wrong))
    for step, mismatch in wrong.items():
        fault = next((text for text, keys in _faults(mismatch.keys) if _digest(keys) == mismatch.ledger_digest), None)
        if fault is None and mismatch.ledger_digest in digests:
            fault = f"trained the pages of step {digests[mismatch.ledger_digest]}"
        fault = fault or swapped.get(step) or "the pages differ, and not by one that was dropped, doubled or swapped"
        yield f"step {step}: {fault} (digest expected {_digest(mismatch.keys)}, found {mismatch.ledger_digest})"


def _swaps_between_steps(wrong: Mapping[int, Mismatch]) -> Iterator[tuple[int, str]]:
    """(step, sentence) for pairs of steps that would be right with one page of each exchanged."""
    for (one, left), (two, right) in combinations(wrong.items(), 2):
        for mine, theirs in product(_slots(left.keys), _slots(right.keys)):
            key, other = _key_in(left.keys, mine), _key_in(right.keys, theirs)
            exchanged = (_with_key(left.keys, mine, other), left), (_with_key(right.keys, theirs, key), right)
            if all(_digest(keys) == mismatch.ledger_digest for keys, mismatch in exchanged):
                sentence = f"page '{key}' of step {one} and page '{other}' of step {two} were swapped"
                yield from ((one, sentence), (two, sentence))


def _faults(planned: Keys) -> Iterator[tuple[str, Keys]]:
    """Every way to drop, double or swap one page: a sentence, and the packs that it leads to."""
    slots = _slots(planned)
    for pack, slot in slots:
        keys = planned[pack]
        yield f"page '{keys[slot]}' of pack {pack} was dropped", planned | {pack: keys[:slot] + keys[slot + 1 :]}
    for (pack, slot), (other, keys) in product(slots, planned.items()):
        key = planned[pack][slot]
        sentence = f"page '{key}' of pack {pack} came twice, again in pack {other}"
        for before in range(len(keys) + 1):
            yield sentence, planned | {other: (*keys[:before], key, *keys[before:])}
    for one, two in combinations(slots, 2):
        key, other_key = _key_in(planned, one), _key_in(planned, two)
        sentence = f"pages '{key}' of pack {one[0]} and '{other_key}' of pack {two[0]} were swapped"
        yield sentence, _with_key(_with_key(planned, one, other_key), two, key)


def _slots(keys: Keys) -> list[tuple[int, int]]:
    """(pack, slot) of every page."""
    return [(pack, slot) for pack, names in keys.items() for slot in range(len(names))]


def _key_in(keys: Keys, position: tuple[int, int]) -> str:
    pack, slot = position
    return keys[pack][slot]


def _with_key(keys: Keys, position: tuple[int, int], key: str) -> Keys:
    """The same packs with another page in one slot."""
    pack, slot = position
    return keys | {pack: (*keys[pack][:slot], key, *keys[pack][slot + 1 :])}


def _digest(keys: Keys) -> str:
    return pages_digest(keys.items())
