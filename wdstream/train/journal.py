"""The main process's journal: what each step leaves in metrics, ledger and quarantine, and the counters of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list

from wdstream.records import Failure
from wdstream.runs.quarantine import PageList, Quarantine
from wdstream.runs.record import RunRecord
from wdstream.train.evaluate.generated_pages import drop_pages, pages_file, save_pages
from wdstream.train.evaluate.sets import measure_set
from wdstream.train.exchange import StepFigures
from wdstream.train.metrics import Metrics, StepMetrics
from wdstream.train.setup import Run
from wdstream.train.stream import StepContents


@dataclass(slots=True, kw_only=True)
class Progress:
    """What changes while a run lasts; saved as `trainer.json`.

    Attributes:
        step: next step.
        num_pages, num_tokens: trained so far.
    """

    step: int = 0
    num_pages: int = 0
    num_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """JSON form."""
        return {"step": self.step, "num_pages": self.num_pages, "num_tokens": self.num_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Where the main process writes; all but `metrics` are None on the others.

    Attributes:
        metrics: figures.
        record: the ledger.
        quarantine: pages that failed.
        rejects: pages that fit no pack, of a stream without a plan that could list them.
    """

    metrics: Metrics
    record: RunRecord | None
    quarantine: Quarantine | None
    rejects: PageList | None


def advance(progress: Progress, contents: StepContents) -> None:
    """Count a step as trained."""
    progress.step = contents.step + 1
    progress.num_pages += contents.num_pages
    progress.num_tokens += contents.num_tokens


def step_metrics(run: Run, contents: StepContents, figures: StepFigures, seconds: float) -> StepMetrics:
    """The figures of a step: what the ranks found, and what it holds."""
    data = run.config.data
    return StepMetrics(
        step=contents.step,
        loss=figures.loss,
        lr=run.rate(contents.step),
        grad_norm=figures.grad_norm,
        seconds=seconds,
        wait_seconds=figures.wait_seconds,
        num_supervised=contents.num_supervised,
        num_tokens=contents.num_tokens,
        num_patches=contents.num_patches,
        num_pages=contents.num_pages,
        fill_tokens=contents.num_tokens / (contents.num_packs * data.sequence_length),
        fill_patches=contents.num_patches / (contents.num_packs * data.max_patches),
        imbalance=contents.imbalance,
        mix=contents.mix,
    )


def open_journal(run: Run, progress: Progress, messages: list[str]) -> Journal:
    """Open what the main process writes, cut back to the step the run goes on from."""
    record = quarantine = rejects = None
    if run.is_main:
        run.output.mkdir(parents=True, exist_ok=True)
        record = RunRecord(run.output)
        messages += record.start(
            run.config,
            fingerprints=run.stream.fingerprints,
            data=run.stream.data,
            step=progress.step,
            world_size=run.world.size,
        )
        drop_pages(run.output, next_step=progress.step)
        quarantine = Quarantine(run.output / "quarantine.jsonl", max_bad_fraction=run.config.data.max_bad_fraction)
        rejects = PageList(run.output / "rejects.jsonl")
    metrics = Metrics(
        run.output,
        first_step=progress.step,
        total_steps=run.total_steps,
        log_every=run.config.train.log_every,
        is_main=run.is_main,
    )
    for message in messages:
        metrics.say(message)
    return Journal(metrics=metrics, record=record, quarantine=quarantine, rejects=rejects)


def known_bad(journal: Journal) -> tuple[Failure, ...]:
    """Pages that failed before this start, the same on every rank; all ranks call it together."""
    found = [() if journal.quarantine is None else journal.quarantine.before]
    broadcast_object_list(found)
    return found[0]


def note(
    run: Run, journal: Journal, progress: Progress, metrics: StepMetrics, figures: StepFigures, sha256: str | None
) -> None:
    """Write down a step on the main process; `sha256` is of its bytes, when they are recorded.

    Raises:
        TrainError: more pages failed than allowed.
    """
    journal.metrics.add(metrics)
    if journal.record is not None:
        journal.record.add_step(
            {
                "step": metrics.step,
                "digest": figures.digest,
                "world_size": run.world.size,
                "pages": metrics.num_pages,
                "supervised": metrics.num_supervised,
                "failed": len(figures.failures),
                **({} if sha256 is None else {"sha256": sha256}),
            }
        )
    if journal.quarantine is not None:
        journal.quarantine.add(figures.failures, step=metrics.step)
        journal.quarantine.check(progress.num_pages)


def note_contents(journal: Journal, contents: StepContents) -> None:
    """Write down on the main process what `wdstream trace` needs, and the pages passed over."""
    if journal.record is not None and contents.keys is not None:
        journal.record.add_pages(contents.step, contents.keys)
    if journal.record is not None and contents.state is not None:
        journal.record.add_state(contents.step, contents.state)
    if journal.rejects is not None:
        journal.rejects.add(contents.unfit, step=contents.step)


def evaluate_all(run: Run, journal: Journal, step: int) -> None:
    """Every evaluation set, after `step`."""
    for name, plan in run.eval_plans:
        with journal.metrics.work(f"evaluating {name}") as on_progress:
            report = measure_set(run.engine, plan, config=run.config, world=run.world, on_progress=on_progress)
        journal.metrics.add_eval(step, name, report.figures())
        for line in report.lines():
            journal.metrics.say(line)
        if run.is_main and report.written is not None:
            save_pages(pages_file(run.output, name, step), report.written)


def save(run: Run, journal: Journal, progress: Progress, stream: Mapping[str, Any]) -> None:
    """Write a checkpoint of the state before `progress.step`."""
    run.checkpoints.save(progress.step, stream=stream, trainer=progress.as_dict())
    if journal.record is not None:
        journal.record.add_state(progress.step - 1, stream)
