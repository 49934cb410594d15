"""All evaluation sets: a plan of one pass over each, and what each gives, in a run or after it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.pipeline.planned import Plan
from wdstream.records import World
from wdstream.train.evaluate.generated_pages import WrittenSet, write_set
from wdstream.train.evaluate.held_out_loss import EvalFigures, eval_config, evaluate
from wdstream.train.step import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReport:
    """What one set gave; `written` is None where nothing was to be written."""

    loss: EvalFigures
    written: WrittenSet | None

    def figures(self) -> dict[str, float]:
        """All numbers by name."""
        figures = {
            "loss": self.loss.loss,
            "tokens": self.loss.num_tokens,
            "pages": self.loss.num_pages,
            "failed": len(self.loss.failures),
        }
        return figures if self.written is None else figures | self.written.figures()

    def lines(self) -> Iterator[str]:
        """For a person, below the figures: pages that failed, and a few that the model wrote."""
        for failure in self.loss.failures:
            yield f"  page {failure.key!r} failed and counts for nothing: {failure.reason}"
        if self.written is not None:
            yield from self.written.lines()


def plan_sets(config: Config, *, world_size: int) -> tuple[tuple[str, Plan], ...]:
    """Name and plan of each set of `data.eval`.

    Raises:
        WdstreamError: shards, checkpoint or token column are missing; see Plan.
    """
    return tuple(
        (dataset.name or Path(dataset.path).name, plan_from_config(eval_config(config, dataset, world_size=world_size)))
        for dataset in config.data.eval
    )


def measure_set(
    engine: Engine, plan: Plan, *, config: Config, world: World, on_progress: Callable[[int, int], None]
) -> SetReport:
    """The loss over a set, and with `train.generate` what the model writes of it; all ranks call it together.

    Args:
        engine: the model; its modes and random numbers are as before afterwards.
        plan: of the set.
        config: how many threads and packs a batch, and what to write.
        world: this rank among all.
        on_progress: called with (pages written, pages to write).
    """
    data, settings = config.data, config.train.generate
    with plan.loader(
        world=world, workers=data.workers, prefetch=data.prefetch, micro_batch_size=config.train.micro_batch_size
    ) as loader:
        loss = evaluate(engine, loader)
    written = None if settings is None else write_set(engine, plan, settings, world, on_progress=on_progress)
    return SetReport(loss=loss, written=written)
