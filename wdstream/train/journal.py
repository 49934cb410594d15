"""What a run writes and prints while it trains, on the main process: metrics, ledger, quarantine, evaluations."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Thread

from accelerate.utils import broadcast_object_list

from wdstream.batches.batch import Batch
from wdstream.errors import WdstreamError
from wdstream.nodes.node import State
from wdstream.records import Failure
from wdstream.runs.layout import StepLine
from wdstream.runs.losses import LossRows
from wdstream.runs.record import RunRecord, start_record
from wdstream.storage.json_lines import read_lines
from wdstream.train.contents import StepContents
from wdstream.train.evaluate.generated_pages import save_pages
from wdstream.train.evaluate.sets import SetReport
from wdstream.train.saving.checkpoint import SaveTimes
from wdstream.train.setup import Run
from wdstream.train.step.exchange import StepFigures
from wdstream.train.watch.flops import StepCost, cost_shares, device_peak
from wdstream.train.watch.metrics import LogSettings, Metrics
from wdstream.train.watch.page_losses import PageWatch
from wdstream.train.watch.summary import StepMetrics

_SAY_EVERY = 12
"""The ranks look every 5 s whether a count is done that they wait for; one look of this many is printed."""


@dataclass(slots=True, kw_only=True)
class Counters:
    """What changes while a run lasts; saved as `trainer.json`.

    Attributes:
        step: next step.
        num_pages, num_tokens: trained so far.
        num_supervised: tokens that losses were computed on so far; failed pages have none.
    """

    step: int = 0
    num_pages: int = 0
    num_tokens: int = 0
    num_supervised: int = 0

    def count(self, contents: StepContents, figures: StepFigures) -> None:
        """Count a step as trained; of one that is skipped, the number alone."""
        self.step = contents.step + 1
        if contents.is_skipped:
            return
        self.num_pages += contents.num_pages
        self.num_tokens += contents.num_tokens
        self.num_supervised += figures.num_supervised


class Journal:
    """Writes and prints on the main process; on the others it does nothing.

    Args:
        run: whose folder is written to; its files are cut back to the step that this start begins with.
        counters: as this start begins.
        messages: printed first.
    """

    def __init__(self, run: Run, counters: Counters, messages: Sequence[str]) -> None:
        self._run = run
        self._num_waits = 0
        self._has_total = False
        self._record: RunRecord | None = None
        changes: list[str] = []
        if run.is_main:
            run.files.output.mkdir(parents=True, exist_ok=True)
            self._record, changes = start_record(
                run.files,
                run.config,
                fingerprints=run.stream.fingerprints,
                data=run.stream.data,
                step=counters.step,
                world_size=run.world.size,
                origin=run.origin,
                init=None if run.init is None else run.init.facts(),
            )
            if run.origin is not None and run.start is not None:
                self.add_state(counters.step - 1, run.start.stream)
        self.metrics = Metrics(
            run.files,
            first_step=counters.step,
            total_steps=run.total.known,
            log=log_settings(run),
            trackers=run.trackers,
            is_main=run.is_main,
        )
        self.pages = PageWatch(run)
        for message in (*messages, *changes):
            self.metrics.say(message)

    def _note_total(self) -> None:
        total = self._run.total.known
        if self._record is not None and total is not None and not self._has_total:
            self._has_total = True
            self._record.note_total(total)

    def say_counting(self, steps: int) -> None:
        """Say that the ranks wait for the count of the run's steps, and how far it is; not each time."""
        self._num_waits += 1
        if self._num_waits % _SAY_EVERY != 1:
            return
        self.metrics.say(
            f"the learning rate needs the number of steps of the run, which are being counted: {steps:,} so far; "
            "`wdstream plan` counts them before a run, and keeps the number next to the index"
        )

    def say_later(self, notes: Callable[[], Sequence[str]]) -> None:
        """On the main process, say what takes a while to find out, when it is found; training does not wait for it."""

        def find() -> None:
            try:
                found = notes()
            except WdstreamError as error:  # of a part of the data that no step has come to yet
                found = [str(error)]
            for note in found:
                self.metrics.say(note)

        if self._run.is_main:
            Thread(target=find, daemon=True).start()

    def known_bad(self) -> tuple[Failure, ...]:
        """Pages that failed before this start, the same on every rank; all ranks call it together."""
        failures = [() if self._record is None else self._record.quarantine.before]
        broadcast_object_list(failures)
        return failures[0]

    def evaluated(self, step: int) -> list[str]:
        """Sets whose evaluation after a step is written down, the same on every rank; all ranks call it together."""
        names: list[list[str]] = [[]]
        if self._run.is_main:
            lines = read_lines(self._run.files.evaluations, needed=("step", "name"))
            names = [[line["name"] for line in lines if line["step"] == step]]
        broadcast_object_list(names)
        return names[0]

    def add_step(
        self, counters: Counters, contents: StepContents, figures: StepFigures, *, seconds: float, sha256: str | None
    ) -> None:
        """Write down a step.

        Args:
            counters: the step included.
            contents: what it held.
            figures: what came out.
            seconds: from the end of the step before to the end of this one.
            sha256: over all its bytes, when they are recorded.

        Raises:
            TrainError: more pages failed than allowed.
        """
        self.metrics.total_steps = self._run.total.known
        if contents.is_skipped:
            self.metrics.say(f"step {contents.step}: skipped, {contents.num_pages} pages are not trained on")
        else:
            self.metrics.add(self._step_metrics(contents, figures, seconds))
        if self._record is None:
            return
        self._note_total()
        line: StepLine = {
            "step": contents.step,
            "digest": figures.digest,
            "world_size": self._run.world.size,
            "pages": contents.num_pages,
            "supervised": contents.num_supervised,
            "failed": len(figures.failures),
        }
        if sha256 is not None:
            line["sha256"] = sha256
        if contents.is_skipped:
            line["skipped"] = True
        elif self._run.config.train.spike_threshold is not None and figures.num_supervised:
            line["loss"] = figures.loss
        self._record.steps.append(line)
        if contents.keys is not None:
            self._record.add_pages(contents.step, contents.keys)
        if contents.state is not None:
            self._record.add_state(contents.step, contents.state)
        self._record.rejects.add(contents.unfit, step=contents.step)
        self._record.quarantine.add(figures.failures, step=contents.step)
        self._record.quarantine.check(counters.num_pages)

    def _step_metrics(self, contents: StepContents, figures: StepFigures, seconds: float) -> StepMetrics:
        run = self._run
        limit = run.config.train.max_grad_norm
        return StepMetrics(
            contents=contents,
            figures=figures,
            lr=run.rate(contents.step),
            learning=run.learning_figures(contents.step, figures.z_loss),
            seconds=seconds,
            fill_tokens=contents.num_tokens / (contents.num_packs * run.config.data.sequence_length),
            fill_patches=contents.num_patches / (contents.num_packs * run.config.data.max_patches),
            is_clipped=limit is not None and figures.grad_norm > limit,
            flops=step_flops(run, contents) if run.is_main else None,
            epochs=run.stream.epochs() if run.is_main else {},
        )

    def add_pages(self, step: int, figures: StepFigures, batches: Sequence[Batch], rows: LossRows | None) -> None:
        """Write down what the pages of a step did to its loss; `rows` are this rank's. All ranks call it together."""
        spike = self.pages.add(step, figures, batches, rows)
        if spike is not None:
            self.metrics.say(spike)

    def add_state(self, step: int, stream: State) -> None:
        """Write down the stream's state after a step, from which `wdstream trace` can plan on."""
        if self._record is not None:
            self._record.add_state(step, stream)

    def add_saves(self, times: Iterable[SaveTimes]) -> None:
        """Write down, and print, how long checkpoints took."""
        for each in times:
            if self._record is not None:
                self._record.saves.append(
                    {"step": each.step - 1, "written_s": each.written_s, "waited_s": each.waited_s}
                )
            self.metrics.say(
                f"checkpoint step-{each.step:08d} written in {each.written_s:.1f} s, "
                f"for which training waited {each.waited_s:.1f} s"
            )

    def sync(self) -> None:
        """Wait until all that was written down is on the disk. All ranks call it together."""
        self.pages.losses.write()
        if self._record is not None:
            self._run.files.sync()

    def add_evaluation(self, step: int, name: str, report: SetReport) -> None:
        """Write down what an evaluation set gave after a step, and keep the pages that the model wrote."""
        if report.is_empty:
            self.metrics.say(f"step {step}: eval {name}: no page of it could be evaluated, so there is no loss")
        else:
            self.metrics.add_eval(step, name, report.figures())
        for line in report.lines():
            self.metrics.say(line)
        if self._run.is_main and report.written is not None:
            save_pages(self._run.files.generated_pages(name, step), report.written)


def log_settings(run: Run) -> LogSettings:
    """How a run is written down."""
    train = run.config.train
    peak = device_peak(run.engine.dtype) if train.peak_tflops is None else train.peak_tflops * 1e12
    return LogSettings(
        every=train.log_every,
        form=train.log_format,
        devices=run.world.size,
        peak=peak,
        has_board="tensorboard" in train.trackers,
    )


def step_flops(run: Run, contents: StepContents) -> float | None:
    """FLOPs of the model in a step, over all ranks; None where no plan tells."""
    cost = run.engine.family.cost
    weights = cost.per_token * contents.num_tokens
    if not contents.language_cost:
        return None
    whole = StepCost(weights=weights, attention=contents.language_cost - weights, vision=contents.vision_cost)
    return cost_shares(run.engine.model.named_parameters()).flops(whole)
