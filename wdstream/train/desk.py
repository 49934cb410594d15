"""The main process's desk: what each step leaves in metrics, ledger and quarantine, and the counters of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate.utils import broadcast_object_list

from wdstream.records import StepPlan
from wdstream.train.evaluate import evaluate
from wdstream.train.exchange import StepFigures
from wdstream.train.metrics import Metrics, StepMetrics
from wdstream.train.quarantine import Quarantine
from wdstream.train.record import RunRecord
from wdstream.train.run import Run


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
class Desk:
    """Where the main process writes; `record` and `quarantine` are None on the others."""

    metrics: Metrics
    record: RunRecord | None
    quarantine: Quarantine | None


def advance(progress: Progress, plan: StepPlan) -> None:
    """Count a step as trained."""
    progress.step = plan.step + 1
    progress.num_pages += sum(len(pack.samples) for pack in plan.packs)
    progress.num_tokens += sum(sum(pack.tokens) for pack in plan.packs)


def step_metrics(run: Run, plan: StepPlan, figures: StepFigures, seconds: float) -> StepMetrics:
    """The figures of a step: what the ranks found, and what the plan says of it."""
    data = run.config.data
    num_tokens = sum(sum(pack.tokens) for pack in plan.packs)
    num_patches = sum(sum(pack.patches) for pack in plan.packs)
    return StepMetrics(
        step=plan.step,
        loss=figures.loss,
        lr=run.rate(plan.step),
        grad_norm=figures.grad_norm,
        seconds=seconds,
        wait_seconds=figures.wait_seconds,
        num_supervised=plan.num_supervised,
        num_tokens=num_tokens,
        num_patches=num_patches,
        num_pages=sum(len(pack.samples) for pack in plan.packs),
        fill_tokens=num_tokens / (len(plan.packs) * data.sequence_length),
        fill_patches=num_patches / (len(plan.packs) * data.max_patches),
        straggler=run.plan.straggler(plan, micro_batch_size=run.config.train.micro_batch_size),
    )


def open_desk(run: Run, progress: Progress, messages: list[str]) -> Desk:
    """Open what the main process writes, cut back to the step the run goes on from."""
    record = quarantine = None
    if run.is_main:
        run.output.mkdir(parents=True, exist_ok=True)
        record = RunRecord(run.output)
        messages += record.start(
            run.config, fingerprints=run.plan.fingerprints, step=progress.step, world_size=run.world.size
        )
        quarantine = Quarantine(run.output / "quarantine.jsonl", max_bad_fraction=run.config.data.max_bad_fraction)
    metrics = Metrics(
        run.output,
        first_step=progress.step,
        total_steps=run.total_steps,
        log_every=run.config.train.log_every,
        is_main=run.is_main,
    )
    for message in messages:
        metrics.say(message)
    return Desk(metrics=metrics, record=record, quarantine=quarantine)


def known_bad(desk: Desk) -> dict[int, str]:
    """Samples that failed before this start and why, the same on every rank; all ranks call it together."""
    found: list[dict[int, str]] = [{} if desk.quarantine is None else desk.quarantine.reasons]
    broadcast_object_list(found)
    return found[0]


def note(
    run: Run, desk: Desk, progress: Progress, metrics: StepMetrics, figures: StepFigures, sha256: str | None
) -> None:
    """Write down a step on the main process; `sha256` is of its bytes, when they are recorded.

    Raises:
        TrainError: more pages failed than allowed.
    """
    desk.metrics.add(metrics)
    if desk.record is not None:
        desk.record.add_step(
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
    if desk.quarantine is not None:
        desk.quarantine.add(figures.failures, step=metrics.step)
        desk.quarantine.check(progress.num_pages)


def evaluate_all(run: Run, desk: Desk, step: int) -> None:
    """The loss over every evaluation set, after `step`."""
    for name, plan in run.eval_plans:
        with run.loader(plan) as loader:
            figures = evaluate(run.engine, loader)
        desk.metrics.add_eval(
            step, name, {"loss": figures.loss, "tokens": figures.num_tokens, "pages": figures.num_pages}
        )


def save(run: Run, desk: Desk, progress: Progress, stream: Mapping[str, Any]) -> None:
    """Write a checkpoint of the state before `progress.step`."""
    run.checkpoints.save(progress.step, stream=stream, trainer=progress.as_dict())
    if desk.record is not None:
        desk.record.add_state(progress.step - 1, stream)
