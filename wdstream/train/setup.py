"""A run put together: accelerator, plan, model, optimizer, checkpoints and records, each from its own file."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, PlanError, WdstreamError
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.totals import SMALL_COUNT, StepCounter, kept_total, total_key
from wdstream.plan.summary import no_step
from wdstream.records import World
from wdstream.runs.checkpoint import Checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.train.before import prove_start
from wdstream.train.engine import engine_notes, open_engine
from wdstream.train.evaluate.generated_pages import check_generation
from wdstream.train.evaluate.sets import plan_sets
from wdstream.train.launch.accelerator import is_sharded, world_of
from wdstream.train.launch.same_start import Opened, require_same_start
from wdstream.train.launch.zero import zero_stage
from wdstream.train.memory.sync import settle_estimated
from wdstream.train.model.adapter import require_unsharded
from wdstream.train.model.ema import AverageWeights, Purpose, require_averaged
from wdstream.train.model.init import WarmStart, warm_start
from wdstream.train.model.kernels import require_kernel_device, require_kernels
from wdstream.train.optimizer.groups import (
    group_rates,
    groups_digest,
    learning_figures,
)
from wdstream.train.optimizer.optimizer import groups_with_state, require_package
from wdstream.train.optimizer.rates import check_stages, learning_rate, needs_total
from wdstream.train.saving.checkpoint import Checkpoints
from wdstream.train.saving.start import check_start, find_start, open_checkpoints
from wdstream.train.step.objective import objective_of
from wdstream.train.step.skipped import require_steps, require_untrained
from wdstream.train.step.step import TrainEngine
from wdstream.train.stream import Stream, open_stream
from wdstream.train.total import RunTotal, steps_of_checkpoint
from wdstream.train.watch.profile import check_profile
from wdstream.train.watch.trackers import Trackers, check_trackers


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that stays the same while a run lasts.

    Attributes:
        config: as resolved.
        world: this process among all.
        stream: the training data.
        start: the checkpoint it continues from; None for a new run.
        messages: for the user, about checkpoints that were passed over.
        eval_plans: name and plan of each evaluation set.
        total: steps of the whole run; at most, where nobody knows when the data end.
        engine: what a step needs.
        checkpoints: of this run.
        average: of the weights (`train.ema`), or None.
        decays_tables: weight decay is on embeddings and position tables too, as in the runs of before.
        init: whose weights it began with in this start, or None.
        trackers: where its figures go next to its own files; on the main process.
    """

    config: Config
    world: World
    stream: Stream
    start: Checkpoint | None
    messages: tuple[str, ...]
    eval_plans: tuple[tuple[str, Plan], ...]
    total: RunTotal
    engine: TrainEngine
    checkpoints: Checkpoints
    average: AverageWeights | None = None
    decays_tables: bool = False
    init: WarmStart | None = None
    trackers: Trackers | None = None

    @property
    def files(self) -> RunLayout:
        """Everything that the run writes."""
        return RunLayout(self.config.train.output)

    @property
    def origin(self) -> Path | None:
        """The checkpoint of another run that this start begins with; None where it begins or continues its own."""
        if self.start is None or self.start.path.resolve().parent == self.files.checkpoints.resolve():
            return None
        return self.start.path

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.world.rank == 0

    def average_in_use(self, purpose: Purpose) -> AbstractContextManager[None]:
        """Inside, the average is in the weights' place, where `train.ema` wants it for this purpose."""
        return nullcontext() if self.average is None else self.average.in_use(purpose)

    def rate(self, step: int) -> float:
        """Learning rate of a step. Where that needs the steps of the run, and they are being counted, all ranks wait.

        Raises:
            PlanError: they cannot be counted.
        """
        return learning_rate(step, self.config.train, total_steps=self._total_for(step))

    def rates(self, step: int) -> tuple[float | None, ...]:
        """Learning rate of each group of the optimizer in a step; see `rate`."""
        return group_rates(self.engine.groups, step, self.config.train, total_steps=self._total_for(step))

    def learning_figures(self, step: int, z_loss: float) -> dict[str, float]:
        """For the metrics of a step: its stage, rates and weight decays that are not the run's, and the z-loss."""
        found = learning_figures(self.engine.own, step, self.config.train, total_steps=self._total_for(step))
        return found | ({"z_loss": z_loss} if self.config.train.z_loss else {})

    def saved(self) -> dict[str, int]:
        """For the checkpoint: what a later start has to do as this one does."""
        train = self.config.train
        groups = {"groups": groups_digest(self.engine.groups)} if train.parts or train.patterns or train.stages else {}
        if train.stages and (held := groups_with_state(self.engine.optimizer)):
            groups["groups_with_state"] = held
        return self.total.saved() | ({"spares_tables": 1} if self._spares_tables else {}) | groups

    @property
    def _spares_tables(self) -> bool:
        return not self.decays_tables and any(group.weight_decay for group in self.engine.groups)

    def _total_for(self, step: int) -> int:
        return (self.total.wait() if needs_total(step, self.config.train) else 0) or 0

    def can_rate(self, step: int, is_stopping: Callable[[], bool]) -> bool:
        """Whether the rate of a step is known, for which the ranks wait; False when one is asked to stop meanwhile.

        Raises:
            PlanError: the steps of the run cannot be counted.
        """
        return not needs_total(step, self.config.train) or self.total.wait(is_stopping) is not None


def open_run(config: Config, accelerator: Accelerator, *, world: World | None = None) -> Run:
    """Open the data, find the checkpoint to continue from, start the trackers, and load the model; nothing is written
    yet but what tells the trackers' runs.

    Args:
        config: of the run.
        accelerator: as `start_accelerator` gives it.
        world: which part of the data this process takes; None: as the accelerator numbers the processes.

    Raises:
        WdstreamError: see the parts.
    """
    check_generation(config, is_sharded=is_sharded(accelerator))
    require_packages(config, accelerator.device)
    require_unsharded(config.train.adapter, is_sharded=is_sharded(accelerator))
    world = world_of(accelerator) if world is None else world
    opened = try_stream(config, world)
    checkpoints = open_checkpoints(config, accelerator)
    start, messages = find_start(config, checkpoints)
    stream = require_same_start(config, accelerator, opened, start)
    check_start(config, checkpoints, stream, start)
    require_untrained(config, accelerator, next_step=0 if start is None else start.step)
    total = open_total(config, stream, start, is_main=accelerator.is_main_process)
    check_stages(config.train, total.known)
    check_profile(config.train.profile, total.known)
    if world.rank == 0:  # what one process finds of a model folder holds for all
        messages.append(prove_start(config, stream.family, is_new=start is None, stage=zero_stage(accelerator)))
    decays_tables = start is not None and not start.trainer.get("spares_tables")
    objective = objective_of(config, stream.dataset_offsets)
    init = None if start else warm_start(config, accelerator, messages)
    settled = settle_estimated(config, stream.family, accelerator, messages)
    trackers = open_trackers(config, start) if accelerator.is_main_process else None
    engine = open_engine(
        settled, accelerator, stream.family, decays_tables=decays_tables, objective=objective, init=init
    )
    if config.train.ema is not None:
        checkpoints.average = AverageWeights(engine.model, accelerator, config.train.ema)
    return Run(
        config=config,
        world=world,
        stream=stream,
        start=start,
        messages=(*messages, *engine_notes(config, engine, decays_tables=decays_tables)),
        eval_plans=opened.eval_plans,
        total=total,
        engine=engine,
        checkpoints=checkpoints,
        average=checkpoints.average,
        decays_tables=decays_tables,
        init=init,
        trackers=trackers,
    )


def require_packages(config: Config, device: torch.device) -> None:
    """Refuse trackers, optimizers and kernels whose package is absent, and kernels that this device does not run.

    Raises:
        WdstreamError: says what to install.
    """
    check_trackers(config.train)
    require_package(config.train)
    require_kernels(config.model)
    require_kernel_device(config.model, device)


def open_trackers(config: Config, start: Checkpoint | None) -> Trackers:
    """What the figures go to, before anything is loaded for which somebody would wait in vain.

    Raises:
        TrainError: a tracker does not start.
    """
    return Trackers(RunLayout(config.train.output), config, first_step=0 if start is None else start.step)


def open_total(config: Config, stream: Stream, start: Checkpoint | None, *, is_main: bool) -> RunTotal:
    """Steps of the whole run: `train.max_steps` or the epochs of the data, whichever ends first. All ranks together.

    Data of more than SMALL_COUNT pages are not counted here: the number is in the checkpoint, or next to the index, or
    a process begins to count.

    Raises:
        ConfigError: neither is given, or the data cannot tell; train.skip_steps come after the last one.
        PlanError: there is not one.
    """
    limit = config.train.max_steps
    if config.data.streaming is not None and limit is None:
        raise ConfigError(
            "train.max_steps: needed with data.streaming, because nobody knows how many steps tars without an index "
            "will make; with data.epochs the run ends earlier when the data do"
        )
    total = RunTotal(limit=limit, global_batch_size=config.data.global_batch_size)
    plan = stream.counted_plan
    if plan is not None:
        _count_data(total, plan, start, is_main=is_main)
    if plan is None and limit is None:
        raise ConfigError("train.max_steps and data.epochs are both unset, so the run would never end; set one of them")
    if total.known == 0:
        raise PlanError(no_step(config.data.global_batch_size))
    require_averaged(config.train.ema, total.known)
    require_steps(config, total.known)
    return total


def _count_data(total: RunTotal, plan: Plan, start: Checkpoint | None, *, is_main: bool) -> None:
    """Fill in what is known of the steps of the data, or begin to count them."""
    total.is_counted, total.key = True, total_key(plan)
    state = None if start is None else start.stream
    if plan.mixture.num_samples * (plan.settings.epochs or 1) <= SMALL_COUNT:
        total.of_data = plan.total_steps(state)
        return
    trainer = {} if start is None else start.trainer
    total.is_from_start = start is None or trainer.get("counted_for") == total.key
    found = [steps_of_checkpoint(trainer, key=total.key, limit=total.limit)]
    if found[0][0] is None and total.is_from_start:
        found = [(kept_total(plan), None)]
    broadcast_object_list(found)  # of the main process, which may see another disk
    total.of_data, total.up_to = found[0]
    if total.of_data is None:
        total.up_to = total.limit
        if is_main:
            begin = None if state is None or total.is_from_start else plan.resume(state)
            total.counter = StepCounter(plan, begin, total.limit)


def try_stream(config: Config, world: World) -> Opened:
    """The data, or why this process cannot open them: the others are to hear of it before they wait for it."""
    try:
        return Opened(stream=open_stream(config, world), eval_plans=plan_sets(config, world_size=world.size))
    except (WdstreamError, OSError) as error:
        return Opened(error=error)
