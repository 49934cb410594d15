"""The training loop: take, step, exchange, record; evaluate and save when due.

for each step:
    batches = this rank's micro-batches           (pipeline/planned.py, pipeline/streamed.py)
    contents = of the step over all ranks         (stream.py)
    outcome = forward, backward, update           (step.py)
    figures = one small gather over the ranks     (exchange.py)
    metrics, ledger, quarantine                   (main process)
    evaluation, checkpoint                        when due, or when asked to stop
"""

from contextlib import nullcontext
from time import perf_counter

from wdstream.config.schema import Config
from wdstream.runs.record import run_lock
from wdstream.train.exchange import StepFigures, bytes_digest, exchange
from wdstream.train.export import export_final
from wdstream.train.isolation_check import check_no_leak
from wdstream.train.journal import (
    Journal,
    Progress,
    advance,
    evaluate_all,
    known_bad,
    note,
    note_contents,
    open_journal,
    save,
    step_metrics,
)
from wdstream.train.launch import StopSignals, start_accelerator
from wdstream.train.setup import Run, open_run
from wdstream.train.step import train_step
from wdstream.train.stream import OpenStream
from wdstream.train.zero import keep_clipping


def train(config: Config) -> bool:
    """Run, or go on with, a training run until its last step.

    Returns:
        False when a signal or `train.stop_after` ended it early, with a checkpoint to go on from.

    Raises:
        WdstreamError: anything a user can put right.
    """
    accelerator = start_accelerator(config)
    with run_lock(config.train.output) if accelerator.is_main_process else nullcontext():
        run = open_run(config, accelerator)
        is_finished = train_run(run)
        accelerator.end_training()
    return is_finished


def train_run(run: Run) -> bool:
    """`train` for a run whose output folder is held by its main process."""
    progress, messages = Progress(), list(run.messages)
    if run.start is not None:
        run.checkpoints.load(run.start)
        keep_clipping(run.engine.accelerator, run.engine.optimizer, run.config.train.max_grad_norm)
        progress = Progress(**run.start.trainer)
        messages.append(f"going on from {run.start.path} ({run.start.world_size} processes wrote it)")
    journal = open_journal(run, progress, messages)
    try:
        is_finished = run_steps(run, journal, progress)
    finally:
        journal.metrics.close()
    if is_finished:
        export_final(run.engine, source=run.config.model.path, folder=run.output / "final")
        journal.metrics.say(f"finished after {progress.step} steps: {run.output / 'final'}")
    return is_finished


def run_steps(run: Run, journal: Journal, progress: Progress) -> bool:
    """The loop itself; True when the last step is done, False when asked to stop before."""
    train, first = run.config.train, run.first_step
    evaluated = saved = first
    state = None if run.start is None else run.start.stream
    with StopSignals() as signals, run.stream.open(state, known_bad(journal)) as stream:
        is_last = first >= run.total_steps
        while not is_last:
            figures = run_step(run, journal, progress, stream, signals)
            is_last = figures is None or progress.step == run.total_steps
            is_stopping = figures is not None and (figures.is_stopping or progress.step - first == train.stop_after)
            if evaluated < progress.step and (is_last or is_due(train.eval_every, progress.step)):
                evaluate_all(run, journal, progress.step - 1)
                evaluated = progress.step
            if saved < progress.step and (is_last or is_stopping or is_due(train.checkpoint_every, progress.step)):
                save(run, journal, progress, stream.state())
                saved = progress.step
            if is_stopping and not is_last:
                journal.metrics.say(
                    f"stopped before step {progress.step} with a checkpoint; the same command continues"
                )
                return False
    return True


def is_due(every: int | None, step: int) -> bool:
    """Whether what is done every so many steps is done before this one."""
    return every is not None and step % every == 0


def run_step(
    run: Run, journal: Journal, progress: Progress, stream: OpenStream, signals: StopSignals
) -> StepFigures | None:
    """One step; None, and nothing done, when the data ended before it."""
    began = perf_counter()
    batches = stream.take(progress.step)
    waited = perf_counter() - began
    contents = stream.contents(progress.step, batches)
    if contents is None:
        return None
    if contents.step == run.first_step:
        check_no_leak(run.engine, batches[0])
    rate = run.rate(contents.step)
    outcome = train_step(run.engine, batches, num_supervised=contents.num_supervised, rate=rate)
    figures = exchange(
        run.engine.accelerator, contents, batches, outcome, wait_seconds=waited, is_stopping=signals.is_requested
    )
    sha256 = bytes_digest(batches) if run.config.train.record_bytes else None
    advance(progress, contents)
    note(run, journal, progress, step_metrics(run, contents, figures, perf_counter() - began), figures, sha256)
    note_contents(journal, contents)
    return figures
