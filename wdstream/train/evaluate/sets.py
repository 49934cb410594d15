"""Evaluation sets: a plan of one pass over each, its mean loss, and what the model writes of it.

loss = sum of cross-entropies / supervised tokens, over the whole set: each token once, whatever the world
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from accelerate.utils import gather_object

from wdstream.batches.batch import Batch
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config, DatasetConfig, set_name
from wdstream.errors import ConfigError, PlanError
from wdstream.pipeline.planned import Plan
from wdstream.records import Failure, World
from wdstream.train.evaluate.generated_pages import WrittenSet, write_set
from wdstream.train.step.blank import batch_form
from wdstream.train.step.step import Engine, batch_loss, undisturbed


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReport:
    """What one set gave: its loss, what that is computed on, and what the model wrote.

    Attributes:
        loss: per supervised token; 0 where there is none.
        num_tokens: supervised tokens.
        num_pages: pages computed.
        failures: pages that could not be read and count for nothing.
        written: None where nothing was to be written.
    """

    loss: float
    num_tokens: int
    num_pages: int
    failures: tuple[Failure, ...] = ()
    written: WrittenSet | None = None

    def figures(self) -> dict[str, float]:
        """All numbers by name."""
        figures = {
            "loss": self.loss,
            "tokens": self.num_tokens,
            "pages": self.num_pages,
            "failed": len(self.failures),
        }
        return figures if self.written is None else figures | self.written.figures()

    @property
    def is_empty(self) -> bool:
        """Whether there is no loss, because nothing supervised could be computed."""
        return self.num_tokens == 0

    def lines(self) -> Iterator[str]:
        """For a person, below the figures: pages that failed, and a few that the model wrote."""
        for failure in self.failures:
            yield f"  page {failure.key!r} failed and counts for nothing: {failure.reason}"
        if self.written is not None:
            yield from self.written.lines()


def plan_sets(config: Config, *, world_size: int) -> tuple[tuple[str, Plan], ...]:
    """Name and plan of each set of `data.eval`.

    Raises:
        WdstreamError: shards, model folder or token column are missing; see Plan.
        ConfigError: two sets have one name, or one has that of what is trained on.
        PlanError: a set has no page that can be evaluated; names the set.
    """
    require_names(config)
    plans = []
    for dataset in config.data.eval:
        name = set_name(dataset)
        plan = plan_from_config(eval_config(config, dataset, world_size=world_size), split=name)
        require_pages(name, plan)
        plans.append((name, plan))
    return tuple(plans)


def require_names(config: Config) -> None:
    """Refuse evaluation sets that cannot be told apart: only one of them would be measured.

    Raises:
        ConfigError: names them.
    """
    names = config.data.eval_names
    if "train" in names:
        raise ConfigError("data.eval: a set is named 'train', as what is trained on is: give it another `name:`")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"data.eval: two sets are named {', '.join(map(repr, twice))}: give each its own `name:`")


def require_pages(name: str, plan: Plan) -> None:
    """Refuse an evaluation set without a page in its plan: now, not after the first steps of training.

    Raises:
        PlanError: names the set, and counts its pages by reason.
    """
    steps = plan.steps()
    try:
        next(steps, None)
    except PlanError as error:
        raise PlanError(f"data.eval: {name}: {error}") from None
    finally:
        steps.close()


def eval_config(config: Config, dataset: DatasetConfig, *, world_size: int) -> Config:
    """The configuration of one pass over `dataset`: every page once, the last step filled up with empty packs."""
    data = config.data.replace(
        where=None,
        curriculum=(),
        streaming=None,  # evaluation sets have an index, also where the training data have none
        eval=(dataset.replace(weight=None, epochs=1),),
        epochs=1,
        tail="pad",
        seed=0,
        global_batch_size=world_size * config.train.micro_batch_size,
    )
    return config.replace(data=data)


def measure_set(
    engine: Engine, plan: Plan, *, config: Config, world: World, on_progress: Callable[[int, int], None]
) -> SetReport:
    """The loss over a set, and with `train.generate` what the model writes of it; all ranks call it together.

    Args:
        engine: the model; its modes and random numbers are as before afterwards.
        plan: of the set.
        config: how many threads, and packs per batch, and what to write.
        world: this rank among all.
        on_progress: called with (pages written, pages to write).
    """
    data, settings = config.data, config.train.generate
    with plan.loader(
        world=world,
        workers=data.workers,
        prefetch=data.prefetch,
        micro_batch_size=config.train.micro_batch_size,
        form=batch_form(config, plan.family),
    ) as loader:
        report = evaluate(engine, loader)
    if settings is None:
        return report
    # A page that is written grows token by token: compiled layers would be compiled for each of its lengths.
    with torch.compiler.set_stance("force_eager") if config.train.compile else nullcontext():
        return replace(report, written=write_set(engine, plan, settings, world, on_progress=on_progress))


def evaluate(engine: Engine, batches: Iterable[Batch]) -> SetReport:
    """The loss over all ranks, the same on each; every rank brings its own micro-batches, each as many as the others.

    Sums are float64, so that the order of packs and ranks shows in the last digits only.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=engine.accelerator.device)
    own_failures: list[Failure] = []
    with undisturbed(engine):
        for batch in batches:
            loss, num_supervised = batch_loss(engine, batch)
            if num_supervised:
                sums[0] += loss
            sums[1] += num_supervised
            sums[2] += sum(len(keys) for keys in batch.page_keys)
            own_failures += batch.failures
    sums[3] = len(own_failures)
    loss_sum, num_tokens, num_pages, num_failures = engine.accelerator.reduce(sums, "sum").tolist()
    return SetReport(
        loss=loss_sum / num_tokens if num_tokens else 0.0,
        num_tokens=int(num_tokens),
        num_pages=int(num_pages - num_failures),
        failures=tuple(gather_object(own_failures)) if num_failures else (),
    )
