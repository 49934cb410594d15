"""The training loop: take, step, exchange, record; evaluate and save when due.

for each step:
    batches = this rank's micro-batches           (pipeline/planned.py, pipeline/streamed.py)
    contents = of the step over all ranks         (stream.py)
    outcome = forward, backward, update           (step/step.py)
    figures = one small gather over the ranks     (step/exchange.py)
    metrics, ledger, quarantine                   (journal.py, main process)
    evaluation, checkpoint                        when due, or when asked to stop
"""

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from time import perf_counter
from uuid import uuid4

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config
from wdstream.errors import TrainError, interrupt_of
from wdstream.plan.summary import held_out_notes
from wdstream.runs.layout import RunLayout
from wdstream.runs.losses import LossRows
from wdstream.runs.record import run_lock
from wdstream.train.contents import StepContents
from wdstream.train.evaluate.sets import measure_set
from wdstream.train.journal import Counters, Journal
from wdstream.train.launch.accelerator import start_accelerator
from wdstream.train.launch.signals import StopSignals
from wdstream.train.launch.statuses import StartOfRun, forget_failures
from wdstream.train.model.init import load_optimizer
from wdstream.train.optimizer.resumed import load_start, rate_notes
from wdstream.train.optimizer.schedule_free import averaged_weights
from wdstream.train.saving.clock import SaveClock
from wdstream.train.saving.export import export_final
from wdstream.train.saving.exported import exported_from
from wdstream.train.saving.keep_best import BestSoFar
from wdstream.train.saving.model_card import FolderNotes
from wdstream.train.saving.together import from_main
from wdstream.train.setup import Run, open_run
from wdstream.train.step.exchange import StepFigures, bytes_digest, exchange
from wdstream.train.step.failing_step import named_loading, named_step
from wdstream.train.step.isolation_check import check_no_leak
from wdstream.train.step.skipped import NOTHING_TRAINED
from wdstream.train.step.step import StepOutcome, train_step
from wdstream.train.watch.profile import Profiler


def train(config: Config, signals: StopSignals, start: StartOfRun) -> bool:
    """Begin or continue a training run, until its last step.

    Args:
        config: of the run.
        signals: entered; that ask to stop.
        start: which gets its name here.

    Returns:
        False when a signal or `train.stop_after` ended it early, with a checkpoint to continue from.

    Raises:
        WdstreamError: anything a user can put right.
    """
    accelerator = start_accelerator(config)
    start.name = from_main(lambda: uuid4().hex, is_main=accelerator.is_main_process)
    with run_lock(config.train.output) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            forget_failures(RunLayout(config.train.output), start.name)
        run = open_run(config, accelerator)
        is_finished = train_run(run, signals)
        del run
        if accelerator.num_processes > 1:
            gc.collect()  # the wrapped model goes before its process group, whose end it would else be: that can hang
        accelerator.end_training()
    return is_finished


def train_run(run: Run, signals: StopSignals) -> bool:
    """`train` for a run whose output folder is held by its main process."""
    counters, messages = restore(run)
    messages += restore_average(run, counters.step)
    evaluated = [f"data.eval: {note}" for _, plan in run.eval_plans for note in held_out_notes(plan.datasets)]
    journal = Journal(run, counters, [*messages, *run.stream.notes, *evaluated])
    run.total.on_wait = journal.say_counting
    journal.say_later(run.stream.slow_notes)
    state = None if run.start is None else run.start.stream
    try:
        with run.stream.open(state, journal.known_bad()):
            is_finished = Loop(run, counters, journal, signals).run()
    except (KeyboardInterrupt, Exception) as error:
        if interrupt_of(error) is not None:
            run.checkpoints.abandon()
        raise
    finally:
        run.checkpoints.close()
        run.total.close()
        journal.metrics.close()
    if is_finished:
        with run.average_in_use("final_with"), averaged_weights(run.engine.optimizer):
            source = run.config.model.path
            export_final(run.engine, source=source, folder=run.files.final, notes=final_notes(run, counters))
        journal.metrics.say(f"finished after {counters.step} steps: {run.files.final}")
    return is_finished


def restore(run: Run) -> tuple[Counters, list[str]]:
    """Load the checkpoint that a run continues from, if any: its counters, and messages for the user."""
    if run.start is None:
        if run.init is not None and run.config.model.init_optimizer:
            load_optimizer(run.engine.optimizer, run.init)
        return Counters(), list(run.messages)
    with named_loading(f"{run.start.path} was loaded"):
        load_start(run, run.start)
    message = f"continuing from {run.start.path} ({run.start.world_size} processes wrote it)"
    unknown = {"num_supervised": 1}  # in a checkpoint of before, which is not to count as none
    names = {entry.name for entry in fields(Counters)}
    saved = {name: value for name, value in run.start.trainer.items() if name in names}
    counters = Counters(**{**unknown, **saved})
    notes = rate_notes(run, counters.step) if run.is_main else []
    return counters, [*run.messages, message, *notes]


def restore_average(run: Run, step: int) -> list[str]:
    """Load or begin the average of the weights, if one is wanted; a message where an earlier start kept none."""
    folder = None if run.start is None else run.start.path
    if run.average is None or run.average.restore(step, folder):
        return []
    return [f"train.ema: {folder} holds no average, so it begins now, before step {step}"]


def final_notes(run: Run, counters: Counters) -> FolderNotes:
    """What the result of a run says of itself."""
    config = run.config
    base = str(config.model.path.absolute())
    return FolderNotes(
        exported=exported_from(config, base=base, step=counters.step, is_merged=False),
        run=run.files.output,
        counters=asdict(counters),
        dtype=str(run.engine.dtype).removeprefix("torch."),
        is_adapter=config.train.adapter is not None,
        is_average=config.train.ema is not None and config.train.ema.final_with == "ema",
    )


class Loop:
    """The steps of one start.

    Args:
        run: all that stays the same; its stream is open at the first step.
        counters: all that changes; kept up to date.
        journal: where steps are written down.
        signals: that ask to stop.
    """

    def __init__(self, run: Run, counters: Counters, journal: Journal, signals: StopSignals) -> None:
        self._run = run
        self._counters = counters
        self._journal = journal
        self._signals = signals
        self._profiler = Profiler(run.files, run.config.train.profile, run.world.rank)
        self._first = counters.step
        self._saved = counters.step if run.origin is None else None  # what another run saved is not in this one
        self._is_proven = False
        self._clock = SaveClock(run.config.train.checkpoint_minutes)
        self._best = BestSoFar(run.config.train.keep_best, run.files, is_main=run.is_main)
        self._evaluated = {(counters.step, name) for name in journal.evaluated(counters.step - 1)}

    def run(self) -> bool:
        """Train until the last step is done, or until asked to stop: False then."""
        train, counters, total = self._run.config.train, self._counters, self._run.total
        is_last = self._is_at_end()
        if self._first and (is_last or is_due(train.eval_every, self._first)):
            self._evaluate()  # what the start before was stopped in, or before
        while not is_last:
            if not self._run.can_rate(counters.step, lambda: self._signals.is_requested):
                return self._stop()
            with self._profiler.around(counters.step):
                figures = self._step()
            is_last = figures is None or self._is_at_end()
            is_stopping = figures is not None and (
                figures.is_stopping or counters.step - self._first == train.stop_after
            )
            if is_last or is_stopping or self._is_save_due(figures):
                self._save()
            if is_last or (not is_stopping and is_due(train.eval_every, counters.step)):
                self._evaluate()  # after the checkpoint, which must not be lost with it
            if is_stopping and not is_last:
                return self._stop()
        self._finish_saving()
        if total.ends_with_data and self._first < counters.step:
            require_end(run=self._run, step=counters.step)
        require_trained(counters)
        return True

    def _stop(self) -> bool:
        """Leave before the next step, with a checkpoint; False, as the run is not finished."""
        self._save()
        self._finish_saving()
        step = self._counters.step
        how = " with a checkpoint; the same command continues" if step else "; the same command begins again"
        self._journal.metrics.say(f"stopped before step {step}{how}")
        return False

    def _is_at_end(self) -> bool:
        """Whether the run has all its steps, as far as they are counted."""
        return self._run.total.known is not None and self._counters.step >= self._run.total.known

    def _step(self) -> StepFigures | None:
        """One step; None, and nothing done, when the data ended before it."""
        run, began = self._run, perf_counter()
        batches = run.stream.take(self._counters.step)
        waited = perf_counter() - began
        if not batches:
            run.total.learn_end(self._counters.step)
            require_end(run=run, step=self._counters.step)
            return None
        contents = run.stream.contents(self._counters.step, batches)
        if contents is None:
            return None
        contents = replace(contents, is_skipped=run.config.train.skips(contents.step))
        outcome, rows = (NOTHING_TRAINED, None) if contents.is_skipped else self._train(contents, batches)
        if run.average is not None:
            run.average.update(contents.step, is_skipped=contents.is_skipped)
        is_stopping = self._signals.is_requested
        figures = exchange(
            run.engine.accelerator,
            contents,
            batches,
            outcome,
            wait_seconds=waited,
            is_stopping=is_stopping,
            data_steps=run.total.news(),
            is_save_due=self._clock.is_due,
            has_failed_save=run.checkpoints.has_failed,
            dataset_losses=self._journal.pages.losses.by_dataset(rows),
        )
        if figures.has_failed_save:
            run.checkpoints.fail()
        if contents.step == self._first:
            run.checkpoints.reserve()
        run.total.learn(figures.data_steps)
        require_supervised(contents, figures)
        sha256 = bytes_digest(batches) if run.config.train.record_bytes else None
        self._counters.count(contents, figures)
        self._journal.add_step(self._counters, contents, figures, seconds=perf_counter() - began, sha256=sha256)
        self._journal.add_saves(run.checkpoints.times())
        if not contents.is_skipped:
            self._journal.add_pages(contents.step, figures, batches, rows)
        return figures

    def _train(self, contents: StepContents, batches: Sequence[Batch]) -> tuple[StepOutcome, LossRows | None]:
        """Forward, backward and update of a step, and the losses of this rank's pages where they are needed; before the
        first one, isolation is proven on its data."""
        run = self._run
        if not self._is_proven:
            self._is_proven = True
            check_no_leak(run.engine, batches[0])
        rates = run.rates(contents.step)
        losses = self._journal.pages.losses
        with (
            named_step(contents.step, batches, run.config.train.output),
            run.engine.head.keeping_token_losses(losses.are_needed) as kept,
        ):
            outcome = train_step(run.engine, batches, num_supervised=contents.num_supervised, rate=rates)
        return outcome, losses.of_step(contents.step, batches, kept)

    def _evaluate(self) -> None:
        """Every evaluation set, once after the last step done."""
        run, step = self._run, self._counters.step
        for name, plan in run.eval_plans:
            if (step, name) in self._evaluated:
                continue
            self._evaluated.add((step, name))
            metrics, average, own = (
                self._journal.metrics,
                run.average_in_use("eval_with"),
                averaged_weights(run.engine.optimizer),
            )
            with metrics.timed("evaluating"), metrics.work(f"evaluating {name}") as on_progress, average, own:
                report = measure_set(run.engine, plan, config=run.config, world=run.world, on_progress=on_progress)
            self._journal.add_evaluation(step - 1, name, report)
            best = None if report.is_empty else self._best.improved(step, name, report.figures())
            if best is not None:
                self._save()  # unless the step has a checkpoint anyway
                run.checkpoints.note_best(best)

    def _is_save_due(self, figures: StepFigures | None) -> bool:
        train, step = self._run.config.train, self._counters.step
        is_time = figures is not None and figures.is_save_due
        return is_time or is_due(train.checkpoint_every, step) or is_due(train.keep_every, step)

    def _save(self) -> None:
        """A checkpoint of the state before the next step, once."""
        if self._saved == self._counters.step:
            return
        self._saved = step = self._counters.step
        self._clock.restart()
        with self._journal.metrics.timed("saving"):
            stream = self._run.stream.state()
            self._journal.add_state(step - 1, stream)
            self._journal.sync()  # what the checkpoint counts as done must not be lost when it is not
            trainer = asdict(self._counters) | self._run.saved()
            self._run.checkpoints.save(step, stream=stream, trainer=trainer)
        self._journal.add_saves(self._run.checkpoints.times())

    def _finish_saving(self) -> None:
        """Wait for the checkpoint that a thread may still be writing."""
        self._run.checkpoints.wait()
        self._journal.add_saves(self._run.checkpoints.times())


def require_end(*, run: Run, step: int) -> None:
    """Compare the end of the data with how many steps were counted. All ranks call it together.

    Raises:
        TrainError: they end elsewhere.
    """
    counted, is_over = run.total.wait(), run.stream.is_over()
    if not is_over or counted != step:
        raise TrainError(
            f"{counted} steps were counted, and the data {'end' if is_over else 'do not end'} after {step}: the "
            "learning rate followed a wrong number. Remove index/steps.*.json of the shards, see whether they changed "
            "during the run, and report this if they did not"
        )


def require_supervised(contents: StepContents, figures: StepFigures) -> None:
    """Refuse a step whose pages teach nothing, though all of them were read: the weights are as before it.

    Raises:
        TrainError: says how many pages it has.
    """
    if contents.num_pages and not (contents.num_supervised or figures.failures or contents.is_skipped):
        raise TrainError(
            f"step {contents.step}: none of the {contents.num_tokens} tokens of its {contents.num_pages} pages is "
            "supervised, so there is nothing to train on; `wdstream show` says of each token why (a planned run), and "
            "rows need text, or a turn with train: true"
        )


def require_trained(counters: Counters) -> None:
    """Refuse the end of a run in which no page could be trained on, so that the weights are as they were.

    Raises:
        TrainError: says how many pages there were.
    """
    if not counters.num_supervised:
        raise TrainError(
            f"none of the {counters.num_pages} pages of {counters.step} steps could be trained on, so the model is as "
            "it was: quarantine.jsonl and rejects.jsonl of the run say why for each"
        )


def is_due(every: int | None, step: int) -> bool:
    """Whether what is done once in `every` steps is done before this one."""
    return every is not None and step % every == 0
