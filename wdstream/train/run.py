"""A run put together: accelerator, plan, model, optimizer, checkpoints and records, each from its own file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType

from wdstream.config import Config
from wdstream.errors import ConfigError
from wdstream.pipeline import Plan, plan_from_config
from wdstream.train.adapter_state import save_adapter_only
from wdstream.train.checkpoint import Checkpoint, Checkpoints
from wdstream.train.evaluate import eval_config
from wdstream.train.launch import place_of, start_accelerator, world_of
from wdstream.train.loss import LossHead
from wdstream.train.model import load_model, trains_vision
from wdstream.train.optimizer import learning_rate, make_optimizer
from wdstream.train.step import Engine
from wdstream.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything that stays the same while a run lasts.

    Attributes:
        config: as resolved.
        world: this process among all.
        plan: of the training data.
        eval_plans: name and plan of each evaluation set.
        total_steps: of the whole run.
        engine: what a step needs.
        checkpoints: of this run.
    """

    config: Config
    world: World
    plan: Plan
    eval_plans: tuple[tuple[str, Plan], ...]
    total_steps: int
    engine: Engine
    checkpoints: Checkpoints

    @property
    def output(self) -> Path:
        """Folder of everything the run writes."""
        return self.config.train.output

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.world.rank == 0

    @property
    def micro_batches(self) -> int:
        """Micro-batches of this rank a step."""
        return self.config.data.global_batch_size // (self.world.size * self.config.train.micro_batch_size)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        train = self.config.train
        return learning_rate(
            step,
            peak=train.lr,
            warmup_steps=train.warmup_steps,
            total_steps=self.total_steps,
            min_ratio=train.min_lr_ratio,
        )

    def loader(self, plan: Plan, state: Any = None, known_bad: Mapping[int, str] | None = None) -> Any:
        """This rank's micro-batches of `plan`, from `state` on; samples `known_bad` are not read again."""
        data = self.config.data
        return plan.loader(
            world=self.world,
            state=state,
            workers=data.workers,
            prefetch=data.prefetch,
            micro_batch_size=self.config.train.micro_batch_size,
            known_bad=known_bad,
        )


def open_run(config: Config) -> Run:
    """Start the process group, plan, and load the model; nothing is written yet.

    Raises:
        WdstreamError: see the parts.
    """
    accelerator = start_accelerator(config)
    world = world_of(accelerator)
    plan = plan_from_config(config)
    family = plan.family.for_attention(config.model.attn)
    evals = tuple(
        (dataset.name or Path(dataset.path).name, plan_from_config(eval_config(config, dataset, world_size=world.size)))
        for dataset in config.data.eval
    )
    total_steps = count_steps(config, plan)
    place = place_of(accelerator, config)
    bare = load_model(config, place, attention=family.attention_setting(config.model.attn))
    head = LossHead(bare)
    if config.train.adapter is not None:
        save_adapter_only(accelerator)
    model, optimizer = accelerator.prepare(bare, make_optimizer(bare, config.train))
    engine = Engine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=family,
        dtype=place.dtype,
        max_grad_norm=config.train.max_grad_norm,
        seed=config.train.seed,
        needs_images=trains_vision(config) or accelerator.distributed_type == DistributedType.FSDP,
    )
    return Run(
        config=config,
        world=world,
        plan=plan,
        eval_plans=evals,
        total_steps=total_steps,
        engine=engine,
        checkpoints=Checkpoints(config.train.output / "checkpoints", accelerator, keep=config.train.keep_checkpoints),
    )


def count_steps(config: Config, plan: Plan) -> int:
    """Steps of the whole run: `train.max_steps` or the epochs of the data, whichever ends first.

    Raises:
        ConfigError: neither is given.
    """
    limits = [limit for limit in (config.train.max_steps, plan.total_steps()) if limit is not None]
    if not limits:
        raise ConfigError("train.max_steps and data.epochs are both unset, so the run would never end; set one of them")
    return min(limits)


def find_start(run: Run) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and messages about those passed over.

    Raises:
        ConfigError: `train.resume: never`, and the output already holds checkpoints.
    """
    checkpoint, messages = run.checkpoints.newest()
    if checkpoint is not None and run.config.train.resume == "never":
        raise ConfigError(
            f"train.output: {run.output} already holds checkpoints and train.resume is never; "
            "choose another output, or resume: auto to go on"
        )
    return checkpoint, messages
