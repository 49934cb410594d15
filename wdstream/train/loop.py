"""The training loop: plan, take, step, exchange, record; evaluate and save when due.

for each step of the plan:
    batches = this rank's micro-batches           (pipeline.py)
    outcome = forward, backward, update           (train/step.py)
    figures = one small gather over the ranks     (train/exchange.py)
    metrics, ledger, quarantine                   (main process)
    evaluation, checkpoint                        when due, or when asked to stop
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from itertools import islice
from time import perf_counter
from typing import Any

from wdstream.config import Config
from wdstream.errors import TrainError
from wdstream.records import StepPlan
from wdstream.train.desk import Desk, Progress, advance, evaluate_all, known_bad, note, open_desk, save, step_metrics
from wdstream.train.exchange import bytes_digest, exchange
from wdstream.train.export import export_final
from wdstream.train.lock import locked
from wdstream.train.run import Run, find_start, open_run
from wdstream.train.selfcheck import check_no_leak
from wdstream.train.signals import StopSignals
from wdstream.train.step import Batch, train_step


def train(config: Config) -> bool:
    """Run, or go on with, a training run until its last step.

    Returns:
        False when a signal or `train.stop_after` ended it early, with a checkpoint to go on from.

    Raises:
        WdstreamError: anything a user can put right.
    """
    run = open_run(config)
    with locked(run.output) if run.is_main else nullcontext():
        return train_locked(run)


def train_locked(run: Run) -> bool:
    """`train` for a run whose output folder is held by its main process."""
    checkpoint, messages = find_start(run)
    progress, stream = Progress(), None
    if checkpoint is not None:
        run.plan.resume(checkpoint.stream)  # another plan's checkpoint is refused before anything is touched
        run.checkpoints.load(checkpoint)
        progress, stream = Progress(**checkpoint.trainer), checkpoint.stream
        messages.append(f"going on from {checkpoint.path} ({checkpoint.world_size} processes wrote it)")
    desk = open_desk(run, progress, messages)
    try:
        is_finished = progress.step >= run.total_steps or run_steps(run, desk, progress, stream)
    finally:
        desk.metrics.close()
    if is_finished:
        export_final(run.engine, source=run.config.model.path, folder=run.output / "final")
        desk.metrics.say(f"finished after {run.total_steps} steps: {run.output / 'final'}")
    run.engine.accelerator.end_training()
    return is_finished


def run_steps(run: Run, desk: Desk, progress: Progress, stream: Mapping[str, Any] | None) -> bool:
    """The loop itself; True when the last step is done, False when asked to stop before."""
    train, first = run.config.train, progress.step
    with StopSignals() as signals, run.loader(run.plan, stream, known_bad(desk)) as loader:
        for plan in planned_steps(run, stream):
            began = perf_counter()
            batches = take(loader, plan, run.micro_batches)
            waited = perf_counter() - began
            if plan.step == first:
                check_no_leak(run.engine, batches[0])
            rate = run.rate(plan.step)
            outcome = train_step(run.engine, batches, num_supervised=plan.num_supervised, rate=rate)
            figures = exchange(
                run.engine.accelerator,
                plan,
                batches,
                outcome,
                wait_seconds=waited,
                is_stopping=signals.is_requested,
            )
            sha256 = bytes_digest(batches) if train.record_bytes else None
            advance(progress, plan)
            note(run, desk, progress, step_metrics(run, plan, figures, perf_counter() - began), figures, sha256)
            is_last = progress.step == run.total_steps
            is_stopping = figures.is_stopping or progress.step - first == train.stop_after
            if is_last or (train.eval_every and progress.step % train.eval_every == 0):
                evaluate_all(run, desk, plan.step)
            if is_last or is_stopping or progress.step % train.checkpoint_every == 0:
                save(run, desk, progress, loader.state_dict())
            if is_stopping and not is_last:
                desk.metrics.say(f"stopped before step {progress.step} with a checkpoint; the same command continues")
                return False
    return True


def planned_steps(run: Run, stream: Mapping[str, Any] | None) -> Iterator[StepPlan]:
    """The steps from `stream` to the last one of the run."""
    steps = run.plan.steps(stream, world_size=run.world.size, micro_batch_size=run.config.train.micro_batch_size)
    with closing(steps):
        for plan in steps:
            if plan.step >= run.total_steps:
                return
            yield plan


def take(loader: Iterator[Batch], plan: StepPlan, count: int) -> list[Batch]:
    """This rank's micro-batches of a step.

    Raises:
        TrainError: the loader is at another step, or at its end.
    """
    batches = list(islice(loader, count))
    steps = {batch["step"] for batch in batches}
    if len(batches) != count or steps != {plan.step}:
        raise TrainError(
            f"step {plan.step}: expected {count} micro-batches of it from the loader, found {len(batches)} of steps "
            f"{sorted(steps)}; the stream and the plan have come apart, please report this"
        )
    return batches
